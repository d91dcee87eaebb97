//! The protocol's decisions, as functions of a record and a clock: no store, no I/O.
//!
//! A store that can run code where its records live (under a lock, in a transaction) calls these
//! functions and writes their result, in one atomic step. `takeover.lua`, `renew.lua` and
//! `finish.lua` are the same decisions in Redis' language.
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
//! A done or failed record is shown until [`Record::expires`], and its bytes are kept for a
//! [`grace`] period after that. In this period [`visible`] shows nothing, to operators neither. A
//! new claim is granted as if there were no record, but with a larger token and a higher attempt
//! number. So a waiter that saw the key run, and is then granted attempt 1, knows that the record
//! was lost.
//!
//! A late message of the finished attempt, or of an earlier one, meets the record and changes
//! nothing. So no late message makes a finished key run again or a token shrink, however short its
//! `ttl`.

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

/// The record that a store holds, with the time since it was granted or last renewed, by the
/// store's own clock.
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
    /// The whole record to write; `None` leaves everything as it is.
    pub write: Option<Write>,
    /// The answer.
    pub reply: R,
}

impl<R> Step<R> {
    /// A step that changes nothing.
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

/// What a reader sees: nothing if the record is past its end. `now` is the store's time in
/// microseconds since 1970, as in all functions here.
#[must_use]
pub fn visible(current: Option<Current<'_>>, now: u64) -> Option<Current<'_>> {
    current.filter(|current| !current.record.has_ended(now))
}

/// Answers a read: the record that is [`visible`] and what is left of a running owner's lease.
pub fn read(current: Option<Current<'_>>, now: u64) -> Step<Option<(Record, Duration)>> {
    let shown = visible(current, now);
    Step::keep(shown.map(|current| (current.record.clone(), current.lease_left())))
}

/// Decides a claim. No record, or a failed one: granted. A running record whose lease has lapsed:
/// granted under `rerun`, made lost under `fail`. Any other record stays as it is. A record past
/// its end counts as none, except that the token and the attempts go on from it.
///
/// A nonce that claims again gets the same grant. It does so also after others have made its record
/// lost: an owner that still claims has not run anything. After its release it gets nothing: that
/// claim was sent before the release, and nobody waits for its answer.
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

/// The claim's `step`, where the record was dated `ahead` of the store's time: the clock has been
/// set back, or somebody has changed the date. A running owner's lease would begin to run out only
/// at that date. If that is further away than the lease is long, the record counts as just renewed,
/// and is dated so: the key is not blocked for longer than two leases.
pub(crate) fn redated(step: Step<ClaimReply>, ahead: Duration, now: u64) -> Step<ClaimReply> {
    match step {
        Step {
            write: None,
            reply: ClaimReply::Held { record, lease_left },
        } if record.state == State::Running && ahead > record.lease => {
            Step::write(record.clone(), now, ClaimReply::Held { record, lease_left })
        }
        step => step,
    }
}

/// The grant of a claim where no record is visible. `last_token` is that of a record past its end,
/// or 0.
#[inline]
pub fn first_grant(request: &ClaimRequest, last_token: u64, now: u64) -> Write {
    Write::running(first_record(request, last_token, now))
}

#[inline]
fn first_record(request: &ClaimRequest, last_token: u64, now: u64) -> Record {
    request.granted(next_token(last_token, now), 1, request.lease)
}

/// The same grant again: its first answer was lost.
fn granted_before(record: Record) -> ClaimReply {
    let takeover = record.attempts > 1;
    ClaimReply::Granted { record, takeover }
}

/// Decides about a running owner that was silent for its lease, by the record's own `on_crash`.
fn lapse(record: &Record, request: &ClaimRequest, now: u64) -> Step<ClaimReply> {
    match record.on_crash {
        OnCrash::Rerun => {
            let longest = cmp::min(request.lease.saturating_mul(MAX_LEASE_GROWTH), MAX_LEASE);
            // Not less than the claim's own lease: a deploy that made the lease longer takes effect
            // at once.
            let lease = cmp::max(
                cmp::min(record.lease.saturating_mul(2), longest),
                request.lease,
            );
            grant(next_grant(record, request, lease, now), true, now)
        }
        OnCrash::Fail => {
            // The nonce stays, so a late renew or finish of that owner still applies.
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

/// The grant of a claim that follows another attempt.
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

/// A token above `last`, and above every token of records that were dropped before `now`.
#[must_use]
pub fn next_token(last: u64, now: u64) -> u64 {
    cmp::min(cmp::max(last.saturating_add(1), now), MAX_TOKEN)
}

/// Decides a heartbeat: the owner's running record becomes young again, and its own lost record
/// runs again, each under the `on_crash` it has. If there is no record, it is put back.
pub fn renew(current: Option<Current<'_>>, owned: &Record, now: u64) -> Step<Settled> {
    let running = |record: &Record| Record {
        state: State::Running,
        outcome: None,
        ..record.clone()
    };
    match current {
        None => Step::write(running(owned), now, Settled::PutBack),
        // The stored record is kept, not the one that was sent: a late heartbeat must not undo what
        // the owner has reported since about its effects.
        Some(Current { record, .. }) if is_open_to(record.state, record.nonce, owned.nonce) => {
            Step::write(running(record), now, Settled::Applied)
        }
        Some(current) => Step::keep(stale(current)),
    }
}

/// Decides a complete, release or abandon: the owner's running or lost record becomes `target`. A
/// done record stays done, also past its end. If there is no record, `target` is put back. Sent
/// twice, it answers the same.
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

/// Decides an operator's overruling: replaces exactly the record that was `seen` (by nonce and
/// state; `None`: no record) by `replacement`, with a larger token. A record past its end counts as
/// none.
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

/// The record as it was granted, reconstructed from the attempt's target.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) fn granted(target: &Record) -> Record {
    Record {
        state: State::Running,
        codec: 0,
        expires: 0,
        check: 0,
        outcome: None,
        ..target.clone()
    }
}

/// The target of an attempt that has done nothing: the key is free.
#[must_use]
pub fn released(owned: &Record) -> Record {
    Record {
        state: State::Failed,
        codec: 0,
        outcome: None,
        ..owned.clone()
    }
}

/// The target of an attempt that stopped midway: its own `on_crash` decides.
#[must_use]
pub fn abandoned(owned: &Record) -> Record {
    match owned.on_crash {
        OnCrash::Rerun => released(owned),
        OnCrash::Fail => lost(owned),
    }
}

/// The target of an attempt whose effects are unknown and must not be repeated, whatever its
/// `on_crash`. The record's `on_crash` becomes `fail`: if a late heartbeat makes it run again, it
/// is lost again when that lease lapses.
#[must_use]
pub fn lost(owned: &Record) -> Record {
    Record {
        state: State::Lost,
        on_crash: OnCrash::Fail,
        ..released(owned)
    }
}

/// The record that an operator's decision puts in place of the one that was `seen`: a result with
/// its codec, or none, after which the next claim runs. `request` is the decision's own.
/// [`overrule`] sets the token.
///
/// The fingerprint is that of the record. If that is released, which binds it to no payload, the
/// decision's own comes first: it names the payload that the result belongs to. Without one, it is
/// the last attempt's. So a result that is given to a released key is bound to a payload again.
#[must_use]
pub fn replacement(
    seen: Option<&Record>,
    request: &ClaimRequest,
    result: Option<(u32, RecordedBytes)>,
) -> Record {
    let base = seen.map_or_else(
        || Record {
            // Not 0: the next grant must not be attempt 1, for which a waiter under `fail` that saw
            // the key run would take the record for lost. Here the record was past its end, or the
            // operator knows that it was lost.
            attempts: 1,
            ..request.record()
        },
        |seen| Record {
            nonce: request.nonce,
            fingerprint: pinned(seen).or(request.fingerprint).or(seen.fingerprint),
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

/// Whether a record in this `state`, of the attempt `nonce`, belongs to `owner` and is still open:
/// running, or lost and not yet resolved.
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

/// The payload that a record is bound to. A released record is bound to none.
fn pinned(record: &Record) -> Option<Fingerprint> {
    match record.state {
        State::Failed => None,
        State::Running | State::Done | State::Lost => record.fingerprint,
    }
}
