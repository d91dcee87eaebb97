//! The near cache: an operator's decision, and what calls learned before it.

use std::{sync::Arc, time::Duration};

use shuttle::{
    future::block_on,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use super::{key, request};
use crate::{
    Key, SharedStore, StoreError,
    record::{Record, RecordedBytes, State},
    store::{
        ClaimReply, ClaimRequest, Cursor, Filter, Found, NearCache, Page, Settled, Store,
        Subscription,
    },
};

/// A store that shows results, and forgets them.
struct Server {
    /// The token of each key's result; zero where there is none.
    tokens: [AtomicU64; KEYS],
}

const KEYS: usize = 4;

impl Server {
    fn of(&self, key: &Key) -> &AtomicU64 {
        let mut parts = (0..).zip(&self.tokens);
        let part = parts.find(|(part, _)| *key == super::key(*part));
        part.expect("a key of the scenario").1
    }
}

fn result(key: &Key, token: u64) -> Record {
    let mut record = Record {
        state: State::Done,
        token,
        codec: 1,
        expires: 7_200_000, // Two hours from when the server's clock began.
        outcome: Some(RecordedBytes::Ok([1][..].into())),
        ..request(1).record()
    };
    record.seal(key);
    record
}

impl Store for Arc<Server> {
    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        let token = self.of(key).load(Ordering::SeqCst);
        thread::yield_now();
        Ok((token > 0).then(|| (result(key, token), Duration::ZERO)))
    }

    async fn overrule(
        &self,
        key: &Key,
        _: Option<&Record>,
        _: &Record,
    ) -> Result<Settled, StoreError> {
        self.of(key).store(0, Ordering::SeqCst);
        thread::yield_now();
        Ok(Settled::Applied)
    }

    fn clock(&self) -> Option<u64> {
        Some(1)
    }

    async fn claim(&self, _: &Key, _: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        unreachable!()
    }

    async fn renew(&self, _: &Key, _: &Record) -> Result<Settled, StoreError> {
        unreachable!()
    }

    async fn finish(&self, _: &Key, _: &Record) -> Result<Settled, StoreError> {
        unreachable!()
    }

    async fn subscribe(&self, _: &Key) -> Result<Subscription, StoreError> {
        unreachable!()
    }

    async fn list(&self, _: &Filter, _: Option<&Cursor>) -> Result<Page<Found>, StoreError> {
        unreachable!()
    }
}

/// A server with a result for each key, behind a near cache.
fn cached(max_bytes: usize) -> (Arc<Server>, SharedStore) {
    let tokens = [const { AtomicU64::new(1) }; KEYS];
    let server = Arc::new(Server { tokens });
    let options = NearCache::new().with_max_bytes(max_bytes);
    let store = SharedStore::new(Arc::clone(&server)).with_near_cache(&options);
    (server, store)
}

fn read(store: &SharedStore, part: u8) {
    block_on(store.read(&key(part))).expect("it answers");
}

fn is_kept(store: &SharedStore, part: u8) -> bool {
    let mut kept = false;
    store.peek_near(&key(part), &mut |_| kept = true);
    kept
}

/// Two calls are shown the result that an operator forgets at the same time.
pub fn forgotten() {
    let (server, store) = cached(1 << 20);
    let reader = |store: SharedStore| thread::spawn(move || read(&store, 1));
    let mut threads: Vec<_> = (0..2).map(|_| reader(store.clone())).collect();
    let operator = store.clone();
    threads.push(thread::spawn(move || {
        let lost = request(2).record();
        block_on(operator.overrule(&key(1), None, &lost)).expect("it answers");
        assert!(!is_kept(&operator, 1), "what was forgotten is replayed");
    }));
    for thread in threads {
        thread.join().expect("it ends");
    }
    assert!(!is_kept(&store, 1), "what was forgotten is replayed");
    server.of(&key(1)).store(2, Ordering::SeqCst);
    read(&store, 1);
    assert!(is_kept(&store, 1), "a new result is not kept");
}

pub fn bounded() {
    const MAX_BYTES: usize = 600;
    let (server, store) = cached(MAX_BYTES);
    let call = |server: Arc<Server>, store: SharedStore, part| {
        thread::spawn(move || {
            read(&store, part);
            assert!(store.near_cache_bytes() <= MAX_BYTES);
            is_kept(&store, part);
            server.of(&key(part)).store(0, Ordering::SeqCst);
            read(&store, part);
        })
    };
    let calls = (1..=3).map(|part| call(Arc::clone(&server), store.clone(), part));
    for call in calls.collect::<Vec<_>>() {
        call.join().expect("it ends");
    }
    assert_eq!(store.near_cache_bytes(), 0);
}
