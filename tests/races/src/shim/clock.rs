//! The memory store's clock, moved by the test.

use std::sync::Arc;

use shuttle::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone)]
pub(crate) struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1)))
    }

    pub(crate) fn advance(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }

    #[allow(clippy::unused_self, reason = "nobody here waits for a lease to lapse")]
    pub(crate) fn on_advance(&self, _: impl Fn() + Send + Sync + 'static) {}
}

pub(crate) enum Clock {
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::Manual(ManualClock::new())
    }

    pub(crate) fn tokio() -> Self {
        Self::system()
    }

    pub(crate) fn now(&self) -> u64 {
        let Self::Manual(clock) = self;
        clock.0.load(Ordering::SeqCst)
    }

    pub(crate) fn recent(&self) -> u64 {
        self.now()
    }
}
