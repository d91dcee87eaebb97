//! One atomic step on one key, and the sweep that follows it.

use std::{mem, time::Duration};

use super::{
    MAX_COPIED,
    clock::MemoryClock,
    expiry::{Due, Expiry},
    layout::Packed,
    table::{KeyHash, RecordTable},
};
use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    record::{HOLD, Parts, Record, State},
    store::{
        ClaimReply, KeyNotifier, Settled,
        protocol::{self, Current, Step, Write},
    },
    sync::{
        atomic::{AtomicUsize, Ordering},
        mutant,
    },
};

/// What the clones of a store share.
pub(super) struct Shared {
    pub(super) records: RecordTable,
    pub(super) len: AtomicUsize,
    pub(super) max_records: usize,
    pub(super) clock: MemoryClock,
    pub(super) notifier: KeyNotifier,
    pub(super) expiry: Expiry,
}

impl Shared {
    /// Runs one atomic step on one key. `decide` sees the record and the time, and returns what to
    /// write. It runs under a lock, so it does not see the record's result, which may be long. The
    /// result is put into the reply afterwards.
    pub(super) fn step<R: Reply>(
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
    pub(super) fn change(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<&Packed>, u64) -> Option<Packed>,
    ) -> Result<(), StoreError> {
        let shared = self;
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
        drop(replaced); // After the lock is released: to free a long record takes time.
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
    pub(super) fn complete_own(&self, key: &Key, parts: &mut Parts<'_>, check: u64) -> bool {
        let ttl = parts.record.ttl;
        let pack = |parts: &mut Parts<'_>, now| {
            parts.expires = protocol::expires(State::Done, ttl, now);
            Packed::new(key.as_str().as_bytes(), parts, check, 0)
        };
        let is_long = parts.len() > MAX_COPIED;
        let mut packed = is_long.then(|| pack(parts, self.clock.now()));
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
            self.notifier.publish(key.as_str());
            return true;
        }
        false
    }

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
            let is_its_entry = |packed: &Packed| packed.due == Some(due);
            let removed = self
                .records
                .remove(hash, |packed| is_past_end(packed) && is_its_entry(packed));
            if removed.is_some() {
                self.len.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let mut again = None;
            self.records.update(hash, is_its_entry, |packed| {
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

/// The answer of a step, which may contain the record that was seen.
pub(super) trait Reply {
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
pub(super) fn pack(key: &Key, write: &Write, now: u64) -> Packed {
    let key = key.as_str().as_bytes();
    let parts = Parts::of(&write.record);
    Packed::new(key, &parts, write.record.check, write.delete_at(now))
}

/// How long ago a running record was granted or renewed: it is kept for [`HOLD`] from then on.
pub(super) fn age(state: State, delete_at: u64, now: u64) -> Duration {
    match state {
        State::Running => {
            let latest = now.saturating_add(micros(HOLD));
            Duration::from_micros(latest.saturating_sub(delete_at))
        }
        _ => Duration::ZERO,
    }
}

pub(super) fn micros(time: Duration) -> u64 {
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
