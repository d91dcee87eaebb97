//! A near cache: done records of a network store, kept in this process for a while and replayed from there.
//!
//! What may enter and until when is decided here. `cache` keeps them, within bounds; `deadline` is their time.

mod cache;
mod deadline;
#[cfg(test)]
mod tests;

use std::{cmp, time::Duration};

use self::{
    cache::{Entry, Records},
    deadline::Moment,
};
use super::{SharedStore, protocol};
use crate::{
    key::Key,
    record::{Outcome, Record, RecordRef, State},
};

/// How far the time of a store and what is known of it here may be apart.
const CLOCKS: Duration = Duration::from_secs(60);
/// Two clocks do not go equally fast: by a part in so many they may differ.
const DRIFT: u32 = 1000;
/// A store ends a record at a whole millisecond: it may go so much earlier than its `ttl` says.
const ROUNDED: Duration = Duration::from_millis(1);

/// How much a near cache keeps, and for how long: see [`SharedStore::near_cache`].
///
/// ```
/// # use std::time::Duration;
/// use idempotent_runtime::store::NearCache;
///
/// let options = NearCache::new()
///     .max_bytes(8 * 1024 * 1024)
///     .max_age(Duration::from_secs(10));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearCache {
    max_bytes: usize,
    max_age: Duration,
}

impl NearCache {
    /// The limit in bytes unless another is given: 32 MiB, some 80,000 small results.
    pub const DEFAULT_MAX_BYTES: usize = 32 * 1024 * 1024;
    /// The greatest age unless another is given: 1 minute.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(60);

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_age: Self::DEFAULT_MAX_AGE,
        }
    }

    /// How many bytes the kept results take at most, with their keys and what it costs to keep them (256 bytes each);
    /// by default [`DEFAULT_MAX_BYTES`](Self::DEFAULT_MAX_BYTES). When it is full, what has not been replayed lately
    /// goes, and is asked for again. A result that would take more than a sixteenth may not be kept at all.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// For how long a result is replayed before the store is asked again; by default
    /// [`DEFAULT_MAX_AGE`](Self::DEFAULT_MAX_AGE). That is how late another process' `forget` may be, and no result is
    /// kept beyond its own `ttl`. A key that is replayed all the time costs the store one command in each such time.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }
}

impl Default for NearCache {
    fn default() -> Self {
        Self::new()
    }
}

/// The near cache of one store.
pub(super) struct Near {
    records: Records,
    max_age: Duration,
}

impl Near {
    fn new(options: &NearCache) -> Self {
        Self {
            records: Records::new(options.max_bytes),
            max_age: options.max_age,
        }
    }

    /// Notes when, and after which decisions of operators, a question about `key` is asked.
    fn ask<'a>(&'a self, store: &'a SharedStore, key: &'a Key) -> Asked<'a> {
        Asked {
            near: self,
            store,
            key,
            epoch: self.records.epoch(key),
            at: Moment::now(),
        }
    }
}

/// A question to the store about one key, noted before it is sent. Unless it is answered with a result, it changes
/// nothing that anybody has to rely on.
pub(super) struct Asked<'a> {
    near: &'a Near,
    /// The handle that asks.
    store: &'a SharedStore,
    key: &'a Key,
    epoch: u64,
    at: Moment,
}

impl Asked<'_> {
    /// The store has acknowledged `record` to its writer, and keeps it for its retention from some time after the question.
    pub(super) fn recorded(&self, record: &Record) {
        self.keep(record, protocol::retention(record.state, record.ttl));
    }

    /// The store has shown the record as it stands, if there is one.
    pub(super) fn shown(&self, record: Option<&Record>) {
        match record {
            Some(record) => self.keep(record, left(record, self.store.clock())),
            None => self.near.records.remove(self.key),
        }
    }

    /// Keeps a result that will stand for `left` from the question on.
    fn keep(&self, record: &Record, left: Duration) {
        let life = cmp::min(surely(left), self.near.max_age);
        let entry = match (&record.outcome, self.at.after(life)) {
            (Some(outcome @ (Outcome::Ok(_) | Outcome::Err(_))), Some(until))
                if self.store.replays_near() && record.state == State::Done && !life.is_zero() =>
            {
                Entry::new(record, outcome, until)
            }
            _ => return self.near.records.remove(self.key),
        };
        self.near
            .records
            .put(self.key, self.epoch, entry, Moment::now);
    }
}

/// For how much of `left` the store surely has the record.
fn surely(left: Duration) -> Duration {
    left.saturating_sub(left / DRIFT).saturating_sub(ROUNDED)
}

/// How long a record that was shown is kept from now on, at least. `clock` is the store's time in µs since 1970, where it
/// is known; otherwise this machine's has to do.
fn left(record: &Record, clock: Option<u64>) -> Duration {
    let known = clock.map_or_else(deadline::since_1970, Duration::from_micros);
    // The store gave this token, so that time has come there.
    let now = cmp::max(known, Duration::from_micros(record.token));
    Duration::from_millis(record.expires).saturating_sub(now + CLOCKS)
}

/// An operator's decision under way. Whatever becomes of it, also if nobody waits for it any more: what was known of the
/// key before, and what is asked for before the end of this, is not replayed.
pub(super) struct Overruling<'a> {
    store: &'a SharedStore,
    key: &'a Key,
}

impl Drop for Overruling<'_> {
    fn drop(&mut self) {
        if let Some(near) = self.store.near() {
            near.records.overrule(self.key);
        }
    }
}

impl SharedStore {
    /// The same store with a **near cache**: completed results are kept in this process too, and replayed from there
    /// without a word to the store. For network stores; a store in this process is as near as can be, and nothing changes.
    ///
    /// ```
    /// # use idempotent_runtime::{Store, SharedStore, store::NearCache};
    /// # fn example(redis: impl Store) -> SharedStore {
    /// SharedStore::new(redis).near_cache(&NearCache::new())
    /// # }
    /// ```
    ///
    /// It keeps only results that the store has acknowledged or shown, until [`NearCache::max_age`], and never for
    /// longer than the store keeps them. First calls, and whatever is not a result, are the store's alone to decide, and
    /// the fingerprint is compared here as everywhere.
    ///
    /// **`forget` elsewhere comes late.** In this process `forget` takes effect at once, through any handle of the store.
    /// Another process may replay the old result until its `max_age` is over.
    ///
    /// A store has one near cache, for this handle and those made from it, whatever their namespace: the first call
    /// says how large it is, and later ones join it. Handles made before do not replay from it.
    ///
    /// The end of a result that another process recorded is told by the store's clock. Where a store does not tell its
    /// time ([`Store::clock`](crate::Store::clock); Redis does), this machine's clock has to agree with it to a minute.
    #[must_use]
    pub fn near_cache(&self, options: &NearCache) -> Self {
        if self.local().is_none() {
            self.near_place().get_or_init(|| Near::new(options));
        }
        self.replaying_near()
    }

    /// How many bytes the near cache takes, by the measure of [`NearCache::max_bytes`]. Zero where there is none.
    #[must_use]
    pub fn near_cache_bytes(&self) -> usize {
        self.near().map_or(0, |near| near.records.bytes())
    }

    fn near(&self) -> Option<&Near> {
        self.near_place().get()
    }

    fn near_to_replay(&self) -> Option<&Near> {
        self.near().filter(|_| self.replays_near())
    }

    /// Shows the record where it is in this process: in a local store, or in the near cache. No record is shown where
    /// the store has to be asked.
    pub(crate) fn peek(&self, key: &Key, look: &mut dyn FnMut(&RecordRef<'_>)) {
        if let Some(local) = self.local() {
            local.peek(key, look);
        } else if let Some(near) = self.near_to_replay() {
            near.records.look(key, Moment::now, look);
        }
    }

    /// To be noted before a question about `key` is sent.
    pub(super) fn ask<'a>(&'a self, key: &'a Key) -> Option<Asked<'a>> {
        self.near().map(|near| near.ask(self, key))
    }

    /// To be held while an operator's decision about `key` is under way.
    pub(super) fn overruling<'a>(&'a self, key: &'a Key) -> Overruling<'a> {
        Overruling { store: self, key }
    }
}
