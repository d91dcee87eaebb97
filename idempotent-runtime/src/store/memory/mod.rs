//! Records in this process' memory.

mod expiry;
mod packed;
#[cfg(test)]
mod packed_tests;
mod records;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    ClaimReply, ClaimRequest, LocalStore, Settled, Store, Subscription, Topics,
    protocol::{self, Current, Step},
};
use crate::{
    StoreError, StoreErrorKind,
    clock::{Clock, ManualClock},
    key::Key,
    record::{HOLD, MAX_TTL, OutcomeRef, Record, RecordRef, State},
};
use expiry::Expiry;
use packed::{End, Packed};
use records::{Mark, Records};

/// Keeps records in a [`DashMap`](dashmap::DashMap) of this process: for one process, or for tests. They end with the process.
///
/// Clones are the same store. Each key has its own entry; no key waits for another's body. Records past their end are
/// removed in small steps by later calls, never all at once. A result may be replayed for some milliseconds past its end:
/// replays go by a coarse clock.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    records: Records,
    len: AtomicUsize,
    max_records: usize,
    clock: Clock,
    topics: Topics,
    expiry: Expiry,
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
        Self {
            shared: Arc::new(Shared {
                records: Records::new(),
                len: AtomicUsize::new(0),
                max_records,
                clock,
                topics: Topics::default(),
                expiry: Expiry::new(),
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
        let mut answer = None;
        self.change(key, |kept, now| {
            let kept = kept.map(|packed| (packed.record(), packed.gone()));
            let current = kept.as_ref().map(|(record, gone)| Current {
                record,
                age: age(record, *gone, now),
            });
            let Step { write, reply } = decide(current, now);
            answer = Some(reply);
            write.map(|(record, retain)| pack(key, &record, retain, now))
        })?;
        Ok(answer.expect("it was let decide"))
    }

    /// The same with records as they lie here: what most calls do is decided without unpacking one. What it answers, `decide`
    /// leaves where it is wanted: to hand it on would copy it at each step.
    fn change(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<&Packed>, u64) -> Option<Packed>,
    ) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let key = key.as_str().as_bytes();
        let mark = shared.records.mark(key);
        let (mut now, mut ends, mut is_full) = (0, None, false);
        shared.records.change(key, mark, |place| {
            // Asked only once the key is held: a thread that waited for it would come with an older time than the
            // record's, and where that record has gone in between, grant a smaller token than it had.
            now = shared.clock.now();
            let kept = place.as_deref().filter(|packed| now < packed.gone());
            let packed = decide(kept, now)?;
            // A running record is settled by its owner, or taken over.
            let end = (packed.state() != State::Running).then(|| packed.gone());
            let new = match place {
                Some(place) => {
                    *place = packed;
                    None
                }
                None if shared.take_room() => Some(packed),
                None => {
                    is_full = true;
                    return None;
                }
            };
            ends = end;
            new
        });
        if let Some(gone) = ends {
            shared.expiry.add(mark, gone, now);
        }
        if shared.expiry.is_due(now) {
            shared.sweep(mark, now);
        }
        if is_full { Err(full()) } else { Ok(()) }
    }
}

fn pack(key: &Key, record: &Record, retain: Duration, now: u64) -> Packed {
    let gone = gone(record.state, retain, now);
    Packed::new(key.as_str().as_bytes(), record, gone)
}

/// When a record that is written now is past its end.
fn gone(state: State, retain: Duration, now: u64) -> u64 {
    let kept = match state {
        State::Running => HOLD,
        _ => retain.clamp(Duration::from_millis(1), MAX_TTL),
    };
    now.saturating_add(micros(kept))
}

/// How long ago the record was granted or renewed, if it runs: it is kept for [`HOLD`] from then on.
fn age(record: &Record, gone: u64, now: u64) -> Duration {
    match record.state {
        State::Running => {
            let latest = now.saturating_add(micros(HOLD));
            Duration::from_micros(latest.saturating_sub(gone))
        }
        _ => Duration::ZERO,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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

    /// Removes a few records whose end has passed, as a call with this mark does.
    fn sweep(&self, mark: Mark, now: u64) {
        for mark in self.expiry.due(mark, now) {
            let removed = self.records.remove(mark, |packed| packed.gone() <= now);
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
    fn peek(&self, key: &Key, look: &mut dyn FnMut(&RecordRef<'_>)) {
        let shared = &*self.shared;
        shared.records.look(key.as_str().as_bytes(), |packed| {
            if shared.clock.recent() < packed.gone() {
                look(&packed.peek());
            }
        });
    }

    fn grant(&self, key: &Key, request: &ClaimRequest) -> Option<u64> {
        let mut token = None;
        let granted = self.change(key, |kept, now| {
            if kept.is_some() {
                return None;
            }
            let record = protocol::first_grant(request, now);
            token = Some(record.token);
            Some(pack(key, &record, HOLD, now))
        });
        granted.ok().and(token)
    }

    fn complete(
        &self,
        key: &Key,
        owned: &Record,
        codec: u32,
        outcome: OutcomeRef<'_>,
        retain: Duration,
    ) -> bool {
        let mut is_own = false;
        let completed = self.change(key, |kept, now| {
            is_own = kept.is_some_and(|packed| {
                protocol::is_open_to(packed.state(), packed.nonce(), owned.nonce)
            });
            is_own.then(|| {
                let end = End {
                    state: State::Done,
                    codec,
                    outcome: Some(outcome),
                };
                let gone = gone(State::Done, retain, now);
                Packed::ending(key.as_str().as_bytes(), owned, &end, gone)
            })
        });
        if !is_own || completed.is_err() {
            return false;
        }
        self.shared.topics.publish(key.as_str());
        true
    }
}

impl Store for MemoryStore {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        self.step(key, |current, now| protocol::claim(current, request, now))
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
        let settled = self.step(key, |current, _| protocol::finish(current, target, retain))?;
        self.shared.topics.publish(key.as_str());
        Ok(settled)
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
