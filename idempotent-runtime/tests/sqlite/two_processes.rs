//! The conformance suite, where every second handle is in another process.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use idempotent_runtime::{
    key::Key,
    store::{
        SqliteStore,
        conformance::{Subject, all},
    },
};

use crate::{
    aged::{Aged, Taken},
    child,
    common::File,
    conformance::{age, plant},
    remote::{self, Handle},
};

/// The child: carries out what it reads.
pub(crate) async fn serve(path: &str) {
    remote::serve(&SqliteStore::new(path).expect("a path")).await;
}

#[derive(Default)]
struct TwoProcesses {
    file: Option<File>,
    taken: Taken,
    handles: AtomicUsize,
}

impl TwoProcesses {
    fn file(&self) -> &File {
        self.file.as_ref().expect("a file")
    }
}

impl Subject for TwoProcesses {
    type Store = Aged<Handle<SqliteStore>>;

    async fn store(&self) -> Aged<Handle<SqliteStore>> {
        let here = self.file().store();
        here.check().await.expect("a file");
        let is_there = self.handles.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        let there = is_there.then(|| child::start("serve", self.file().path()));
        Aged::new(Handle::new(here, there), &self.taken)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(self.file(), &self.taken, key, time);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        plant(self.file(), key, bytes);
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_file_conform() {
    all(TwoProcesses {
        file: Some(File::new()),
        ..TwoProcesses::default()
    })
    .await;
}
