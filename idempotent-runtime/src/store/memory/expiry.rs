//! Which records are due for removal, and when.

use std::{collections::BTreeMap, num::NonZeroU32, sync::PoisonError};

use arrayvec::ArrayVec;

use super::table::KeyHash;
use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

/// The hashes of keys, by the time at which their records may be removed. Times are rounded up, so
/// that many records go together.
///
/// A record stores when its entry is due, and has only one entry. A record that is written again
/// keeps the entry that is there. If that entry is due too early, the sweep adds a new one. Only a
/// record that must now go earlier gets another entry at once, and the old entry then matches
/// nothing.
pub(super) struct Expiry {
    /// A key's list is chosen by its hash, so that concurrent calls rarely share one.
    lists: [Mutex<Ends>; LISTS],
    /// The first end in each list, to be read without its lock.
    first: [AtomicU64; LISTS],
}

/// Batches of [`BATCH`] at most: a single vector that grew without bound would be copied all at
/// once.
type Ends = BTreeMap<u64, Vec<Vec<KeyHash>>>;

/// When an entry is due, in units of 2^[`FINEST_BITS`] µs since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due(pub(super) NonZeroU32);

const LISTS: usize = 8;
const BATCH: usize = 256;
/// Keys swept per call. A call adds at most one, so two drain the backlog. More would risk slow
/// calls: an allocator may defer its work for freed memory, and then do it all at once.
const SWEPT_PER_CALL: usize = 2;
/// Ends are rounded to 2^21 µs, about two seconds, or more: so they fit into 32 bits.
const FINEST_BITS: u32 = 21;

impl Due {
    /// The end of the time span that contains `delete_at`. A span is at most a 64th of the time
    /// left until then. Fewer spans mean fuller batches.
    pub(super) fn of(delete_at: u64, now: u64) -> Self {
        let left = delete_at.saturating_sub(now).max(1);
        let bits = left.ilog2().saturating_sub(6).max(FINEST_BITS);
        let end = (delete_at | ((1 << bits) - 1)) >> FINEST_BITS;
        let due = u32::try_from(end + 1).unwrap_or(u32::MAX);
        Self(NonZeroU32::new(due).unwrap_or(NonZeroU32::MAX))
    }

    fn micros(self) -> u64 {
        u64::from(self.0.get()) << FINEST_BITS
    }
}

impl Expiry {
    pub(super) fn new() -> Self {
        Self {
            lists: Default::default(),
            first: [const { AtomicU64::new(u64::MAX) }; LISTS],
        }
    }

    /// Schedules the record behind `hash` for the sweep at `due`.
    pub(super) fn add(&self, hash: KeyHash, due: Due) {
        let end = due.micros();
        let list = hash.list(LISTS);
        let mut ends = self.lock(list);
        let batches = ends.entry(end).or_default();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH => batch.push(hash),
            _ => batches.push(vec![hash]),
        }
        if end < self.first[list].load(Ordering::Relaxed) {
            self.first[list].store(end, Ordering::Relaxed);
        }
    }

    /// Whether [`take`](Self::take) would return any.
    #[inline]
    pub(super) fn is_due(&self, now: u64) -> bool {
        (0..LISTS).any(|list| self.is_list_due(list, now))
    }

    fn is_list_due(&self, list: usize, now: u64) -> bool {
        self.first[list].load(Ordering::Relaxed) <= now
    }

    /// Takes a few due entries from this hash's list, or from the next list that has some.
    pub(super) fn take(&self, hash: KeyHash, now: u64) -> ArrayVec<(KeyHash, Due), SWEPT_PER_CALL> {
        let mut taken = ArrayVec::new();
        let mut lists = (0..LISTS).map(|step| (hash.list(LISTS) + step) % LISTS);
        let Some(list) = lists.find(|list| self.is_list_due(*list, now)) else {
            return taken;
        };
        let mut ends = self.lock(list);
        if let Some(mut entry) = ends.first_entry()
            && *entry.key() <= now
        {
            let due = u32::try_from(*entry.key() >> FINEST_BITS).unwrap_or(u32::MAX);
            let due = Due(NonZeroU32::new(due).unwrap_or(NonZeroU32::MAX));
            let batches = entry.get_mut();
            if let Some(batch) = batches.last_mut() {
                let rest = batch.len().saturating_sub(SWEPT_PER_CALL);
                taken.extend(batch.drain(rest..).map(|hash| (hash, due)));
            }
            batches.pop_if(|batch| batch.is_empty());
            if batches.is_empty() {
                entry.remove();
            }
        }
        let first = ends.keys().next().copied().unwrap_or(u64::MAX);
        self.first[list].store(first, Ordering::Relaxed);
        taken
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let of = |list| {
            self.lock(list)
                .values()
                .flatten()
                .map(Vec::len)
                .sum::<usize>()
        };
        (0..LISTS).map(of).sum()
    }

    fn lock(&self, list: usize) -> MutexGuard<'_, Ends> {
        self.lists[list]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
