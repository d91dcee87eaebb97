//! Records in this process' memory.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
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
    record::{MAX_TTL, Record, State},
};

/// Keeps records in a [`DashMap`] of this process: for one process, or for tests. They end with the process.
///
/// Clones are the same store. Each key has its own entry; no key waits for another's body. Records past their end are
/// removed in small steps by later calls, never all at once.
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

struct Slot {
    record: Record,
    /// When the record was granted, renewed or settled, on the store's clock in µs.
    written: u64,
    /// When it is gone.
    gone: u64,
}

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
        let records = DashMap::with_hasher(foldhash::fast::RandomState::default());
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

    /// One atomic step on one key: `decide` sees the record and says what to write.
    fn step<R>(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<Current<'_>>, u64) -> Step<R>,
    ) -> Result<R, StoreError> {
        let shared = &*self.shared;
        let now = shared.clock.now();
        let (reply, forget_at) = match shared.records.entry(key.as_str().into()) {
            Entry::Occupied(mut entry) => {
                let slot = entry.get();
                let age = Duration::from_micros(now.saturating_sub(slot.written));
                let current = (now < slot.gone).then_some(Current {
                    record: &slot.record,
                    age,
                });
                let Step { write, reply } = decide(current, now);
                let slot = write.map(|(record, retain)| Slot::new(record, retain, now));
                let forget_at = slot
                    .as_ref()
                    .filter(|slot| slot.record.state != State::Running)
                    .map(|slot| slot.gone);
                let forget_at = forget_at.map(|gone| (gone, Arc::clone(entry.key())));
                if let Some(slot) = slot {
                    entry.insert(slot);
                }
                (reply, forget_at)
            }
            Entry::Vacant(entry) => {
                let Step { write, reply } = decide(None, now);
                let mut forget_at = None;
                if let Some((record, retain)) = write {
                    if shared.len.fetch_add(1, Ordering::Relaxed) >= shared.max_records {
                        shared.len.fetch_sub(1, Ordering::Relaxed);
                        drop(entry);
                        self.sweep(now);
                        return Err(StoreError::new(
                            StoreErrorKind::Refused,
                            "the memory store is full; records leave it at the end of their `ttl`",
                        ));
                    }
                    let slot = Slot::new(record, retain, now);
                    forget_at = (slot.record.state != State::Running)
                        .then(|| (slot.gone, Arc::clone(entry.key())));
                    entry.insert(slot);
                }
                (reply, forget_at)
            }
        };
        if let Some((gone, key)) = forget_at {
            shared.expiry.add(gone, key);
        }
        self.sweep(now);
        Ok(reply)
    }

    /// Removes a few records whose end has passed.
    fn sweep(&self, now: u64) {
        let shared = &*self.shared;
        for key in shared.expiry.due(now) {
            if shared
                .records
                .remove_if(&*key, |_, slot| slot.gone <= now)
                .is_some()
            {
                shared.len.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Slot {
    fn new(record: Record, retain: Duration, now: u64) -> Self {
        let retain = retain.clamp(Duration::from_millis(1), MAX_TTL);
        let gone = now.saturating_add(u64::try_from(retain.as_micros()).unwrap_or(u64::MAX));
        let expires = if record.outcome.is_some() {
            gone / 1000
        } else {
            0
        };
        Self {
            record: Record { expires, ..record },
            written: now,
            gone,
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
    fn peek(&self, key: &Key, look: &mut dyn FnMut(&Record)) {
        if let Some(slot) = self.shared.records.get(key.as_str())
            && self.shared.clock.now() < slot.gone
        {
            look(&slot.record);
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

/// When which record is to be removed. Times are rounded up to slots, so that records written together go together.
#[derive(Default)]
struct Expiry {
    slots: Mutex<BTreeMap<u64, Vec<Arc<str>>>>,
    /// The first slot, to be read without the lock.
    first: AtomicU64,
}

impl Expiry {
    /// About a second, in µs.
    const SLOT: u64 = 1 << 20;
    /// How many records one call removes at most. Each call adds at most one, so the queue shrinks.
    const BATCH: usize = 4;

    fn add(&self, gone: u64, key: Arc<str>) {
        let slot = gone / Self::SLOT + 1;
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(slot).or_default().push(key);
        self.note_first(&slots);
    }

    fn due(&self, now: u64) -> Vec<Arc<str>> {
        let first = self.first.load(Ordering::Relaxed);
        if first == 0 || first > now / Self::SLOT {
            return Vec::new();
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        if let Some(mut entry) = slots.first_entry()
            && *entry.key() <= now / Self::SLOT
        {
            let keys = entry.get_mut();
            due = keys.split_off(keys.len().saturating_sub(Self::BATCH));
            if keys.is_empty() {
                entry.remove();
            }
        }
        self.note_first(&slots);
        due
    }

    fn note_first(&self, slots: &BTreeMap<u64, Vec<Arc<str>>>) {
        self.first
            .store(slots.keys().next().copied().unwrap_or(0), Ordering::Relaxed);
    }
}
