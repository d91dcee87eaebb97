//! The protocol's decisions, as functions of a record and a clock: no store, no I/O.
//!
//! A store that can run code where its records live (a lock, a transaction) calls these and writes
//! what they say, in one atomic step. `takeover.lua`, `renew.lua` and `finish.lua` say the same in
//! Redis' language.
//!
//! ```
//! use idempotent_fn::{record::Nonce, store::{ClaimReply, ClaimRequest, protocol::{self, Current}}};
//!
//! # fn main() -> Result<(), idempotent_fn::record::NonceError> {
//! // A claim meets no record, at this time in microseconds since 1970.
//! let now = 1_764_000_000_000_000;
//! let request = ClaimRequest::new(Nonce::random()?);
//! let step = protocol::claim(None, &request, now);
//! assert!(matches!(step.reply, ClaimReply::Granted { takeover: false, .. }));
//! let write = step.write.expect("a running record");
//! // The store keeps `write.bytes()` for `write.keep`. Another attempt's claim then meets it:
//! let current = Current { record: &write.record, age: std::time::Duration::from_secs(1) };
//! let step = protocol::claim(Some(current), &ClaimRequest::new(Nonce::random()?), now + 1_000_000);
//! assert!(matches!(step.reply, ClaimReply::Held { .. }));
//! assert!(step.write.is_none());
//! # Ok(()) }
//! ```
//!
//! # Beyond the end
//! A done or failed record is shown until [`Record::expires`], and its bytes are kept for [`grace`]
//! more. In that time [`visible`] shows nothing, and a new claim is granted as if there were no
//! record, but with a larger token and one attempt more: whoever saw the key run, and is now
//! granted a first attempt, knows that its record was lost. An operator sees no record either. What
//! its own attempt, or an earlier one, still sends late meets the record and changes nothing. So no
//! late message makes a finished key live again or a token shrink, however short its `ttl`.

#[cfg(test)]
mod any_order;
#[cfg(test)]
mod tests;
mod write;

use std::{cmp, time::Duration};

use super::{ClaimReply, ClaimRequest, Settled};
use crate::{
    OnCrash,
    fingerprint::Fingerprint,
    record::{MAX_LEASE, Nonce, Record, RecordedBytes, State},
};

pub use crate::record::MAX_TOKEN;
pub(crate) use write::kept;
pub use write::{Write, expires, grace, retention};

/// A takeover's lease is at most this many times the option.
pub const MAX_LEASE_GROWTH: u32 = 8;

/// The record a store holds, with the time since it was granted or last renewed, by the store's own
/// clock.
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
    /// What to write, whole; `None` leaves everything as it is.
    pub write: Option<Write>,
    /// The answer.
    pub reply: R,
}

impl<R> Step<R> {
    /// Changes nothing.
    pub const fn keep(reply: R) -> Self {
        Self { write: None, reply }
    }

    fn write(record: Record, now: u64, reply: R) -> Self {
        Self {
            write: Some(Write::new(record, now)),
            reply,
        }
    }
}

/// What a reader sees: nothing where the record is past its end. `now` is the store's time in
/// microseconds since 1970, here as everywhere.
#[must_use]
pub fn visible(current: Option<Current<'_>>, now: u64) -> Option<Current<'_>> {
    current.filter(|current| !current.record.has_ended(now))
}

/// A read: the record that is [`visible`] and what is left of a running owner's lease. `now` is as
/// in [`claim`].
pub fn read(current: Option<Current<'_>>, now: u64) -> Step<Option<(Record, Duration)>> {
    let shown = visible(current, now);
    Step::keep(shown.map(|current| (current.record.clone(), current.lease_left())))
}

/// A claim: none or failed → granted; running and lapsed → granted under `rerun`, lost under
/// `fail`; else left as it is. A record past its end is as none, except that the token grows and
/// the attempts go on. `now` is the store's time in microseconds since 1970.
///
/// A nonce that asks again gets the same grant, also once others have taken its owner for lost: an
/// owner that still asks has not run anything. After its release it gets nothing: then the message
/// was late, and nobody waits for it.
pub fn claim(current: Option<Current<'_>>, request: &ClaimRequest, now: u64) -> Step<ClaimReply> {
    let Some(current) = current else {
        return grant(first_record(request, 0, now), false, now);
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
                Step::write(running.clone(), now, granted_before(running))
            }
            State::Failed | State::Done => Step::keep(held()),
        };
    }
    if record.has_ended(now) {
        return grant(next_grant(record, request, request.lease, now), false, now);
    }
    if record.conflicts_with(request.fingerprint) {
        return Step::keep(held());
    }
    match record.state {
        State::Failed => grant(next_grant(record, request, request.lease, now), false, now),
        State::Running if current.lease_left().is_zero() => lapse(record, request, now),
        State::Running | State::Done | State::Lost => Step::keep(held()),
    }
}

/// What a claim is granted where no record is to be seen; `last_token` is that of a record past its
/// end, or 0. `now` as in [`claim`].
#[inline]
pub fn first_grant(request: &ClaimRequest, last_token: u64, now: u64) -> Write {
    Write::running(first_record(request, last_token, now))
}

#[inline]
fn first_record(request: &ClaimRequest, last_token: u64, now: u64) -> Record {
    request.granted(next_token(last_token, now), 1, request.lease)
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
            grant(next_grant(record, request, lease, now), true, now)
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
            Step::write(lost, now, reply)
        }
    }
}

/// What a claim is granted after another attempt.
fn next_grant(last: &Record, request: &ClaimRequest, lease: Duration, now: u64) -> Record {
    let attempts = last.attempts.saturating_add(1);
    request.granted(next_token(last.token, now), attempts, lease)
}

fn grant(record: Record, takeover: bool, now: u64) -> Step<ClaimReply> {
    let reply = ClaimReply::Granted {
        record: record.clone(),
        takeover,
    };
    Step::write(record, now, reply)
}

/// A token above `last`, and above every token of a record that was forgotten before `now`.
#[must_use]
pub fn next_token(last: u64, now: u64) -> u64 {
    cmp::min(cmp::max(last.saturating_add(1), now), MAX_TOKEN)
}

/// A heartbeat: the owner's running record is young again, and its own lost record runs again, each
/// under the policy that it has. No record: it is put back.
pub fn renew(current: Option<Current<'_>>, owned: &Record, now: u64) -> Step<Settled> {
    let running = |record: &Record| Record {
        state: State::Running,
        outcome: None,
        ..record.clone()
    };
    match current {
        None => Step::write(running(owned), now, Settled::PutBack),
        // What is kept, not what is sent: a late heartbeat must not undo what the owner has said of
        // its effects since.
        Some(Current { record, .. }) if is_open_to(record.state, record.nonce, owned.nonce) => {
            Step::write(running(record), now, Settled::Applied)
        }
        Some(current) => Step::keep(stale(current)),
    }
}

/// Complete, release or abandon: the owner's running or lost record becomes `target`. Done stays
/// done, also past its end. No record: `target` is put back. Sent twice, it answers the same.
pub fn finish(current: Option<Current<'_>>, target: &Record, now: u64) -> Step<Settled> {
    match current {
        None => Step::write(target.clone(), now, Settled::PutBack),
        Some(Current { record, .. }) if is_open_to(record.state, record.nonce, target.nonce) => {
            Step::write(target.clone(), now, Settled::Applied)
        }
        Some(Current { record, .. })
            if record.nonce == target.nonce && record.state == target.state =>
        {
            Step::keep(Settled::Applied)
        }
        Some(current) => Step::keep(stale(current)),
    }
}

/// An operator's decision: replaces the very record that was `seen` (its nonce and state; `None`:
/// no record) by `replacement`, with a larger token. A record past its end is as none. `now` as in
/// [`claim`].
pub fn overrule(
    current: Option<Current<'_>>,
    seen: Option<&Record>,
    replacement: &Record,
    now: u64,
) -> Step<Settled> {
    if current.is_some_and(|current| current.record.nonce == replacement.nonce) {
        return Step::keep(Settled::Applied);
    }
    let last_token = current.map_or(0, |current| current.record.token);
    match (visible(current, now), seen) {
        (None, None) => {}
        (Some(Current { record, .. }), Some(seen))
            if record.nonce == seen.nonce && record.state == seen.state => {}
        (None, Some(_)) => return Step::keep(Settled::Absent),
        (Some(current), _) => return Step::keep(stale(current)),
    }
    let token = next_token(last_token, now);
    Step::write(replacement.clone().with_token(token), now, Settled::Applied)
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

/// What an attempt leaves whose effects are unknown and must not be repeated, whatever its
/// vanishing would have meant: should a late message make it run again, it is lost again when that
/// lease lapses.
#[must_use]
pub fn lost(owned: &Record) -> Record {
    Record {
        state: State::Lost,
        on_crash: OnCrash::Fail,
        ..released(owned)
    }
}

/// What an operator's decision about the record that was `seen` puts in its place: a result with
/// its codec, or nothing, and then the next claim runs. `request` is the decision's own; only
/// [`overrule`] knows the token.
#[must_use]
pub fn replacement(
    seen: Option<&Record>,
    request: &ClaimRequest,
    result: Option<(u32, RecordedBytes)>,
) -> Record {
    let base = seen.map_or_else(
        || Record {
            // Not 0: a waiter under `fail` that saw the key run, and is then granted a first
            // attempt, takes its record for lost. Here it was past its end, or the operator knows
            // that it was lost.
            attempts: 1,
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
        check: 0,
        ..base
    }
}

/// Whether a record in this `state`, of the attempt `nonce`, is the `owner`'s and still open:
/// running, or lost but not yet resolved.
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
