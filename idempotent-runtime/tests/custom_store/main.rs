//! A complete custom store ([`store`]), the suite it passes, and stores with one flaw each
//! ([`flawed`]), which the suite notices ([`caught`]).

mod caught;
mod flawed;
mod store;

use std::{sync::atomic::Ordering, time::Duration};

use idempotent_runtime::{conformance_tests, key::Key, store::conformance::Subject};
use store::TableStore;

/// The store as the suite needs it: another handle, and a way to make records older.
impl Subject for TableStore {
    type Store = Self;

    async fn store(&self) -> Self {
        self.clone()
    }

    async fn elapse(&self, _key: &Key, time: Duration) {
        let time = u64::try_from(time.as_micros()).expect("a time of the suite");
        self.shared.clock.fetch_add(time, Ordering::SeqCst);
    }

    async fn subscribed(&self, store: &Self) -> Option<usize> {
        Some(store.shared.notifier.len())
    }
}

mod conforms {
    use super::*;

    conformance_tests!(TableStore::default());
}

/// All rules on one store with one clock, as a shared server would see them.
#[tokio::test]
async fn the_whole_suite_on_one_store() {
    idempotent_runtime::store::conformance::all(TableStore::default()).await;
}
