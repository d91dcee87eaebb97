//! Which nonces are drawn ahead.

use std::{collections::HashSet, thread, time::Duration};

use arrayvec::ArrayVec;

use super::{AHEAD, DRAWN, Nonce};
use crate::{
    Error, SharedStore, StoreError,
    key::Key,
    operation,
    record::Record,
    store::{ClaimReply, ClaimRequest, MemoryStore, Settled, Store},
};

fn ahead() -> usize {
    AHEAD.with_borrow(ArrayVec::len)
}

/// Records that other processes might reach too, for all that a call can know.
struct Apart(MemoryStore);

impl Store for Apart {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        Store::claim(&self.0, key, request).await
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        self.0.renew(key, owned).await
    }

    async fn finish(
        &self,
        key: &Key,
        target: &Record,
        retain: Duration,
    ) -> Result<Settled, StoreError> {
        Store::finish(&self.0, key, target, retain).await
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.0.read(key).await
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
        retain: Duration,
    ) -> Result<Settled, StoreError> {
        self.0.overrule(key, seen, replacement, retain).await
    }
}

async fn call(store: &SharedStore) {
    let once = operation::<Result<u8, Error>, _>("nonce", &[&"key"]).store(store);
    once.run(async { Ok(1) }).await.expect("a result");
}

#[tokio::test]
async fn only_records_in_this_process_get_nonces_that_were_drawn_ahead() {
    let apart = SharedStore::new(Apart(MemoryStore::new()));
    call(&apart).await;
    assert_eq!(ahead(), 0, "drawn for a store that others may reach");
    call(&MemoryStore::new().into()).await;
    assert_eq!(ahead(), DRAWN - 1);
    call(&SharedStore::new(Apart(MemoryStore::new()))).await;
    assert_eq!(ahead(), DRAWN - 1, "used for a store that others may reach");
}

#[test]
fn no_two_are_alike() {
    let draw = || (0..5 * DRAWN).map(|_| Nonce::within_process().expect("random bytes"));
    let threads: Vec<_> = (0..4)
        .map(|_| thread::spawn(move || draw().collect::<Vec<_>>()))
        .collect();
    let mut all: Vec<_> = draw().collect();
    for thread in threads {
        all.extend(thread.join().expect("no panic"));
    }
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}
