//! Records in this process' memory.

mod expiry;
mod packed;
mod slot;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry};

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
use expiry::Expiry;
use slot::Slot;

/// Keeps records in a [`DashMap`] of this process: for one process, or for tests. They end with the process.
///
/// Clones are the same store. Each key has its own entry; no key waits for another's body. Records past their end are
/// removed in small steps by later calls, never all at once. A result may be replayed for some milliseconds past its end:
/// replays go by a coarse clock.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    records: DashMap<Arc<str>, Slot, foldhash::fast::RandomState>,
    len: AtomicUsize,
    max_records: usize,
    clock: Clock,
    topics: Topics,
    expiry: Expiry,
}

/// So many that none is large: one that grows holds up its keys for the time it takes.
const SHARDS: usize = 64;

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::build(Clock::system(), usize::MAX)
    }

    /// An empty store that goes by `clock`: leases lapse and results expire when the test moves it.
    #[must_use]
    pub fn with_clock(clock: &ManualClock) -> Self {
        let store = Self::build(Clock::Manual(clock.clone()), usize::MAX);
        let topics = store.shared.topics.clone();
        clock.on_advance(move || topics.publish_all());
        store
    }

    /// An empty store that keeps at most `max_records` records. A full store refuses new keys
    /// ([`Error::Unavailable`](crate::Error::Unavailable)) until records expire; it never drops a record early, since
    /// the next call with its key would then run again.
    #[must_use]
    pub fn bounded(max_records: usize) -> Self {
        Self::build(Clock::system(), max_records)
    }

    fn build(clock: Clock, max_records: usize) -> Self {
        let records =
            DashMap::with_hasher_and_shard_amount(foldhash::fast::RandomState::default(), SHARDS);
        let expiry = Expiry::default();
        let topics = Topics::default();
        Self {
            shared: Arc::new(Shared {
                records,
                len: AtomicUsize::new(0),
                max_records,
                clock,
                topics,
                expiry,
            }),
        }
    }

    /// Records kept at the moment, those past their end but not yet removed included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len.load(Ordering::Relaxed)
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
        let shared = &*self.shared;
        // Asked only once the key is held: a thread that waited for it would come with an older time than the record's,
        // and where that record has gone in between, grant a smaller token than it had.
        let now;
        let known = shared.records.get_mut(key.as_str());
        let (reply, ends) = if let Some(mut known) = known {
            now = shared.clock.now();
            let (reply, ends) = known.value_mut().step(now, decide);
            (reply, ends.map(|gone| (gone, Arc::clone(known.key()))))
        } else {
            let entry = shared.records.entry(key.as_str().into());
            now = shared.clock.now();
            match entry {
                Entry::Occupied(mut entry) => {
                    let (reply, ends) = entry.get_mut().step(now, decide);
                    (reply, ends.map(|gone| (gone, Arc::clone(entry.key()))))
                }
                Entry::Vacant(entry) => {
                    let Step { write, reply } = decide(None, now);
                    let mut ends = None;
                    if let Some((record, retain)) = write {
                        if !shared.take_room() {
                            drop(entry);
                            shared.sweep(now);
                            return Err(full());
                        }
                        let (slot, gone) = Slot::new(record, retain, now);
                        ends = gone.map(|gone| (gone, Arc::clone(entry.key())));
                        entry.insert(slot);
                    }
                    (reply, ends)
                }
            }
        };
        if let Some((gone, key)) = ends {
            shared.expiry.add(gone, key);
        }
        shared.sweep(now);
        Ok(reply)
    }
}

fn full() -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        "the memory store is full; records leave it at the end of their `ttl`",
    )
}

impl Shared {
    /// Counts one record more, if there is room.
    fn take_room(&self) -> bool {
        let more = |len: usize| (len < self.max_records).then_some(len + 1);
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Removes a few records whose end has passed.
    fn sweep(&self, now: u64) {
        for key in self.expiry.due(now) {
            let removed = self.records.remove_if(&*key, |_, slot| slot.gone() <= now);
            if removed.is_some() {
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
        }
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
        if let Some(slot) = self.shared.records.get(key.as_str()) {
            slot.peek(self.shared.clock.recent(), look);
        }
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
