//! Decides from the body's result how the claim ends.

use std::{
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use super::{
    body::ErasedBody,
    claim::{Claim, not_recorded},
};
use crate::{
    OnErr,
    codec::redact::shape_of,
    error::noting_own,
    events,
    record::{DONE_HEADER, too_large},
    store::{
        counters::Turn,
        protocol::{abandoned, lost, released},
    },
};

/// The first capacity of the buffer for a result. Most results are smaller.
const USUAL_RESULT: usize = 128;

/// Ends the claim as the body's result says. This runs the user's code (`on_err`, `ttl`, the
/// codec); its panics are reported like the body's.
pub(super) fn end_claim<W: ErasedBody + ?Sized>(body: &W, claim: &mut Claim) {
    if body.is_err() && claim.attempt.progress.refusals.first().is_some() {
        claim.attempt.set_failed_by_refusal();
    }
    let ended = panic::catch_unwind(AssertUnwindSafe(|| end_by_verdict(body, claim)));
    if let Err(panicked) = ended {
        claim.attempt.emit_panic();
        panic::resume_unwind(panicked);
    }
}

/// As [`end_claim`], without care for panics.
fn end_by_verdict<W: ErasedBody + ?Sized>(body: &W, claim: &mut Claim) {
    match body.verdict(claim.attempt.request.on_crash) {
        OnErr::Rerun => return claim.end(released(claim.record())),
        OnErr::Fail => return claim.end(lost(claim.record())),
        OnErr::Record => {}
    }
    if body.is_err()
        && let Some(refused) = claim.attempt.progress.refusals.first()
    {
        return end_not_final(claim, refused);
    }
    // From here on a panic of the user's code leaves a done record without a result: the body has
    // run.
    claim.begin_encoding();
    if let Some(ttl) = body.ttl() {
        claim.set_ttl(ttl);
    }
    let limit = claim.attempt.store.result_limit();
    let mut bytes = Vec::with_capacity(USUAL_RESULT);
    // `carries_ours`: whether the user's value contains an error of this library, which its
    // serializer notes.
    let (encoded, carries_ours) = noting_own(|| body.encode(&mut bytes));
    let ended = match encoded {
        _ if carries_ours && body.is_err() => RecordingResult::NotFinal,
        // The limit is that of the whole value, which is what the server counts.
        Ok(encoded) if DONE_HEADER + bytes.len() <= limit => {
            claim.complete(encoded.codec, encoded.outcome(&bytes));
            RecordingResult::Recorded
        }
        Ok(_) => RecordingResult::NotRecordable(too_large(bytes.len(), limit)),
        Err(error) if error.is_withheld() => RecordingResult::Withheld(shape_of(&error)),
        Err(error) => {
            RecordingResult::NotRecordable(format!("it cannot be encoded: {}", shape_of(&error)))
        }
    };
    match ended {
        RecordingResult::Recorded => {}
        RecordingResult::Withheld(reason) => {
            events::withheld(&claim.attempt, &reason);
            claim.end(not_recorded(claim.record(), &reason));
        }
        RecordingResult::NotFinal => end_not_final(claim, "another operation"),
        RecordingResult::NotRecordable(reason) => {
            claim.attempt.count(Turn::NotRecordable);
            events::not_recordable(&claim.attempt, &reason);
            claim.end(not_recorded(claim.record(), &reason));
        }
    }
}

/// How the recording of a result ended.
enum RecordingResult {
    Recorded,
    NotRecordable(String),
    /// The result is final, and its codec withholds it on purpose.
    Withheld(String),
    /// The result carries an error of this library, so it is not final.
    NotFinal,
}

/// Ends a claim whose body returned an `Err` that would be recorded, but that is not final: the
/// body called the operation `refused`, and this library refused that call for now (it was in
/// flight, in doubt, or its store could not be asked). Or the `Err` carries such a refusal.
///
/// The body may have done other things before, and the author has not said that nothing happened.
/// So the claim ends as after a crash: under `rerun` a retry runs the body again, under `fail` the
/// key is in doubt. (If the author has said it, by `on_err = rerun`, the verdict is to release, and
/// this is not called.)
fn end_not_final(claim: &mut Claim, refused: &'static str) {
    events::not_final(&claim.attempt, refused);
    claim.end(abandoned(claim.record()));
}

/// Ends a claim whose body was stopped by its `timeout`. What the body did is unknown, as after a
/// crash.
pub(super) fn end_timed_out(claim: &mut Claim, after: Duration) {
    let attempt = &claim.attempt;
    events::timed_out(attempt, after);
    if attempt.is_orphaned() {
        // The caller has gone, so no refusal counts this.
        attempt.count(Turn::TimedOut);
    }
    claim.end(abandoned(claim.record()));
}
