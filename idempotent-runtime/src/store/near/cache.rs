//! Done records by key, within a bound. A full shard evicts by the second-chance (clock) algorithm:
//! an entry that was not read since the hand last passed it is removed. Keys are spread over
//! shards, so a write blocks few of them.
//!
//! No caller's code runs under a shard's lock: records are shown after it is released.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use foldhash::fast::RandomState;

use super::deadline::Deadline;
use crate::{
    fingerprint::Fingerprint,
    key::Key,
    record::{Nonce, Record, RecordRef, RecordedBytes, State},
    sync::{
        RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
        mutant,
    },
};

/// The overhead of an entry beyond its key and result: its fields and its share of the tables.
const ENTRY_BYTES: usize = 256;
/// A shard has room for at least this many bytes, or is the only one, so that large results fit.
const MIN_SHARD_BYTES: usize = 2 * 1024 * 1024;
const MAX_SHARDS: usize = 16;

pub(super) struct Records {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
}

/// The parts of a done record that a replay needs.
pub(super) struct Entry {
    nonce: Nonce,
    token: u64,
    fingerprint: Option<Fingerprint>,
    codec: u32,
    outcome: RecordedBytes,
    until: Deadline,
    /// Whether it was read since the hand last passed.
    used: AtomicBool,
}

struct Shard {
    /// The index in `entries` of each key.
    indexes: HashMap<Arc<str>, usize, RandomState>,
    /// Without gaps: the last entry replaces a removed one.
    entries: Vec<(Arc<str>, Arc<Entry>)>,
    /// The next candidate for eviction.
    hand: usize,
    bytes: usize,
    max_bytes: usize,
    /// The number of operators' decisions so far. An answer to a question from before the last one
    /// may be what that decision replaced.
    epoch: u64,
}

impl Entry {
    /// An entry for a done `record` whose result is `outcome`.
    pub(super) fn new(record: &Record, outcome: &RecordedBytes, until: Deadline) -> Self {
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
        ENTRY_BYTES + key.len() + self.outcome.bytes().len()
    }
}

impl Records {
    pub(super) fn new(max_bytes: usize) -> Self {
        let shards = (max_bytes / MIN_SHARD_BYTES).clamp(1, MAX_SHARDS);
        let shard = || RwLock::new(Shard::new(max_bytes / shards));
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::default(),
        }
    }

    /// Shows the record of `key`, unless it is past its end. `look` may be slow, and may use this
    /// cache.
    pub(super) fn look(
        &self,
        key: &Key,
        now: impl FnOnce() -> Deadline,
        look: &mut dyn FnMut(&RecordRef<'_>),
    ) {
        let kept = self.read(key).get(key.as_str()).cloned();
        if let Some(entry) = kept
            && !entry.until.has_passed(now())
        {
            // Written only if not set: a key that all threads read stays in their processor caches.
            if !entry.used.load(Ordering::Relaxed) {
                entry.used.store(true, Ordering::Relaxed);
            }
            look(&entry.show());
        }
    }

    /// Read before a question about `key` is sent, and passed to [`put`](Self::put) with the
    /// answer.
    pub(super) fn epoch(&self, key: &Key) -> u64 {
        self.read(key).epoch
    }

    /// Keeps `entry`, unless an operator has decided since `epoch`, or a later entry is here.
    pub(super) fn put(&self, key: &Key, epoch: u64, entry: Entry, now: impl FnOnce() -> Deadline) {
        let mut shard = self.write(key);
        mutant!("late answers are kept" => return shard.put(key.as_str(), entry, now));
        if shard.epoch == epoch {
            shard.put(key.as_str(), entry, now);
        }
    }

    /// Removes the entry: the store has shown something other than a result. The next call asks
    /// again.
    pub(super) fn remove(&self, key: &Key) {
        if self.read(key).indexes.contains_key(key.as_str()) {
            self.write(key).remove(key.as_str());
        }
    }

    /// Removes the entry, and bars answers to questions asked before: an operator has decided about
    /// `key`.
    pub(super) fn overrule(&self, key: &Key) {
        mutant!("a decision only removes" => return self.remove(key));
        let mut shard = self.write(key);
        shard.epoch += 1;
        shard.remove(key.as_str());
    }

    /// The size of all entries in bytes.
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
            indexes: HashMap::default(),
            entries: Vec::new(),
            hand: 0,
            bytes: 0,
            max_bytes,
            epoch: 0,
        }
    }

    fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.indexes.get(key).map(|&index| &self.entries[index].1)
    }

    fn put(&mut self, key: &str, entry: Entry, now: impl FnOnce() -> Deadline) {
        let kept = self.get(key);
        // Tokens of a key grow, so this is an older answer that arrived late.
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
        let entry = Arc::new(entry);
        if let Some(&index) = self.indexes.get(key) {
            let (_, kept) = &mut self.entries[index];
            self.bytes -= kept.bytes(key);
            *kept = entry;
        } else {
            let key: Arc<str> = key.into();
            self.indexes.insert(Arc::clone(&key), self.entries.len());
            self.entries.push((key, entry));
        }
    }

    /// Evicts until at most `room` bytes are kept.
    fn shrink(&mut self, room: usize, now: Deadline) {
        while self.bytes > room && !self.entries.is_empty() {
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let (_, entry) = &self.entries[self.hand];
            if !entry.used.swap(false, Ordering::Relaxed) || entry.until.has_passed(now) {
                self.take(self.hand);
            }
            // Also past the entry that took its index, which was the newest.
            self.hand += 1;
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(&index) = self.indexes.get(key) {
            self.take(index);
        }
    }

    /// Removes one entry, and moves the last one into its index.
    fn take(&mut self, index: usize) {
        let (key, entry) = self.entries.swap_remove(index);
        self.bytes -= entry.bytes(&key);
        self.indexes.remove(&key);
        if let Some((moved, _)) = self.entries.get(index)
            && let Some(its) = self.indexes.get_mut(moved)
        {
            *its = index;
        }
    }
}

#[cfg(test)]
impl Records {
    /// The keys of the only shard, in the order of `entries`.
    pub(super) fn keys(&self) -> Vec<Arc<str>> {
        let shard = self.shards[0].read().unwrap();
        for (index, (key, _)) in shard.entries.iter().enumerate() {
            assert_eq!(shard.indexes.get(key), Some(&index));
        }
        assert_eq!(shard.indexes.len(), shard.entries.len());
        shard
            .entries
            .iter()
            .map(|(key, _)| Arc::clone(key))
            .collect()
    }
}
