//! Records in this process' memory.
//!
//! A record and its key are one block of bytes (`layout`), in a table of shards (`table`). A step
//! locks the key's shard, lets `protocol` decide, and writes (`step`). Each call also removes a few
//! records that are past their end (`expiry`).

mod clock;
mod expiry;
mod layout;
#[cfg(test)]
mod layout_tests;
mod list;
mod step;
mod table;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use arrayvec::ArrayVec;

use super::{
    ClaimReply, ClaimRequest, Cursor, Filter, Found, KeyNotifier, LocalStore, Page, Settled, Store,
    Subscription, protocol,
};
use crate::{
    StoreError,
    key::Key,
    record::{Parts, Record, RecordRef, RecordedBytesRef, State, View},
    sync::atomic::{AtomicUsize, Ordering},
};
use clock::MemoryClock;
use expiry::Expiry;
use layout::Packed;
use step::{Shared, pack};
use table::RecordTable;

pub use clock::ManualClock;

/// Records up to this many bytes are copied when read. Longer ones are shared.
const MAX_COPIED: usize = 1024;

/// Keeps records in a [`DashMap`](https://docs.rs/dashmap) of this process: for one process, or for
/// tests. They end with the process.
///
/// Clones are the same store. Each key has its own entry: no key waits for another's body, nor for
/// another's result to be decoded. Later calls remove expired records in small steps, never all at
/// once. A finished record is kept for 30 seconds past its end, or twice its lease
/// ([`protocol::grace`](super::protocol::grace)). Replays use a coarse clock, so a result may be
/// replayed for some milliseconds past its end.
///
/// ```
/// # use idempotent_fn::{SharedStore, error::AlreadyInstalled, install, store::MemoryStore};
/// # fn main() -> Result<(), AlreadyInstalled> {
/// // 100,000 records at most: a full store refuses new keys.
/// let store = SharedStore::new(MemoryStore::bounded(100_000));
/// install(&store)?;
/// # Ok(()) }
/// ```
#[cfg(feature = "memory")]
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::build(MemoryClock::system(), usize::MAX)
    }

    /// An empty store on `clock`: leases lapse and results expire when the test moves it.
    #[must_use]
    pub fn with_clock(clock: &ManualClock) -> Self {
        let store = Self::build(MemoryClock::Manual(clock.clone()), usize::MAX);
        let notifier = store.shared.notifier.clone();
        clock.on_advance(move || notifier.publish_all());
        store
    }

    /// An empty store on Tokio's clock, for tests that pause and advance it. Leases, waits and
    /// `ttl` then use one clock.
    ///
    /// If you advance the clock by a lease or more in one step while a body is pending, the owner
    /// counts as silent, and a duplicate takes over. Advance it in steps shorter than a third of
    /// the lease, or give the operation a long lease or `on_crash = fail`.
    ///
    /// Create and use it within the runtime. It takes two lines:
    ///
    /// ```
    /// # use std::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
    /// # use idempotent_fn::{operation, with_store, Error, store::MemoryStore};
    /// # static RUNS: AtomicU32 = AtomicU32::new(0);
    /// # async fn charge() -> Result<u32, Error> {
    /// #     let call = operation::<Result<u32, Error>, _>("payments.charge", &[&"order-42"]);
    /// #     let call = call.ttl(Duration::from_secs(3600));
    /// #     call.run(async { Ok(1 + RUNS.fetch_add(1, Ordering::Relaxed)) }).await
    /// # }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// // #[tokio::test(start_paused = true)]
    /// let store = MemoryStore::on_tokio_time();
    /// with_store(store, async {
    ///     assert_eq!(charge().await.unwrap(), 1);
    ///     tokio::time::advance(Duration::from_secs(2 * 3600)).await; // its `ttl` is an hour
    ///     assert_eq!(charge().await.unwrap(), 2);
    /// })
    /// .await;
    /// # }
    /// ```
    #[must_use]
    pub fn on_tokio_time() -> Self {
        Self::build(MemoryClock::tokio(), usize::MAX)
    }

    /// An empty store that keeps at most `max_records` records. A full store refuses new keys
    /// ([`Error::Unavailable`](crate::Error::Unavailable)) until records leave it, some time after
    /// their end. It never drops a record early, because the next call with its key would run
    /// again.
    #[must_use]
    pub fn bounded(max_records: usize) -> Self {
        Self::build(MemoryClock::system(), max_records)
    }

    fn build(clock: MemoryClock, max_records: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                records: RecordTable::new(),
                len: AtomicUsize::new(0),
                max_records,
                clock,
                notifier: KeyNotifier::default(),
                expiry: Expiry::new(),
            }),
        }
    }

    /// The number of records kept, including those past their end that are not removed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len.load(Ordering::Relaxed)
    }

    /// Whether it keeps no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl LocalStore for MemoryStore {
    fn peek(&self, key: &Key, look: &mut dyn FnMut(&RecordRef<'_>)) {
        let shared = &*self.shared;
        let mut copied = ArrayVec::<u8, MAX_COPIED>::new();
        let mut long = None;
        shared.records.look(key.as_str().as_bytes(), |packed| {
            if copied.try_extend_from_slice(packed.bytes()).is_err() {
                long = Some(packed.clone());
            }
        });
        let bytes = long.as_ref().map_or(&copied[..], Packed::bytes);
        if bytes.is_empty() {
            return;
        }
        let view = View::of(bytes);
        if !view.has_ended(shared.clock.recent()) {
            look(&view.peek());
        }
    }

    fn grant(&self, key: &Key, request: &ClaimRequest) -> Option<u64> {
        let mut token = None;
        let granted = self.shared.change(key, |kept, now| {
            if kept.is_some() {
                return None;
            }
            let write = protocol::first_grant(request, 0, now);
            token = Some(write.record.token);
            Some(pack(key, &write, now))
        });
        granted.ok().and(token)
    }

    fn complete(
        &self,
        key: &Key,
        owned: &Record,
        codec: u32,
        outcome: RecordedBytesRef<'_>,
    ) -> bool {
        let mut parts = Parts {
            record: owned,
            state: State::Done,
            codec,
            expires: 0,
            outcome: Some(outcome),
        };
        // No check: only this process reaches these records, so nobody verifies it.
        self.shared.complete_own(key, &mut parts, 0)
    }
}

impl Store for MemoryStore {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        self.shared
            .step(key, |current, now| protocol::claim(current, request, now))
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        self.shared
            .step(key, |current, now| protocol::renew(current, owned, now))
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        if target.state == State::Done
            && self
                .shared
                .complete_own(key, &mut Parts::of(target), target.check)
        {
            return Ok(Settled::Applied);
        }
        let settled = self
            .shared
            .step(key, |current, now| protocol::finish(current, target, now))?;
        self.shared.notifier.publish(key.as_str());
        Ok(settled)
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.shared.step(key, protocol::read)
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let settled = self.shared.step(key, |current, now| {
            protocol::overrule(current, seen, replacement, now)
        })?;
        self.shared.notifier.publish(key.as_str());
        Ok(settled)
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        Ok(self.shared.notifier.subscribe(key).0)
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        let shared = &*self.shared;
        list::list(&shared.records, shared.clock.now(), filter, cursor)
    }

    fn local(&self) -> Option<&dyn LocalStore> {
        Some(self)
    }

    fn describe(&self) -> String {
        "memory:".to_owned()
    }
}
