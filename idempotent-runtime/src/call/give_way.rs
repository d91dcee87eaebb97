//! Yields to other work before a call that may wait for nothing.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use tokio::task::coop;

/// Yields once if the task has used up its cooperative budget. Each call does so before it begins.
/// A replay in memory, or a refusal, waits for nothing, so a loop of them would never let other
/// tasks run, not even the owner that it waits for.
///
/// It yields only once, because other futures in the same task may use up the new budget again and
/// again.
pub(super) async fn give_way() {
    let mut given = false;
    poll_fn(|cx| poll_give_way(&mut given, cx)).await;
}

/// [`give_way`] as a poll. `given` remembers whether it has yielded, and is false at first.
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
