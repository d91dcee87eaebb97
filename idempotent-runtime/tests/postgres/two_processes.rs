//! The conformance suite, where every second handle is in another process.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use idempotent_runtime::{
    key::Key,
    store::{
        PostgresStore,
        conformance::{Subject, all},
    },
};

use crate::{
    aged::Aged,
    common::{Place, named},
    conformance::OneTable,
    process,
    remote::{self, Handle},
};

/// The child: carries out what it reads.
pub(crate) async fn serve(place: &str) {
    remote::serve(&named(place)).await;
}

struct TwoProcesses {
    table: OneTable,
    handles: AtomicUsize,
}

impl Subject for TwoProcesses {
    type Store = Aged<Handle<PostgresStore>>;

    async fn store(&self) -> Aged<Handle<PostgresStore>> {
        let here = self.table.place.store();
        let is_there = self.handles.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        let there = is_there.then(|| process::start("serve", self.table.place.name()));
        Aged::new(Handle::new(here, there), &self.table.taken)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        self.table.elapse(key, time).await;
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        self.table.plant(key, bytes).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_table_conform() {
    all(TwoProcesses {
        table: OneTable::new(Place::new()),
        handles: AtomicUsize::new(0),
    })
    .await;
}
