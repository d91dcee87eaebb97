//! The conformance suite on the memory store.

use std::time::Duration;

use idempotent_runtime::{
    conformance_tests,
    key::Key,
    store::{ManualClock, MemoryStore, conformance::Subject},
};

struct Memory {
    clock: ManualClock,
    store: MemoryStore,
}

impl Memory {
    fn new() -> Self {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(&clock);
        Self { clock, store }
    }
}

impl Subject for Memory {
    type Store = MemoryStore;

    async fn store(&self) -> MemoryStore {
        self.store.clone()
    }

    async fn elapse(&self, _: &Key, time: Duration) {
        self.clock.advance(time);
    }
}

conformance_tests!(Memory::new());
