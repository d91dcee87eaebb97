//! When which record is to be removed.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arrayvec::ArrayVec;

use super::records::Mark;

/// The marks of keys by the time at which their records may be removed, rounded up, so that many go together.
pub(super) struct Expiry {
    /// A key's list is its mark's: calls side by side rarely meet in one.
    lists: [Mutex<Ends>; LISTS],
    /// The first end in each list, to be read without its lock.
    first: [AtomicU64; LISTS],
}

/// In batches of [`BATCH`] at most: a list that grew without end would be copied all at once.
type Ends = BTreeMap<u64, Vec<Vec<Mark>>>;

const LISTS: usize = 8;
const BATCH: usize = 256;
/// How many keys one step is given at most. Each adds at most one, so there are ever fewer. It is no more than that takes:
/// an allocator may put off what it has to do for what is freed, and then do it all in one call.
const DUE: usize = 2;
/// Ends are rounded to 2^20 µs, about a second, or more.
const FINEST: u32 = 20;

impl Expiry {
    pub(super) fn new() -> Self {
        Self {
            lists: Default::default(),
            first: [const { AtomicU64::new(u64::MAX) }; LISTS],
        }
    }

    /// Notes that the record that goes by `mark` is past its end at `gone`. One that changes before is noted again.
    pub(super) fn add(&self, mark: Mark, gone: u64, now: u64) {
        let end = rounded(gone, now);
        let list = mark.list(LISTS);
        let mut ends = self.lock(list);
        let batches = ends.entry(end).or_default();
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH => batch.push(mark),
            _ => batches.push(vec![mark]),
        }
        if end < self.first[list].load(Ordering::Relaxed) {
            self.first[list].store(end, Ordering::Relaxed);
        }
    }

    /// Whether [`due`](Self::due) has any.
    #[inline]
    pub(super) fn is_due(&self, now: u64) -> bool {
        (0..LISTS).any(|list| self.is_list_due(list, now))
    }

    fn is_list_due(&self, list: usize, now: u64) -> bool {
        self.first[list].load(Ordering::Relaxed) <= now
    }

    /// A few marks whose records may be past their end, of this mark's list, or else of the next one that has some.
    pub(super) fn due(&self, mark: Mark, now: u64) -> ArrayVec<Mark, DUE> {
        let mut due = ArrayVec::new();
        let mut lists = (0..LISTS).map(|step| (mark.list(LISTS) + step) % LISTS);
        let Some(list) = lists.find(|list| self.is_list_due(*list, now)) else {
            return due;
        };
        let mut ends = self.lock(list);
        if let Some(mut entry) = ends.first_entry()
            && *entry.key() <= now
        {
            let batches = entry.get_mut();
            if let Some(batch) = batches.last_mut() {
                let rest = batch.len().saturating_sub(DUE);
                due.extend(batch.drain(rest..));
            }
            batches.pop_if(|batch| batch.is_empty());
            if batches.is_empty() {
                entry.remove();
            }
        }
        let first = ends.keys().next().copied().unwrap_or(u64::MAX);
        self.first[list].store(first, Ordering::Relaxed);
        due
    }

    fn lock(&self, list: usize) -> MutexGuard<'_, Ends> {
        self.lists[list]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the span of time that `gone` lies in. Spans are at most a 64th of what is left until then: the fewer there
/// are, the fuller is each one's last batch.
fn rounded(gone: u64, now: u64) -> u64 {
    let left = gone.saturating_sub(now).max(1);
    let bits = left.ilog2().saturating_sub(6).max(FINEST);
    (gone | ((1 << bits) - 1)).saturating_add(1)
}
