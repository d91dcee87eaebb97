//! Work that yields as tokio asks for it, and leaves nothing of a poll's budget to whoever is
//! polled after it.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::task::coop;

/// The machine has others to serve: so long does nothing happen between two polls' worth of work.
const PAUSE: Duration = Duration::from_millis(1);

/// Uses up the budget in each poll until its time is over; answers whether it always did.
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
        // It ends with the budget, and has asked to be polled again.
        let _pending: Poll<()> = work.as_mut().poll(cx);
        self.used_up &= !coop::has_budget_remaining();
        self.polls += 1;
        Poll::Pending
    }
}
