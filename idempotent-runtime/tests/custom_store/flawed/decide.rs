//! Flaws in a store's decisions.

use std::time::Duration;

use idempotent_runtime::{
    record::{HOLD, MAX_TTL, Nonce, Record, RecordedBytes, State},
    store::{
        ClaimReply, ClaimRequest, Settled,
        protocol::{self, Current, Step, Write},
    },
};

use super::Flawed;
use crate::caught::Flaw;

fn is_large(record: &Record) -> bool {
    let outcome = record.outcome.as_ref();
    outcome.is_some_and(|outcome| outcome.bytes().len() > 256 * 1024)
}

impl Flawed {
    pub(super) fn spoil_retention(&self, write: &mut Write, age: Duration, now: u64) {
        let Write { record, keep, .. } = write;
        let done = record.state == State::Done;
        let right = protocol::retention(record.state, record.ttl);
        let retention = match self.flaw {
            Flaw::KeepsUnfinishedForAnHour if !done => Duration::from_secs(3600),
            Flaw::KeepsDoneForHold if done => HOLD,
            Flaw::CountsRetentionFromTheClaim => right.saturating_sub(age),
            Flaw::TakesZeroForNoEnd if record.ttl.is_zero() => MAX_TTL,
            Flaw::NeverForgets => MAX_TTL,
            Flaw::KeepsReleasedForHold if record.state == State::Failed => HOLD,
            Flaw::ForgetsAtTheEnd => {
                *keep = right;
                return;
            }
            _ => return,
        };
        let grace = keep.saturating_sub(right);
        *keep = retention + grace;
        if record.expires != 0 {
            let retention = u64::try_from(retention.as_millis()).expect("a time of the suite");
            record.expires = now / 1000 + retention;
        }
    }

    pub(super) fn decide_claim(
        &self,
        current: Option<Current<'_>>,
        request: &ClaimRequest,
        now: u64,
    ) -> Step<ClaimReply> {
        let Some(Current { record, age }) = current else {
            return self.spoil_grant(protocol::claim(None, request, now), None, request);
        };
        let (mut seen, mut age) = (record.clone(), age);
        let own = seen.nonce == request.nonce;
        let other_payload = seen.fingerprint != request.fingerprint;
        match self.flaw {
            Flaw::TakesALiveLease => age = Duration::MAX,
            Flaw::TakersPolicy => seen.on_crash = request.on_crash,
            Flaw::TakersLease => seen.lease = request.lease,
            Flaw::ForgetsThePayloadOnLapse if age > seen.lease => seen.fingerprint = None,
            Flaw::GrantsAfterItsRelease if seen.state == State::Failed => seen.nonce = nobody(),
            Flaw::KeepsWhatIsLarge if is_large(&seen) && seen.has_ended(now) => return held(&seen),
            Flaw::RefusesARepeatedClaim if own => return held(&seen),
            Flaw::RefusesItsOwnLost if own && seen.state == State::Lost => return held(&seen),
            Flaw::FailedPinsThePayload if seen.state == State::Failed && other_payload => {
                return held(&seen);
            }
            _ => {}
        }
        let current = Current { record: &seen, age };
        self.spoil_grant(
            protocol::claim(Some(current), request, now),
            Some(record),
            request,
        )
    }

    /// What is wrong about the record that a claim writes.
    pub(super) fn spoil_grant(
        &self,
        mut step: Step<ClaimReply>,
        seen: Option<&Record>,
        request: &ClaimRequest,
    ) -> Step<ClaimReply> {
        let Some(Write {
            record: written, ..
        }) = &mut step.write
        else {
            return step;
        };
        match (self.flaw, seen) {
            (Flaw::CountsTokensPerRecord, _) => written.token = written.attempts.into(),
            (Flaw::KeepsTheTokenOnTakeover, Some(seen)) => written.token = seen.token,
            (Flaw::NeverLengthensALease, _) => written.lease = request.lease,
            (Flaw::LengthensALeaseForEver, Some(seen)) => written.lease = seen.lease * 2,
            (Flaw::ForgetsTheAttempts, _) => written.attempts = 1,
            (Flaw::GrantsWithoutAToken, _) => written.token = 0,
            (Flaw::ForgetsTheOwner, _) => written.owner = None,
            (Flaw::LostHasNoOwner, _) if written.state == State::Lost => written.nonce = nobody(),
            _ => {}
        }
        let (ClaimReply::Granted { record, .. } | ClaimReply::Held { record, .. }) =
            &mut step.reply
        else {
            return step;
        };
        record.clone_from(written);
        step
    }

    pub(super) fn decide_settle(
        &self,
        current: Option<Current<'_>>,
        target: &Record,
        now: u64,
    ) -> Step<Settled> {
        let Some(Current { record, age }) = current else {
            return match self.flaw {
                Flaw::DoesNotPutBack => Step::keep(Settled::Absent),
                _ => settle(None, target, now),
            };
        };
        let (mut seen, renew) = (record.clone(), target.state == State::Running);
        let own = seen.nonce == target.nonce;
        match self.flaw {
            Flaw::RenewIgnoresTheNonce if renew => seen.nonce = target.nonce,
            Flaw::FinishIgnoresTheNonce if !renew => seen.nonce = target.nonce,
            Flaw::ReleasesWhateverIsThere if target.state == State::Failed => {
                seen.nonce = target.nonce;
            }
            Flaw::OverwritesDone if own && !renew => seen.state = State::Running,
            Flaw::AbandonsDone if own && target.state == State::Lost => seen.state = State::Running,
            Flaw::CompletesAfterItsRelease if own && seen.state == State::Failed => {
                seen.state = State::Running;
            }
            Flaw::LostIsFinal if seen.state == State::Lost => return stale(&seen),
            Flaw::RevivesWhatHasEnded if seen.has_ended(now) => seen.state = State::Running,
            Flaw::RefusesARepeatedFinish if own && seen.state == target.state && !renew => {
                return stale(&seen);
            }
            _ => {}
        }
        let mut step = settle(Some(Current { record: &seen, age }), target, now);
        let written = step.write.as_mut().map(|write| &mut write.record);
        match (self.flaw, written) {
            (Flaw::RenewLeavesTheAge, _) if renew => step.write = None,
            (Flaw::ForgetsThePayloadOnFinish, Some(written)) => written.fingerprint = None,
            (Flaw::ForgetsTheTrace, Some(written)) => written.trace = None,
            (Flaw::LosesTheCheck, Some(written)) => written.check = 0,
            (Flaw::ReleaseForgets, Some(written)) if written.state == State::Failed => {
                (written.attempts, written.token) = (0, 0);
            }
            (Flaw::CutsResults, Some(written)) => {
                if let Some(RecordedBytes::Ok(bytes)) = &mut written.outcome {
                    *bytes = bytes[..bytes.len().min(65_535)].into();
                }
            }
            (Flaw::RecordsEveryOutcomeAsOk, Some(written)) => {
                let bytes = written
                    .outcome
                    .as_ref()
                    .map(|outcome| outcome.bytes().clone());
                written.outcome = bytes.map(RecordedBytes::Ok);
            }
            _ => {}
        }
        step
    }

    pub(super) fn decide_overrule(
        &self,
        current: Option<Current<'_>>,
        seen: Option<&Record>,
        replacement: &Record,
        now: u64,
    ) -> Step<Settled> {
        let mut seen = seen.cloned();
        match (self.flaw, current) {
            (Flaw::OverrulesUnseen, Some(current)) => seen = Some(current.record.clone()),
            (Flaw::OverrulesTheMissing, None) => seen = None,
            (Flaw::OverrulesWithoutLookingAtTheState, Some(current)) => {
                if let Some(seen) = &mut seen {
                    seen.state = current.record.state;
                }
            }
            (Flaw::RefusesARepeatedOverruling, Some(Current { record, .. }))
                if record.nonce == replacement.nonce =>
            {
                return stale(record);
            }
            _ => {}
        }
        let mut step = protocol::overrule(current, seen.as_ref(), replacement, now);
        if let (
            Some(Write {
                record: written, ..
            }),
            Some(Current { record, .. }),
        ) = (&mut step.write, current)
        {
            match self.flaw {
                Flaw::OverrulesWithTheOldToken => written.token = record.token,
                Flaw::OverrulesWithTheOldCheck => written.check = replacement.check,
                Flaw::OverrulesWithTheOldNonce => written.nonce = record.nonce,
                Flaw::ForgetsNothingDone if record.state == State::Done => {
                    (written.state, written.outcome) = (State::Done, record.outcome.clone());
                }
                Flaw::ResolvesToFailed => {
                    (written.state, written.outcome) = (State::Failed, None);
                }
                _ => {}
            }
        }
        step
    }
}

/// [`protocol::renew`] and [`protocol::finish`] in one.
fn settle(current: Option<Current<'_>>, target: &Record, now: u64) -> Step<Settled> {
    match target.state {
        State::Running => protocol::renew(current, target, now),
        _ => protocol::finish(current, target, now),
    }
}

pub(super) fn held(record: &Record) -> Step<ClaimReply> {
    let reply = ClaimReply::Held {
        record: record.clone(),
        lease_left: Duration::ZERO,
    };
    Step::keep(reply)
}

pub(super) fn stale(record: &Record) -> Step<Settled> {
    let reply = Settled::Stale {
        record: record.clone(),
        lease_left: Duration::ZERO,
    };
    Step::keep(reply)
}

pub(super) fn nobody() -> Nonce {
    Nonce::from_bytes([0; 16])
}
