//! Time that stands still until the test moves it.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    ops::Add,
    pin::pin,
    task::{Poll, Waker},
    time::Duration,
};

thread_local! {
    // The checker runs all threads of a scenario on one; `restart` begins each scenario.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SLEEPERS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn restart() {
    NOW.set(Duration::ZERO);
    SLEEPERS.take();
}

pub(crate) fn advance(by: Duration) {
    NOW.set(NOW.get() + by);
    SLEEPERS.take().into_iter().for_each(Waker::wake);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NOW.get())
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0 + by)
    }
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
        if Instant::now() >= deadline {
            return Poll::Ready(Err(Elapsed));
        }
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.push(cx.waker().clone()));
        Poll::Pending
    })
    .await
}
