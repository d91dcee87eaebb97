//! A near cache: done records of a network store, kept in this process for a while and replayed
//! from there.
//!
//! This module decides what may enter, and until when. `cache` keeps the results, within bounds.
//! `deadline` is their time.

mod cache;
mod deadline;
#[cfg(test)]
mod tests;

use std::{cmp, time::Duration};

use self::{
    cache::{Entry, Records},
    deadline::Deadline,
};
use super::{SharedStore, protocol};
use crate::{
    key::Key,
    record::{Record, RecordRef, RecordedBytes, State},
};

/// How far the store's time and this process' estimate of it may differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);
/// The rates of two clocks may differ by one part in this many.
const MAX_DRIFT: u32 = 1000;
/// A store ends a record at a whole millisecond: it may go so much earlier than its `ttl` says.
const ROUNDING: Duration = Duration::from_millis(1);

/// How much a near cache keeps, and for how long: see [`SharedStore::with_near_cache`].
///
/// ```
/// # use std::time::Duration;
/// use idempotent_fn::store::NearCache;
///
/// let options = NearCache::new()
///     .with_max_bytes(8 * 1024 * 1024)
///     .with_max_age(Duration::from_secs(10));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearCache {
    max_bytes: usize,
    max_age: Duration,
}

impl NearCache {
    /// The default limit in bytes: 32 MiB, some 80,000 small results.
    pub const DEFAULT_MAX_BYTES: usize = 32 * 1024 * 1024;
    /// The default greatest age: 1 minute.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(60);

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_age: Self::DEFAULT_MAX_AGE,
        }
    }

    /// The most bytes that the kept results take, with their keys and their overhead (256 bytes
    /// each); by default [`DEFAULT_MAX_BYTES`](Self::DEFAULT_MAX_BYTES). A full near cache drops
    /// results that were not replayed lately, and asks the store for them again. A result that
    /// would take more than a sixteenth may not be kept at all.
    #[must_use]
    pub const fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long a result is replayed before the store is asked again; by default
    /// [`DEFAULT_MAX_AGE`](Self::DEFAULT_MAX_AGE). Another process' `forget` may take effect that
    /// late. No result is kept beyond its own `ttl`. A key that is replayed all the time costs the
    /// store one command per `max_age`.
    #[must_use]
    pub const fn with_max_age(mut self, age: Duration) -> Self {
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

    /// Notes the time of a question about `key`, and which decisions of operators came before it.
    fn lookup<'a>(&'a self, store: &'a SharedStore, key: &'a Key) -> Lookup<'a> {
        Lookup {
            near: self,
            store,
            key,
            epoch: self.records.epoch(key),
            at: Deadline::now(),
        }
    }
}

/// A question to the store about one key, noted before it is sent. Only an answer with a result
/// enters the cache; any other answer at most removes an entry.
pub(super) struct Lookup<'a> {
    near: &'a Near,
    /// The handle that asks.
    store: &'a SharedStore,
    key: &'a Key,
    epoch: u64,
    at: Deadline,
}

impl Lookup<'_> {
    /// The store has acknowledged `record` to its writer. Its retention starts after the question
    /// was sent.
    pub(super) fn acknowledged(&self, record: &Record) {
        self.keep(record, protocol::retention(record.state, record.ttl));
    }

    /// The store has shown the current record, or that there is none.
    pub(super) fn observed(&self, record: Option<&Record>) {
        match record {
            Some(record) => self.keep(record, left(record, self.store.clock())),
            None => self.near.records.remove(self.key),
        }
    }

    /// Keeps a result that the store keeps for at least `left` from the question on.
    fn keep(&self, record: &Record, left: Duration) {
        let life = cmp::min(at_least(left), self.near.max_age);
        let entry = match (&record.outcome, self.at.after(life)) {
            (Some(outcome @ (RecordedBytes::Ok(_) | RecordedBytes::Err(_))), Some(until))
                if self.store.replays_near() && record.state == State::Done && !life.is_zero() =>
            {
                Entry::new(record, outcome, until)
            }
            _ => return self.near.records.remove(self.key),
        };
        self.near
            .records
            .put(self.key, self.epoch, entry, Deadline::now);
    }
}

/// For how much of `left` the store surely has the record.
fn at_least(left: Duration) -> Duration {
    left.saturating_sub(left / MAX_DRIFT)
        .saturating_sub(ROUNDING)
}

/// How long the store keeps a shown record from now on, at least. `clock` is the store's time in µs
/// since 1970, if known; otherwise this machine's clock is used.
fn left(record: &Record, clock: Option<u64>) -> Duration {
    let known = clock.map_or_else(deadline::since_1970, Duration::from_micros);
    // A token is a time of the store's, so the store's clock has reached it.
    let now = cmp::max(known, Duration::from_micros(record.token));
    Duration::from_millis(record.expires).saturating_sub(now + MAX_CLOCK_SKEW)
}

/// An operator's decision in progress. When it is dropped, whatever the outcome, the entry is
/// removed, and answers to questions asked before that do not enter.
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

// Apart from the handle: all that is near is here.
impl SharedStore {
    /// The same store with a **near cache**: this process keeps completed results too, and replays
    /// them without asking the store. It is for network stores. On a store in this process it
    /// changes nothing.
    ///
    /// ```
    /// # use idempotent_fn::{Store, SharedStore, store::NearCache};
    /// # fn example(redis: impl Store) -> SharedStore {
    /// SharedStore::new(redis).with_near_cache(&NearCache::new())
    /// # }
    /// ```
    ///
    /// It keeps only results that the store has acknowledged or shown, until
    /// [`NearCache::with_max_age`], and never for longer than the store keeps them. The store alone
    /// decides first calls, and everything that is not a result. The fingerprint is compared here
    /// as everywhere.
    ///
    /// **`forget` elsewhere comes late.** In this process `forget` takes effect at once, through
    /// any handle of the store. Another process may replay the old result until its `max_age` is
    /// over.
    ///
    /// A store has one near cache, for this handle and those made from it, whatever their
    /// namespace. The first call sets its size, and later calls join it. Handles made before do not
    /// replay from it.
    ///
    /// The store's clock tells when a result of another process ends. If a store does not tell its
    /// time ([`Store::clock`](crate::Store::clock); Redis does), this machine's clock must agree
    /// with it to a minute.
    #[must_use]
    pub fn with_near_cache(&self, options: &NearCache) -> Self {
        if self.local().is_none() {
            self.near_cell().get_or_init(|| Near::new(options));
        }
        self.replaying_near()
    }

    /// How many bytes the near cache takes, as [`NearCache::with_max_bytes`] counts them. Zero if
    /// there is none.
    #[must_use]
    pub fn near_cache_bytes(&self) -> usize {
        self.near().map_or(0, |near| near.records.bytes())
    }

    fn near(&self) -> Option<&Near> {
        self.near_cell().get()
    }

    fn near_to_replay(&self) -> Option<&Near> {
        self.near().filter(|_| self.replays_near())
    }

    /// Shows the record if the near cache of this handle has it.
    pub(crate) fn peek_near(&self, key: &Key, look: &mut dyn FnMut(&RecordRef<'_>)) {
        if let Some(near) = self.near_to_replay() {
            near.records.look(key, Deadline::now, look);
        }
    }

    /// Called before a question about `key` is sent.
    pub(super) fn lookup<'a>(&'a self, key: &'a Key) -> Option<Lookup<'a>> {
        self.near().map(|near| near.lookup(self, key))
    }

    /// Held while an operator's decision about `key` is in progress.
    pub(super) fn overruling<'a>(&'a self, key: &'a Key) -> Overruling<'a> {
        Overruling { store: self, key }
    }
}
