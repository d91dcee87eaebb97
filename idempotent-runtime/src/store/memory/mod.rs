//! Records in this process' memory.

mod clock;
mod expiry;
mod layout;
#[cfg(test)]
mod layout_tests;
mod list;
mod table;
#[cfg(test)]
mod tests;

use std::{fmt, mem, sync::Arc, time::Duration};

use arrayvec::ArrayVec;

use super::{
    ClaimReply, ClaimRequest, Cursor, Filter, Found, KeyNotifier, LocalStore, Page, Settled, Store,
    Subscription,
    protocol::{self, Current, Step, Write},
};
use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    record::{HOLD, Parts, Record, RecordRef, RecordedBytesRef, State, View},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mutant,
    },
};
use clock::Clock;
use expiry::{Due, Expiry};
use layout::Packed;
use table::{KeyHash, Records};

pub use clock::ManualClock;

/// Records up to this many bytes are copied when read. Longer ones are shared.
const COPIED: usize = 1024;

/// Keeps records in a [`DashMap`](https://docs.rs/dashmap) of this process: for one process, or for tests.
/// They end with the process.
///
/// Clones are the same store. Each key has its own entry: no key waits for another's body, nor for
/// another's result to be decoded. Later calls remove expired records in small steps, never all at
/// once. A finished record is kept for 30 seconds past its end, or twice its lease
/// ([`protocol::grace`](super::protocol::grace)). Replays use a coarse clock, so a result may be
/// replayed for some milliseconds past its end.
#[cfg_attr(docsrs, doc(cfg(feature = "memory")))]
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    records: Records,
    len: AtomicUsize,
    max_records: usize,
    clock: Clock,
    notifier: KeyNotifier,
    expiry: Expiry,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::build(Clock::system(), usize::MAX)
    }

    /// An empty store on `clock`: leases lapse and results expire when the test moves it.
    #[must_use]
    pub fn with_clock(clock: &ManualClock) -> Self {
        let store = Self::build(Clock::Manual(clock.clone()), usize::MAX);
        let notifier = store.shared.notifier.clone();
        clock.on_advance(move || notifier.publish_all());
        store
    }

    /// An empty store on Tokio's clock, for tests that pause and advance it. Leases, waits and
    /// `ttl` then use one clock.
    ///
    /// If you advance the clock by a lease or more in one step while a body is pending, the owner
    /// counts as silent, and a duplicate takes over. Advance it in steps shorter than a third of
    /// the lease, or give the operation a long lease or `on_crash = fail`.
    ///
    /// Create and use it within the runtime. It takes two lines:
    ///
    /// ```
    /// # use std::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
    /// # use idempotent_fn::{operation, with_store, Error, store::MemoryStore};
    /// # static RUNS: AtomicU32 = AtomicU32::new(0);
    /// # async fn charge() -> Result<u32, Error> {
    /// #     let call = operation::<Result<u32, Error>, _>("payments.charge", &[&"order-42"]);
    /// #     let call = call.ttl(Duration::from_secs(3600));
    /// #     call.run(async { Ok(1 + RUNS.fetch_add(1, Ordering::Relaxed)) }).await
    /// # }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// // #[tokio::test(start_paused = true)]
    /// let store = MemoryStore::on_tokio_time();
    /// with_store(store, async {
    ///     assert_eq!(charge().await.unwrap(), 1);
    ///     tokio::time::advance(Duration::from_secs(2 * 3600)).await; // its `ttl` is an hour
    ///     assert_eq!(charge().await.unwrap(), 2);
    /// })
    /// .await;
    /// # }
    /// ```
    #[must_use]
    pub fn on_tokio_time() -> Self {
        Self::build(Clock::tokio(), usize::MAX)
    }

    /// An empty store that keeps at most `max_records` records. A full store refuses new keys
    /// ([`Error::Unavailable`](crate::Error::Unavailable)) until records leave it, some time after
    /// their end. It never drops a record early, because the next call with its key would run
    /// again.
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
                notifier: KeyNotifier::default(),
                expiry: Expiry::new(),
            }),
        }
    }

    /// The number of records kept, including those past their end that are not removed yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.len.load(Ordering::Relaxed)
    }

    /// Whether it keeps no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs one atomic step on one key: `decide` sees the record and the time, and returns what to
    /// write. It runs under a lock, so it does not see the result, which may be long. The result is
    /// put into the reply afterwards.
    fn step<R: Reply>(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<Current<'_>>, u64) -> Step<R>,
    ) -> Result<R, StoreError> {
        let (mut answer, mut seen) = (None, None);
        self.change(key, |kept, now| {
            let record = kept.map(Packed::without_result);
            let current = kept.zip(record.as_ref()).map(|(packed, record)| Current {
                record,
                age: age(record.state, packed.delete_at(), now),
            });
            let Step { write, reply } = decide(current, now);
            answer = Some(reply);
            seen = kept.cloned();
            write.map(|write| pack(key, &write, now))
        })?;
        let mut reply = answer.expect("it was let decide");
        if let (Some(record), Some(seen)) = (reply.record(), &seen)
            && record.state == State::Done
        {
            record.outcome = seen.record().outcome;
        }
        Ok(reply)
    }

    /// As [`step`](Self::step), on packed records: most calls are decided without unpacking one.
    /// `decide` stores its answer outside, which saves copies.
    fn change(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<&Packed>, u64) -> Option<Packed>,
    ) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let key = key.as_str().as_bytes();
        let hash = shared.records.hash(key);
        let (mut now, mut added, mut is_full, mut replaced) = (0, None, false, None);
        shared.records.change(key, hash, |slot| {
            // Read under the key's lock. A thread that read it before waiting for the lock would
            // have an older time than the record. If that record was removed in between, it would
            // grant a smaller token.
            now = shared.clock.now();
            let kept = slot.as_deref().filter(|packed| now < packed.delete_at());
            let mut packed = decide(kept, now)?;
            let before = slot.as_deref().and_then(|packed| packed.due);
            // A running record has no entry: its owner finishes it, or another takes it over.
            let due = (packed.view().state() != State::Running)
                .then(|| Due::of(packed.delete_at(), now))
                .filter(|due| before.is_none_or(|before| *due < before));
            packed.hash = hash;
            packed.due = due.or(before);
            let new = match slot {
                Some(kept) => {
                    replaced = Some(mem::replace(kept, packed));
                    None
                }
                None if shared.take_room() => Some(packed),
                None => {
                    is_full = true;
                    return None;
                }
            };
            added = due;
            new
        });
        drop(replaced); // Not under the lock: a long one takes its time.
        if let Some(due) = added {
            shared.expiry.add(hash, due);
        }
        if shared.expiry.is_due(now) {
            shared.sweep(hash, now);
        }
        if is_full { Err(full()) } else { Ok(()) }
    }

    /// Completes the attempt, if the record is still its own. A long result is packed before the
    /// lock is taken.
    fn complete_own(&self, key: &Key, parts: &mut Parts<'_>, check: u64) -> bool {
        let ttl = parts.record.ttl;
        let pack = |parts: &mut Parts<'_>, now| {
            parts.expires = protocol::expires(State::Done, ttl, now);
            Packed::new(key.as_str().as_bytes(), parts, check, 0)
        };
        let is_long = parts.len() > COPIED;
        let mut packed = is_long.then(|| pack(parts, self.shared.clock.now()));
        let owner = parts.record.nonce;
        let mut is_own = false;
        let completed = self.change(key, |kept, now| {
            is_own = kept.is_some_and(|kept| {
                let view = kept.view();
                protocol::is_open_to(view.state(), view.nonce(), owner)
            });
            is_own.then(|| packed.take().unwrap_or_else(|| pack(parts, now)))
        });
        if is_own && completed.is_ok() {
            self.shared.notifier.publish(key.as_str());
            return true;
        }
        false
    }
}

/// The answer of a step, which may contain the record that was seen.
trait Reply {
    fn record(&mut self) -> Option<&mut Record>;
}

impl Reply for ClaimReply {
    fn record(&mut self) -> Option<&mut Record> {
        match self {
            Self::Held { record, .. } => Some(record),
            _ => None,
        }
    }
}

impl Reply for Settled {
    fn record(&mut self) -> Option<&mut Record> {
        match self {
            Self::Stale { record, .. } => Some(record),
            _ => None,
        }
    }
}

impl Reply for Option<(Record, Duration)> {
    fn record(&mut self) -> Option<&mut Record> {
        self.as_mut().map(|(record, _)| record)
    }
}

/// Packs what is written `now`.
fn pack(key: &Key, write: &Write, now: u64) -> Packed {
    let key = key.as_str().as_bytes();
    let parts = Parts::of(&write.record);
    Packed::new(key, &parts, write.record.check, write.delete_at(now))
}

/// How long ago a running record was granted or renewed: it is kept for [`HOLD`] from then on.
fn age(state: State, delete_at: u64, now: u64) -> Duration {
    match state {
        State::Running => {
            let latest = now.saturating_add(micros(HOLD));
            Duration::from_micros(latest.saturating_sub(delete_at))
        }
        _ => Duration::ZERO,
    }
}

fn micros(time: Duration) -> u64 {
    let seconds = time.as_secs().saturating_mul(1_000_000);
    seconds.saturating_add(time.subsec_micros().into())
}

fn full() -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused,
        "the memory store is full; records leave it some time after the end of their `ttl`: 30 s, or twice their lease where \
         that is longer",
    )
}

impl Shared {
    /// Counts one more record, if there is room.
    fn take_room(&self) -> bool {
        mutant!("the bound is looked at, then counted" => {
            let has_room = self.len.load(Ordering::Relaxed) < self.max_records;
            self.len.fetch_add(usize::from(has_room), Ordering::Relaxed);
            return has_room;
        });
        let more = |len: usize| (len < self.max_records).then_some(len + 1);
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Removes a few expired records, starting at this hash's list. A record that was written again
    /// since gets a new entry, unless it runs.
    fn sweep(&self, hash: KeyHash, now: u64) {
        for (hash, due) in self.expiry.take(hash, now) {
            let is_past_end = |packed: &Packed| {
                mutant!("a sweep takes live records" => return true);
                packed.delete_at() <= now
            };
            let goes_by_it = |packed: &Packed| packed.due == Some(due);
            let removed = self
                .records
                .remove(hash, |packed| is_past_end(packed) && goes_by_it(packed));
            if removed.is_some() {
                self.len.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let mut again = None;
            self.records.update(hash, goes_by_it, |packed| {
                let is_running = packed.view().state() == State::Running;
                again = (!is_running).then(|| Due::of(packed.delete_at(), now));
                packed.due = again;
            });
            if let Some(again) = again {
                self.expiry.add(hash, again);
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
        let mut copied = ArrayVec::<u8, COPIED>::new();
        let mut long = None;
        shared.records.look(key.as_str().as_bytes(), |packed| {
            if copied.try_extend_from_slice(packed.bytes()).is_err() {
                long = Some(packed.clone());
            }
        });
        let bytes = long.as_ref().map_or(&copied[..], Packed::bytes);
        if bytes.is_empty() {
            return;
        }
        let view = View::of(bytes);
        if !view.has_ended(shared.clock.recent()) {
            look(&view.peek());
        }
    }

    fn grant(&self, key: &Key, request: &ClaimRequest) -> Option<u64> {
        let mut token = None;
        let granted = self.change(key, |kept, now| {
            if kept.is_some() {
                return None;
            }
            let write = protocol::first_grant(request, 0, now);
            token = Some(write.record.token);
            Some(pack(key, &write, now))
        });
        granted.ok().and(token)
    }

    fn complete(
        &self,
        key: &Key,
        owned: &Record,
        codec: u32,
        outcome: RecordedBytesRef<'_>,
    ) -> bool {
        let mut parts = Parts {
            record: owned,
            state: State::Done,
            codec,
            expires: 0,
            outcome: Some(outcome),
        };
        // No check: only this process reaches these records, so nobody verifies it.
        self.complete_own(key, &mut parts, 0)
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
        if target.state == State::Done
            && self.complete_own(key, &mut Parts::of(target), target.check)
        {
            return Ok(Settled::Applied);
        }
        let settled = self.step(key, |current, now| protocol::finish(current, target, now))?;
        self.shared.notifier.publish(key.as_str());
        Ok(settled)
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.step(key, protocol::read)
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
        self.shared.notifier.publish(key.as_str());
        Ok(settled)
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        Ok(self.shared.notifier.subscribe(key).0)
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        let shared = &*self.shared;
        list::list(&shared.records, shared.clock.now(), filter, cursor)
    }

    fn local(&self) -> Option<&dyn LocalStore> {
        Some(self)
    }

    fn describe(&self) -> String {
        "memory:".to_owned()
    }
}
