//! Records in this process' memory.

mod hash;
mod packed;
mod pages;
mod shard;

use std::{
    fmt,
    num::NonZero,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use super::{
    ClaimReply, ClaimRequest, LocalStore, Settled, Store, Subscription, Topics,
    protocol::{self, Current, Step},
};
use crate::{
    StoreError, StoreErrorKind,
    clock::{Clock, ManualClock},
    key::Key,
    record::{Record, RecordRef},
};
use hash::Hasher;
use shard::{Full, Shard};

/// Keeps records in the memory of this process: for one process, or for tests. They end with the process.
///
/// Clones are the same store. Each key has its own record; no key waits for another's body. Records past their end are
/// removed in small steps by later calls, never all at once.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    shards: Box<[Padded<RwLock<Shard>>]>,
    hasher: Hasher,
    limit: Option<Limit>,
    clock: Clock,
    topics: Topics,
}

/// On a cache line of its own, so that threads with different keys do not meet in the processor either.
#[repr(align(128))]
#[derive(Default)]
struct Padded<T>(T);

struct Limit {
    most: usize,
    len: AtomicUsize,
}

/// How many records one call takes off at most. Each call adds at most one, so that is fast enough.
const BATCH: usize = 4;

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::build(Clock::system(), None)
    }

    /// An empty store that goes by `clock`: leases lapse and results expire when the test moves it.
    #[must_use]
    pub fn with_clock(clock: &ManualClock) -> Self {
        let store = Self::build(Clock::Manual(clock.clone()), None);
        let topics = store.shared.topics.clone();
        clock.on_advance(move || topics.publish_all());
        store
    }

    /// An empty store that keeps at most `max_records` records. A full store refuses new keys
    /// ([`Error::Unavailable`](crate::Error::Unavailable)) until records expire; it never drops a record early, since
    /// the next call with its key would then run again.
    #[must_use]
    pub fn bounded(max_records: usize) -> Self {
        Self::build(Clock::system(), Some(max_records))
    }

    fn build(clock: Clock, most: Option<usize>) -> Self {
        let limit = most.map(|most| Limit {
            most,
            len: AtomicUsize::new(0),
        });
        Self {
            shared: Arc::new(Shared {
                shards: (0..shards()).map(|_| Padded::default()).collect(),
                hasher: Hasher::default(),
                limit,
                clock,
                topics: Topics::default(),
            }),
        }
    }

    /// Records kept at the moment, those past their end but not yet removed included.
    #[must_use]
    pub fn len(&self) -> usize {
        let shards = self.shared.shards.iter();
        shards.map(|shard| shard.read().len()).sum()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One atomic step on one key: `decide` sees the record and the time, and says what to write.
    fn step<R>(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<Current<'_>>, u64) -> Step<R>,
    ) -> Result<R, StoreError> {
        let Shared {
            shards,
            hasher,
            limit,
            clock,
            ..
        } = &*self.shared;
        let (shard, hash) = hasher.shard_and_hash(key.as_str().as_bytes(), shards.len());
        let now = clock.now();
        let mut shard = shards[shard].write();
        let room = || limit.as_ref().is_none_or(Limit::take);
        let reply = shard.step(hash, key, now, room, |current| decide(current, now));
        let removed = shard.sweep(now, BATCH, hasher);
        drop(shard);
        self.shared.give_back(removed);
        reply.map_err(|Full| {
            // What is past its end elsewhere is in the way too.
            for shard in shards {
                let removed = shard.write().sweep(now, BATCH, hasher);
                self.shared.give_back(removed);
            }
            StoreError::new(
                StoreErrorKind::Refused,
                "the memory store is full; records leave it at the end of their `ttl`",
            )
        })
    }
}

/// So many more than there are processors that threads seldom meet at a lock, and so few that their locks stay in the
/// processor's caches.
fn shards() -> usize {
    let processors = available_parallelism().map_or(4, NonZero::get);
    (8 * processors).next_power_of_two().min(1024)
}

impl Shared {
    fn give_back(&self, removed: usize) {
        if let (Some(limit), 1..) = (&self.limit, removed) {
            limit.len.fetch_sub(removed, Ordering::Relaxed);
        }
    }
}

impl Limit {
    fn take(&self) -> bool {
        let more = |len: usize| (len < self.most).then_some(len + 1);
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }
}

impl Padded<RwLock<Shard>> {
    // Nothing is left half done where a panic could come from.
    fn read(&self) -> RwLockReadGuard<'_, Shard> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shard> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
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
    fn peek(&self, key: &Key, look: &mut dyn FnMut(RecordRef<'_>)) {
        let Shared {
            shards,
            hasher,
            clock,
            ..
        } = &*self.shared;
        let key = key.as_str();
        let (shard, hash) = hasher.shard_and_hash(key.as_bytes(), shards.len());
        shards[shard]
            .read()
            .peek(hash, key, || clock.recent(), look);
    }

    fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        self.step(key, |current, now| protocol::claim(current, request, now))
    }

    fn finish(&self, key: &Key, target: &Record, retain: Duration) -> Result<Settled, StoreError> {
        let settled = self.step(key, |current, _| protocol::finish(current, target, retain))?;
        self.shared.topics.publish(key.as_str());
        Ok(settled)
    }
}

impl Store for MemoryStore {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        LocalStore::claim(self, key, request)
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        self.step(key, |current, _| protocol::renew(current, owned))
    }

    async fn finish(
        &self,
        key: &Key,
        target: &Record,
        retain: Duration,
    ) -> Result<Settled, StoreError> {
        LocalStore::finish(self, key, target, retain)
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.step(key, |current, _| Step {
            write: None,
            reply: current.map(|current| (current.record.clone(), current.lease_left())),
        })
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
        retain: Duration,
    ) -> Result<Settled, StoreError> {
        let settled = self.step(key, |current, now| {
            protocol::overrule(current, seen, replacement, retain, now)
        })?;
        self.shared.topics.publish(key.as_str());
        Ok(settled)
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        Ok(self.shared.topics.subscribe(key).0)
    }

    fn local(&self) -> Option<&dyn LocalStore> {
        Some(self)
    }

    fn describe(&self) -> String {
        "memory:".to_owned()
    }
}
