//! What a returned result means for the record: how the claim is to end.

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

/// Most results have fewer bytes.
const USUAL_RESULT: usize = 128;

/// Makes the claim end as the body's result says. Asking the result runs the user's code, as the body is.
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
    // The body has run, and this is the user's code: what it does is as final as what encoding the result does.
    claim.begin_encoding();
    if let Some(ttl) = body.ttl() {
        claim.set_ttl(ttl);
    }
    let limit = claim.attempt.store.result_limit();
    let mut bytes = Vec::with_capacity(USUAL_RESULT);
    let (encoded, carries_ours) = noting_own(|| body.encode(&mut bytes));
    let ended = match encoded {
        _ if carries_ours && body.is_err() => RecordingResult::NotFinal,
        // The limit is the whole value's: what the server counts.
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

/// What became of a result that is final.
enum RecordingResult {
    Recorded,
    NotRecordable(String),
    /// It is final, and not to be kept.
    Withheld(String),
    /// It carries an error of this library: it is not final.
    NotFinal,
}

/// The body's `Err` would be final, but it comes of a call that this library refused for now: that one was in flight, its
/// store could not be asked, it was in doubt. Or it carries such a refusal. Nothing of that is final.
///
/// The author has said nothing of what else the body did before, so it is as after a crash: under `rerun` a retry runs it
/// again, under `fail` the key is in doubt. (There only `on_err = rerun` is the author's word that nothing happened, and
/// then this is not called.)
fn end_not_final(claim: &mut Claim, refused: &'static str) {
    events::not_final(&claim.attempt, refused);
    claim.end(abandoned(claim.record()));
}

/// The body was stopped after this long, because its time was over. What it did is unknown, as after a crash.
pub(super) fn end_timed_out(claim: &mut Claim, after: Duration) {
    let attempt = &claim.attempt;
    events::timed_out(attempt, after);
    if attempt.is_orphaned() {
        // There is no caller to be refused, and to be counted as that.
        attempt.count(Turn::TimedOut);
    }
    claim.end(abandoned(claim.record()));
}
