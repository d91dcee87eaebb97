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
    record::{HOLD, OutcomeRef, Parts, Record, RecordRef, State, View},
};
use expiry::Expiry;
use packed::Packed;
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
            write.map(|(record, keep)| pack(key, &record, keep, now))
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
            let end = (packed.view().state() != State::Running).then(|| packed.gone());
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

/// A record whose bytes are to be kept for `keep`.
fn pack(key: &Key, record: &Record, keep: Duration, now: u64) -> Packed {
    let gone = now.saturating_add(micros(keep));
    let key = key.as_str().as_bytes();
    Packed::new(key, &Parts::of(record), record.check, gone)
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
            let view = View::of(packed.bytes());
            if !view.has_ended(shared.clock.recent()) {
                look(&view.peek());
            }
        });
    }

    fn grant(&self, key: &Key, request: &ClaimRequest) -> Option<u64> {
        let mut token = None;
        let granted = self.change(key, |kept, now| {
            let mut last_token = 0;
            if let Some(view) = kept.map(Packed::view) {
                if !view.has_ended(now) || view.nonce() == request.nonce {
                    return None;
                }
                last_token = view.token();
            }
            let record = protocol::first_grant(request, last_token, now);
            token = Some(record.token);
            Some(pack(key, &record, HOLD, now))
        });
        granted.ok().and(token)
    }

    fn complete(&self, key: &Key, owned: &Record, codec: u32, outcome: OutcomeRef<'_>) -> bool {
        let mut is_own = false;
        let completed = self.change(key, |kept, now| {
            is_own = kept.is_some_and(|packed| {
                let view = packed.view();
                protocol::is_open_to(view.state(), view.nonce(), owned.nonce)
            });
            is_own.then(|| {
                let parts = Parts {
                    record: owned,
                    state: State::Done,
                    codec,
                    expires: protocol::expires(State::Done, owned.ttl, now),
                    outcome: Some(outcome),
                };
                let check = parts.check(key.as_str());
                Packed::new(key.as_str().as_bytes(), &parts, check, 0)
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
        self.step(key, |current, now| protocol::renew(current, owned, now))
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        let settled = self.step(key, |current, now| protocol::finish(current, target, now))?;
        self.shared.topics.publish(key.as_str());
        Ok(settled)
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.step(key, |current, now| Step {
            write: None,
            reply: protocol::visible(current, now)
                .map(|current| (current.record.clone(), current.lease_left())),
        })
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let settled = self.step(key, |current, now| {
            protocol::overrule(current, seen, replacement, now)
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
