//! tokio's `Notify`, reduced to waking all waiters.

use std::{
    future::Future,
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll, Waker},
};

use shuttle::sync::{Mutex, MutexGuard};

#[derive(Default)]
struct State {
    told: u64,
    waiting: Vec<Waker>,
}

pub(crate) struct Notify(Mutex<State>);

impl Notify {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    /// A scenario that fails unwinds its tasks wherever they are, under a lock too: a second panic
    /// would hide the first.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn notify_waiters(&self) {
        let mut state = self.state();
        state.told += 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Hears of what is told from now on, also while it has not been polled.
    pub(crate) fn notified(&self) -> Notified<'_> {
        let told = self.state().told;
        Notified { notify: self, told }
    }
}

pub(crate) struct Notified<'a> {
    notify: &'a Notify,
    told: u64,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.notify.state();
        if state.told != self.told {
            return Poll::Ready(());
        }
        state.waiting.push(cx.waker().clone());
        Poll::Pending
    }
}
