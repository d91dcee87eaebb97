//! When which record is to be removed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Keys by the second in which their records end, rounded up, so that records written together go together.
#[derive(Default)]
pub(super) struct Expiry {
    /// By second, in batches of [`Expiry::BATCH`] at most: a list that grew without end would be copied all at once.
    batches: Mutex<Batches>,
    /// The first second, to be read without the lock; zero when there is none.
    first: AtomicU64,
}

type Batches = BTreeMap<(u64, u32), Vec<Arc<str>>>;

impl Expiry {
    /// About a second, in µs.
    const SECOND: u64 = 1 << 20;
    const BATCH: usize = 1024;
    /// How many keys one call is given at most. Each call adds at most one, so there are ever fewer.
    const DUE: usize = 4;

    /// Notes that `key`'s record is past its end at `gone`. A record that changes before is noted again.
    pub(super) fn add(&self, gone: u64, key: Arc<str>) {
        let second = gone / Self::SECOND + 1;
        let mut batches = self.lock();
        let last = batches
            .range_mut((second, 0)..=(second, u32::MAX))
            .next_back();
        match last {
            Some((_, batch)) if batch.len() < Self::BATCH => batch.push(key),
            Some((&(_, number), _)) => drop(batches.insert((second, number + 1), vec![key])),
            None => drop(batches.insert((second, 0), vec![key])),
        }
        self.note_first(&batches);
    }

    /// A few keys whose records may be past their end.
    pub(super) fn due(&self, now: u64) -> Vec<Arc<str>> {
        let first = self.first.load(Ordering::Relaxed);
        if first == 0 || first > now / Self::SECOND {
            return Vec::new();
        }
        let mut batches = self.lock();
        let mut due = Vec::new();
        if let Some(mut entry) = batches.first_entry()
            && entry.key().0 <= now / Self::SECOND
        {
            let batch = entry.get_mut();
            due = batch.split_off(batch.len().saturating_sub(Self::DUE));
            if batch.is_empty() {
                entry.remove();
            }
        }
        self.note_first(&batches);
        due
    }

    fn note_first(&self, batches: &Batches) {
        let first = batches.keys().next().map_or(0, |&(second, _)| second);
        self.first.store(first, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
