//! Four processes on one file: see `common/stress.rs`.

use idempotent_runtime::store::SqliteStore;

use crate::{child, common::File, promises};

pub(crate) async fn work(path: &str) {
    promises::work(SqliteStore::connect(path).await.expect("a file")).await;
}

#[test]
fn four_processes_on_few_keys_keep_the_promises() {
    let file = File::new();
    promises::processes_keep_the_promises(|| child::start("stress", file.path()));
}
