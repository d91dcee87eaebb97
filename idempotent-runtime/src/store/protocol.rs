//! The protocol's decisions, as functions of a record and a clock: no store, no I/O.
//!
//! A store that can run code where its records live (a lock, a transaction) calls these and writes what they say, in one
//! atomic step. `takeover.lua`, `renew.lua` and `finish.lua` say the same in Redis' language.

#[cfg(test)]
mod tests;

use std::{cmp, time::Duration};

use super::{ClaimReply, ClaimRequest, Settled};
use crate::{
    OnCrash,
    fingerprint::Fingerprint,
    record::{HOLD, MAX_LEASE, Nonce, Outcome, Record, State},
};

pub use crate::record::MAX_TOKEN;

/// A takeover's lease is at most this many times the option.
pub const MAX_LEASE_GROWTH: u32 = 8;

/// The record a store holds, with the time since it was granted or last renewed, by the store's own clock.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its age. A clock that went back counts as zero.
    pub age: Duration,
}

impl Current<'_> {
    /// What is left of a running owner's lease; zero for any other state.
    #[must_use]
    pub fn lease_left(&self) -> Duration {
        match self.record.state {
            State::Running => self.record.lease.saturating_sub(self.age),
            _ => Duration::ZERO,
        }
    }
}

/// What to do with the record, and what to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step<R> {
    /// The record to write and how long to keep it; `None` leaves everything as it is.
    pub write: Option<(Record, Duration)>,
    /// The answer.
    pub reply: R,
}

impl<R> Step<R> {
    fn keep(reply: R) -> Self {
        Self { write: None, reply }
    }

    fn write(record: Record, retain: Duration, reply: R) -> Self {
        Self {
            write: Some((record, retain)),
            reply,
        }
    }
}

/// A claim: none or failed → granted; running and lapsed → granted under `rerun`, lost under `fail`; else left as it is.
/// `now` is the store's time in microseconds since 1970.
///
/// A nonce that asks again gets the same grant, also once others have taken its owner for lost: an owner that still
/// asks has not run anything. After its release it gets nothing: then the message was late, and nobody waits for it.
pub fn claim(current: Option<Current<'_>>, request: &ClaimRequest, now: u64) -> Step<ClaimReply> {
    let Some(current) = current else {
        let record = first_grant(request, now);
        return Step::write(
            record.clone(),
            HOLD,
            ClaimReply::Granted {
                record,
                takeover: false,
            },
        );
    };
    let record = current.record;
    let held = || ClaimReply::Held {
        record: record.clone(),
        lease_left: current.lease_left(),
    };
    if record.nonce == request.nonce {
        return match record.state {
            State::Running => Step::keep(granted_before(record.clone())),
            State::Lost => {
                let running = Record {
                    state: State::Running,
                    ..record.clone()
                };
                Step::write(running.clone(), HOLD, granted_before(running))
            }
            State::Failed | State::Done => Step::keep(held()),
        };
    }
    if record.conflicts_with(request.fingerprint) {
        return Step::keep(held());
    }
    match record.state {
        State::Failed => grant(
            request,
            record.token,
            record.attempts,
            request.lease,
            false,
            now,
        ),
        State::Running if current.lease_left().is_zero() => lapse(record, request, now),
        State::Running | State::Done | State::Lost => Step::keep(held()),
    }
}

/// What a claim is granted where there is no record. `now` as in [`claim`].
#[inline]
#[must_use]
pub fn first_grant(request: &ClaimRequest, now: u64) -> Record {
    request.granted(next_token(0, now), 1, request.lease)
}

/// The grant whose first answer was lost.
fn granted_before(record: Record) -> ClaimReply {
    let takeover = record.attempts > 1;
    ClaimReply::Granted { record, takeover }
}

/// A running owner was silent for its lease: the record's own policy decides.
fn lapse(record: &Record, request: &ClaimRequest, now: u64) -> Step<ClaimReply> {
    match record.on_crash {
        OnCrash::Rerun => {
            let longest = cmp::min(request.lease.saturating_mul(MAX_LEASE_GROWTH), MAX_LEASE);
            // Never below the option: a deploy that lengthened the lease is obeyed at once.
            let lease = cmp::max(
                cmp::min(record.lease.saturating_mul(2), longest),
                request.lease,
            );
            grant(request, record.token, record.attempts, lease, true, now)
        }
        OnCrash::Fail => {
            // The nonce stays: a late renew or finish of that owner settles the matter.
            let lost = Record {
                state: State::Lost,
                ..record.clone()
            };
            let reply = ClaimReply::Held {
                record: lost.clone(),
                lease_left: Duration::ZERO,
            };
            Step::write(lost, HOLD, reply)
        }
    }
}

fn grant(
    request: &ClaimRequest,
    last_token: u64,
    attempts: u32,
    lease: Duration,
    takeover: bool,
    now: u64,
) -> Step<ClaimReply> {
    let token = next_token(last_token, now);
    let record = request.granted(token, attempts.saturating_add(1), lease);
    Step::write(
        record.clone(),
        HOLD,
        ClaimReply::Granted { record, takeover },
    )
}

/// A token above `last`, and above every token of a record that was forgotten before `now`.
#[must_use]
pub fn next_token(last: u64, now: u64) -> u64 {
    cmp::min(cmp::max(last.saturating_add(1), now), MAX_TOKEN)
}

/// A heartbeat: the owner's running record is young again, and its own lost record runs again, each under the policy
/// that it has. No record: it is put back.
pub fn renew(current: Option<Current<'_>>, owned: &Record) -> Step<Settled> {
    let running = |record: &Record| Record {
        state: State::Running,
        outcome: None,
        ..record.clone()
    };
    match current {
        None => Step::write(running(owned), HOLD, Settled::PutBack),
        // What is kept, not what is sent: a late heartbeat must not undo what the owner has said of its effects since.
        Some(Current { record, .. }) if is_open_to(record.state, record.nonce, owned.nonce) => {
            Step::write(running(record), HOLD, Settled::Applied)
        }
        Some(current) => Step::keep(stale(current)),
    }
}

/// Complete, release or abandon: the owner's running or lost record becomes `target`, kept for `retain`. Done stays
/// done. No record: `target` is put back. Sent twice, it answers the same.
pub fn finish(current: Option<Current<'_>>, target: &Record, retain: Duration) -> Step<Settled> {
    match current {
        None => Step::write(target.clone(), retain, Settled::PutBack),
        Some(Current { record, .. }) if is_open_to(record.state, record.nonce, target.nonce) => {
            Step::write(target.clone(), retain, Settled::Applied)
        }
        Some(Current { record, .. })
            if record.nonce == target.nonce && record.state == target.state =>
        {
            Step::keep(Settled::Applied)
        }
        Some(current) => Step::keep(stale(current)),
    }
}

/// An operator's decision: replaces the very record that was `seen` (its nonce and state; `None`: no record) by
/// `replacement`, with a larger token. `now` as in [`claim`].
pub fn overrule(
    current: Option<Current<'_>>,
    seen: Option<&Record>,
    replacement: &Record,
    retain: Duration,
    now: u64,
) -> Step<Settled> {
    let last_token = match (current, seen) {
        (None, None) => 0,
        (Some(Current { record, .. }), _) if record.nonce == replacement.nonce => {
            return Step::keep(Settled::Applied);
        }
        (Some(Current { record, .. }), Some(seen))
            if record.nonce == seen.nonce && record.state == seen.state =>
        {
            record.token
        }
        (None, Some(_)) => return Step::keep(Settled::Absent),
        (Some(current), _) => return Step::keep(stale(current)),
    };
    let record = Record {
        token: next_token(last_token, now),
        ..replacement.clone()
    };
    Step::write(record, retain, Settled::Applied)
}

/// What an attempt leaves in which nothing happened: the key is free.
#[must_use]
pub fn released(owned: &Record) -> Record {
    Record {
        state: State::Failed,
        codec: 0,
        outcome: None,
        ..owned.clone()
    }
}

/// What an attempt leaves that stopped midway: its own policy decides.
#[must_use]
pub fn abandoned(owned: &Record) -> Record {
    match owned.on_crash {
        OnCrash::Rerun => released(owned),
        OnCrash::Fail => lost(owned),
    }
}

/// What an attempt leaves whose effects are unknown and must not be repeated, whatever its vanishing would have meant:
/// should a late message make it run again, it is lost again when that lease lapses.
#[must_use]
pub fn lost(owned: &Record) -> Record {
    Record {
        state: State::Lost,
        on_crash: OnCrash::Fail,
        ..released(owned)
    }
}

/// What an operator's decision about the record that was `seen` puts in its place: a result with its codec, or nothing,
/// and then the next claim runs. `request` is the decision's own; only [`overrule`] knows the token.
#[must_use]
pub fn replacement(
    seen: Option<&Record>,
    request: &ClaimRequest,
    result: Option<(u32, Outcome)>,
) -> Record {
    let base = seen.map_or_else(
        || Record {
            attempts: 0,
            ..request.record()
        },
        |seen| Record {
            nonce: request.nonce,
            fingerprint: pinned(seen).or(request.fingerprint),
            ..seen.clone()
        },
    );
    let (state, codec, outcome) = match result {
        Some((codec, outcome)) => (State::Done, codec, Some(outcome)),
        None => (State::Failed, 0, None),
    };
    Record {
        state,
        codec,
        outcome,
        expires: 0,
        ..base
    }
}

/// Whether a record in this `state`, of the attempt `nonce`, is the `owner`'s and still open: running, or lost but not yet
/// resolved.
#[inline]
#[must_use]
pub fn is_open_to(state: State, nonce: Nonce, owner: Nonce) -> bool {
    nonce == owner && matches!(state, State::Running | State::Lost)
}

fn stale(current: Current<'_>) -> Settled {
    Settled::Stale {
        record: current.record.clone(),
        lease_left: current.lease_left(),
    }
}

/// The payload that a record stands for. One that was released stands for none.
fn pinned(record: &Record) -> Option<Fingerprint> {
    match record.state {
        State::Failed => None,
        State::Running | State::Done | State::Lost => record.fingerprint,
    }
}
