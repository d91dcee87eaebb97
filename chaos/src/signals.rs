//! What the conductor, the drivers and the faults ask of each other.

use std::{
    sync::atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    thread::sleep,
    time::{Duration, Instant},
};

/// Requests to the drivers and the faults.
#[derive(Debug)]
pub(crate) struct Signals {
    /// End the run.
    pub(crate) stop: AtomicBool,
    /// Stop the workers for a moment: during a failover nobody may write.
    pub(crate) hush: Gate,
    /// Leave processes, links and servers alone for a while.
    pub(crate) calm: Gate,
    /// Make a wave of calls now. The first driver that sees this does.
    pub(crate) wave: AtomicBool,
}

/// A request to a fixed number of threads, in force until it is withdrawn.
#[derive(Debug)]
pub(crate) struct Gate {
    wanted: AtomicBool,
    present: AtomicUsize,
    all: usize,
}

impl Signals {
    pub(crate) fn new(drivers: usize) -> Self {
        Self {
            stop: false.into(),
            hush: Gate::of(drivers),
            // The drivers and the servers' faults.
            calm: Gate::of(drivers + 1),
            wave: false.into(),
        }
    }
}

impl Gate {
    fn of(all: usize) -> Self {
        Self {
            wanted: false.into(),
            present: 0.into(),
            all,
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(SeqCst)
    }

    /// Makes the request, and waits until all threads have come. Returns whether they have.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        self.wanted.store(true, SeqCst);
        let since = Instant::now();
        while self.present.load(SeqCst) < self.all && since.elapsed() < patience {
            sleep(Duration::from_millis(5));
        }
        self.present.load(SeqCst) == self.all
    }

    pub(crate) fn open(&self) {
        self.wanted.store(false, SeqCst);
    }

    pub(crate) fn come(&self) {
        self.present.fetch_add(1, SeqCst);
    }

    pub(crate) fn go(&self) {
        self.present.fetch_sub(1, SeqCst);
    }

    /// Comes to the gate if it is closed, and goes on once it is open.
    pub(crate) fn pass(&self) {
        self.come();
        while self.is_wanted() {
            sleep(Duration::from_millis(5));
        }
        self.go();
    }
}

impl Signals {
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Relaxed)
    }
}
