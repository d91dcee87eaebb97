//! One of the store's parts, each under a lock of its own.

use std::time::Duration;

use hashbrown::HashTable;

use super::{
    hash::{Hash, Hasher},
    pages::{Pages, Place},
};
use crate::{
    key::Key,
    record::{HOLD, MAX_TTL, Record, RecordRef, State},
    store::protocol::{Current, Step},
};

/// The records of one part of the keys.
#[derive(Default)]
pub(super) struct Shard {
    /// Few, and gone as soon as their bodies have returned.
    running: HashTable<Running>,
    /// Many, and kept for long: their bytes are on the pages.
    settled: HashTable<Settled>,
    pages: Pages,
}

struct Running {
    hash: Hash,
    key: Key,
    record: Record,
    /// When it was granted or renewed, in µs.
    written: u64,
}

struct Settled {
    hash: Hash,
    place: Place,
}

/// There is no room for another record.
pub(super) struct Full;

impl Running {
    fn age(&self, now: u64) -> Duration {
        Duration::from_micros(now.saturating_sub(self.written))
    }
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.running.len() + self.settled.len()
    }

    /// Shows the record, if there is one.
    pub(super) fn peek(
        &self,
        hash: Hash,
        key: &str,
        now: impl FnOnce() -> u64,
        look: &mut dyn FnMut(RecordRef<'_>),
    ) {
        if let Some(settled) = self
            .settled
            .find(hash.wide(), |settled| self.is(settled, hash, key))
        {
            let packed = self.pages.get(settled.place);
            if now() < packed.gone() {
                look(packed.peek());
            }
        } else if let Some(running) = self.running(hash, key)
            && running.age(now()) < HOLD
        {
            look(running.record.as_ref());
        }
    }

    /// One atomic step: `decide` sees the record and says what to write. `room` is asked before there is one more.
    pub(super) fn step<R>(
        &mut self,
        hash: Hash,
        key: &Key,
        now: u64,
        room: impl FnOnce() -> bool,
        decide: impl FnOnce(Option<Current<'_>>) -> Step<R>,
    ) -> Result<R, Full> {
        let settled = self
            .settled
            .find(hash.wide(), |settled| self.is(settled, hash, key.as_str()));
        let (step, is_new) = if let Some(settled) = settled {
            let packed = self.pages.get(settled.place);
            let record = (now < packed.gone()).then(|| packed.record());
            let current = record.as_ref().map(|record| Current {
                record,
                age: Duration::ZERO,
            });
            (decide(current), false)
        } else if let Some(running) = self.running(hash, key.as_str()) {
            let (record, age) = (&running.record, running.age(now));
            (
                decide((age < HOLD).then_some(Current { record, age })),
                false,
            )
        } else {
            (decide(None), true)
        };
        let Step { write, reply } = step;
        if let Some((record, retain)) = write {
            if is_new && !room() {
                return Err(Full);
            }
            self.write(hash, key, record, retain, now)?;
        }
        Ok(reply)
    }

    fn write(
        &mut self,
        hash: Hash,
        key: &Key,
        record: Record,
        retain: Duration,
        now: u64,
    ) -> Result<(), Full> {
        if record.state == State::Running {
            self.remove_settled(hash, key.as_str());
            let running = Running {
                hash,
                key: key.clone(),
                record,
                written: now,
            };
            match self
                .running
                .find_mut(hash.wide(), |running| running.key == *key)
            {
                Some(before) => *before = running,
                None => drop(
                    self.running
                        .insert_unique(hash.wide(), running, |running| running.hash.wide()),
                ),
            }
            return Ok(());
        }
        let retain = retain.clamp(Duration::from_millis(1), MAX_TTL);
        let gone = now.saturating_add(u64::try_from(retain.as_micros()).unwrap_or(u64::MAX));
        let place = self
            .pages
            .add(key.as_str(), &record, gone, now)
            .ok_or(Full)?;
        self.remove_settled(hash, key.as_str());
        if let Ok(running) = self
            .running
            .find_entry(hash.wide(), |running| running.key == *key)
        {
            running.remove();
        }
        self.settled
            .insert_unique(hash.wide(), Settled { hash, place }, |settled| {
                settled.hash.wide()
            });
        Ok(())
    }

    fn remove_settled(&mut self, hash: Hash, key: &str) {
        let Self { settled, pages, .. } = self;
        let is = |settled: &Settled| {
            settled.hash == hash && pages.get(settled.place).key() == key.as_bytes()
        };
        if let Ok(entry) = settled.find_entry(hash.wide(), is) {
            let (Settled { place, .. }, _) = entry.remove();
            pages.discard(place);
        }
    }

    /// Takes up to `batch` records off pages that are past their end. Returns how many there are less.
    pub(super) fn sweep(&mut self, now: u64, batch: usize, hasher: &Hasher) -> usize {
        let Self { settled, pages, .. } = self;
        let mut removed = 0;
        for _ in 0..batch {
            let Some(place) = pages.due(now) else {
                break;
            };
            let packed = pages.get(place);
            let (hash, gone) = (hasher.hash(packed.key()), packed.gone());
            // What does not count any more is found nowhere.
            if let Ok(mut entry) = settled.find_entry(hash.wide(), |settled| settled.place == place)
            {
                if gone <= now {
                    entry.remove();
                    removed += 1;
                } else {
                    entry.get_mut().place = pages.relocate(place, now);
                }
            }
        }
        removed
    }

    fn is(&self, settled: &Settled, hash: Hash, key: &str) -> bool {
        settled.hash == hash && self.pages.get(settled.place).key() == key.as_bytes()
    }

    fn running(&self, hash: Hash, key: &str) -> Option<&Running> {
        self.running.find(hash.wide(), |running| {
            running.hash == hash && running.key.as_str() == key
        })
    }
}
