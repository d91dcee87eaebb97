//! Lets others run before a call that would wait for nothing.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use tokio::task::coop;

/// Gives way to the task's other work, and to other tasks, where the task has used up its budget; once at most, for others
/// in the same task may take all the budget that there is. Each call does so before it begins: a replay in memory and a
/// refusal wait for nothing, and a loop of them would not let others run, perhaps the very owner that it asks for.
pub(super) async fn give_way() {
    let mut given = false;
    poll_fn(|cx| poll_give_way(&mut given, cx)).await;
}

/// [`give_way`] as a poll; `given` is false at first.
#[inline]
pub(super) fn poll_give_way(given: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
    match coop::poll_proceed(cx) {
        Poll::Pending if !*given => {
            *given = true;
            Poll::Pending
        }
        Poll::Pending => Poll::Ready(()),
        Poll::Ready(progress) => {
            progress.made_progress();
            Poll::Ready(())
        }
    }
}
