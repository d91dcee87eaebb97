//! Time that stands still until the test moves it.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, Waker},
    time::Duration,
};

pub(crate) use tokio::time::Instant;

thread_local! {
    // The checker runs all threads of a scenario on one; `restart` begins each scenario.
    static START: Instant = Instant::now();
    static SINCE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SLEEPERS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn restart() {
    SINCE.set(Duration::ZERO);
    SLEEPERS.take();
}

pub(crate) fn advance(by: Duration) {
    SINCE.set(SINCE.get() + by);
    SLEEPERS.take().into_iter().for_each(Waker::wake);
}

pub(crate) fn now() -> Instant {
    START.with(|start| *start + SINCE.get())
}

#[derive(Debug)]
pub(crate) struct Elapsed;

pub(crate) async fn timeout_at<F: Future>(
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if now() >= deadline {
            return Poll::Ready(Err(Elapsed));
        }
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.push(cx.waker().clone()));
        Poll::Pending
    })
    .await
}
