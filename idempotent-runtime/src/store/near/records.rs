//! Done records by key, within a bound: when there is no room, what has not been looked at since its last turn goes
//! ("second chance"). Keys are spread over shards, so that a write holds up few of them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use foldhash::fast::RandomState;

use super::moment::Moment;
use crate::{
    fingerprint::Fingerprint,
    key::Key,
    record::{Nonce, Outcome, Record, RecordRef, State},
};

/// What an entry takes apart from its key and its result: its fields and its share of the tables.
const ENTRY: usize = 256;
/// A shard has room for at least so many bytes, or is the only one: large results are to fit as well.
const SHARD: usize = 2 * 1024 * 1024;
const MOST_SHARDS: usize = 16;

pub(super) struct Records {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
}

/// A done record, as far as a replay needs it.
pub(super) struct Entry {
    nonce: Nonce,
    token: u64,
    fingerprint: Option<Fingerprint>,
    codec: u32,
    outcome: Outcome,
    until: Moment,
    /// Looked at since its last turn.
    used: AtomicBool,
}

struct Shard {
    entries: HashMap<Arc<str>, Box<Entry>, RandomState>,
    /// The same keys: whose turn is next when there is no room.
    turns: VecDeque<Arc<str>>,
    bytes: usize,
    max_bytes: usize,
    /// How many decisions of operators there were. What was asked for before the last one may be what it replaced.
    epoch: u64,
}

impl Entry {
    /// A done `record`, whose result is `outcome`.
    pub(super) fn new(record: &Record, outcome: &Outcome, until: Moment) -> Self {
        Self {
            nonce: record.nonce,
            token: record.token,
            fingerprint: record.fingerprint,
            codec: record.codec,
            outcome: outcome.clone(),
            until,
            used: AtomicBool::new(false),
        }
    }

    fn show(&self) -> RecordRef<'_> {
        RecordRef {
            state: State::Done,
            nonce: self.nonce,
            fingerprint: self.fingerprint,
            codec: self.codec,
            outcome: Some(self.outcome.as_ref()),
        }
    }

    fn bytes(&self, key: &str) -> usize {
        ENTRY + key.len() + self.outcome.bytes().len()
    }
}

impl Records {
    pub(super) fn new(max_bytes: usize) -> Self {
        let shards = (max_bytes / SHARD).clamp(1, MOST_SHARDS);
        let shard = || RwLock::new(Shard::new(max_bytes / shards));
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::default(),
        }
    }

    /// Shows the record of `key`, unless it is past its end. `look` runs under the shard's lock.
    pub(super) fn look(
        &self,
        key: &Key,
        now: impl FnOnce() -> Moment,
        look: &mut dyn FnMut(&RecordRef<'_>),
    ) {
        let shard = self.read(key);
        if let Some(entry) = shard.entries.get(key.as_str())
            && !entry.until.has_come(now())
        {
            // Written only once a turn: a key that all threads look at stays in their caches.
            if !entry.used.load(Ordering::Relaxed) {
                entry.used.store(true, Ordering::Relaxed);
            }
            look(&entry.show());
        }
    }

    /// To be read before a question about `key` is sent, and given to [`put`](Self::put) with what came of it.
    pub(super) fn epoch(&self, key: &Key) -> u64 {
        self.read(key).epoch
    }

    /// Keeps `entry`, unless an operator has decided since `epoch`, or a later one is here.
    pub(super) fn put(&self, key: &Key, epoch: u64, entry: Entry, now: impl FnOnce() -> Moment) {
        let mut shard = self.write(key);
        if shard.epoch == epoch {
            shard.put(key.as_str(), entry, now);
        }
    }

    /// Something else than a result was seen. Only to be asked for again.
    pub(super) fn remove(&self, key: &Key) {
        if self.read(key).entries.contains_key(key.as_str()) {
            self.write(key).remove(key.as_str());
        }
    }

    /// An operator has decided about `key`.
    pub(super) fn overrule(&self, key: &Key) {
        let mut shard = self.write(key);
        shard.epoch += 1;
        shard.remove(key.as_str());
    }

    /// What is kept, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let shards = self.shards.iter().map(RwLock::read);
        shards
            .map(|shard| shard.unwrap_or_else(PoisonError::into_inner).bytes)
            .sum()
    }

    fn shard(&self, key: &Key) -> &RwLock<Shard> {
        let hash = usize::try_from(self.hash(key) >> 32).unwrap_or(0);
        &self.shards[hash % self.shards.len()]
    }

    fn hash(&self, key: &Key) -> u64 {
        std::hash::BuildHasher::hash_one(&self.hasher, key.as_str())
    }

    fn read(&self, key: &Key) -> RwLockReadGuard<'_, Shard> {
        let shard = self.shard(key).read();
        shard.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: &Key) -> RwLockWriteGuard<'_, Shard> {
        let shard = self.shard(key).write();
        shard.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn new(max_bytes: usize) -> Self {
        Self {
            entries: HashMap::default(),
            turns: VecDeque::new(),
            bytes: 0,
            max_bytes,
            epoch: 0,
        }
    }

    fn put(&mut self, key: &str, entry: Entry, now: impl FnOnce() -> Moment) {
        let kept = self.entries.get(key);
        // Tokens of a key grow: this is an older answer that came later.
        if kept.is_some_and(|kept| kept.token > entry.token) {
            return;
        }
        let bytes = entry.bytes(key);
        let Some(room) = self.max_bytes.checked_sub(bytes) else {
            return self.remove(key);
        };
        if self.bytes > room {
            self.shrink(room, now());
        }
        self.bytes += bytes;
        if let Some(kept) = self.entries.get_mut(key) {
            self.bytes -= kept.bytes(key);
            **kept = entry;
        } else {
            let key: Arc<str> = key.into();
            self.turns.push_back(Arc::clone(&key));
            self.entries.insert(key, Box::new(entry));
        }
    }

    /// Lets go until at most `room` bytes are kept.
    fn shrink(&mut self, room: usize, now: Moment) {
        while self.bytes > room
            && let Some(key) = self.turns.pop_front()
        {
            let Some(entry) = self.entries.get_mut(&*key) else {
                continue;
            };
            if std::mem::take(entry.used.get_mut()) && !entry.until.has_come(now) {
                self.turns.push_back(key);
            } else {
                self.bytes -= entry.bytes(&key);
                self.entries.remove(&*key);
            }
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes(key);
            self.turns.retain(|turn| **turn != *key);
        }
    }
}
