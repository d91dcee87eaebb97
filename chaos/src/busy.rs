//! Work that uses up tokio's cooperative budget in each poll, so that nothing is left for whatever
//! is polled after it.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::task::coop;

/// The pause between two polls, because the machine has other work.
const PAUSE: Duration = Duration::from_millis(1);

/// Uses up the budget in each poll until its time is over. Returns whether it always did.
pub(crate) struct Busy {
    until: Instant,
    used_up: bool,
    polls: u32,
}

impl Busy {
    pub(crate) fn new(millis: u64) -> Self {
        Self {
            until: Instant::now() + Duration::from_millis(millis),
            used_up: true,
            polls: 0,
        }
    }
}

impl Future for Busy {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        if Instant::now() >= self.until {
            return Poll::Ready(self.used_up && self.polls > 0);
        }
        std::thread::sleep(PAUSE);
        let mut work = pin!(async {
            loop {
                coop::consume_budget().await;
            }
        });
        // Tokio ends this poll when the budget is used up, and has the task polled again.
        let _pending: Poll<()> = work.as_mut().poll(cx);
        self.used_up &= !coop::has_budget_remaining();
        self.polls += 1;
        Poll::Pending
    }
}
