//! Sends a claim until it is answered.
//!
//! The attempt is armed before the claim is sent. If the answer is lost, the store may have granted
//! the claim, so it is *in doubt*: it is sent again with the same nonce, which the store knows. If
//! the caller leaves or gives up meanwhile, the background asks on, and releases a grant.

use std::{cmp, mem, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use crate::{
    Error, StoreError, StoreErrorKind,
    backoff::Backoff,
    call::attempt::Attempt,
    call::{
        background::{REPLY_TIMEOUT, RETRY_BACKOFF, is_retryable, owe_claim, report, with_timeout},
        claim::Claim,
    },
    record::Record,
    store::{
        ClaimReply, Settled,
        single_flight::{FlightOutcome, Lead},
    },
};

/// How often a claim without an answer is sent at most, while its caller waits.
const MAX_TRIES: u32 = 4;
/// How long a claim is tried at least, even if `wait` is shorter: long enough for a second try.
pub(crate) const MIN_RETRY_TIME: Duration = Duration::from_secs(1);

/// The store's answer to a claim.
pub(crate) enum ClaimAnswer {
    Granted(Claim),
    /// The lead comes back, with the record that is there and what is left of its lease.
    Held(Option<Lead>, Record, Duration),
}

/// The guard of a claim that has no answer yet. It is armed before the claim is sent. Its drop asks
/// in the background, with the same nonce, until answered, and releases a grant: nothing ran.
struct InDoubtGuard<'a> {
    attempt: &'a Arc<Attempt>,
    lead: Option<Lead>,
    is_armed: bool,
}

impl<'a> InDoubtGuard<'a> {
    fn new(attempt: &'a Arc<Attempt>, lead: Option<Lead>) -> Self {
        attempt.set_armed(true);
        Self {
            attempt,
            lead,
            is_armed: true,
        }
    }

    /// Disarms: there is an answer, or the claim never reached the store. Gives the lead back.
    fn close(&mut self) -> Option<Lead> {
        self.is_armed = false;
        self.attempt.set_armed(false);
        self.lead.take()
    }
}

impl Drop for InDoubtGuard<'_> {
    fn drop(&mut self) {
        if mem::take(&mut self.is_armed) {
            owe_claim(Arc::clone(self.attempt));
            self.attempt.set_armed(false);
        }
    }
}

/// How often, and for how long, a command is sent again that had no answer, or a refusal that may
/// pass.
pub(crate) struct Tries {
    sent: u32,
    pauses: Backoff,
    deadline: Instant,
    give_up_at: Instant,
    /// The last failure before this try that was not a silence.
    earlier: Option<StoreError>,
}

impl Tries {
    /// For a caller that waits from `now` until `deadline`, but at least for [`MIN_RETRY_TIME`].
    pub(crate) fn new(now: Instant, deadline: Instant) -> Self {
        Self {
            sent: 1,
            pauses: RETRY_BACKOFF,
            deadline,
            give_up_at: cmp::max(deadline, now + MIN_RETRY_TIME),
            earlier: None,
        }
    }

    /// How long to wait for the answer to a try that is sent `now`.
    pub(crate) fn reply_timeout(&self, now: Instant) -> Duration {
        cmp::min(
            REPLY_TIMEOUT,
            self.give_up_at.saturating_duration_since(now),
        )
    }

    /// Pauses, and returns `true`, if a retry makes sense after this error. `false` means that the
    /// error is final.
    pub(crate) async fn pause_before_retry(&mut self, error: &StoreError) -> bool {
        let next = Instant::now() + self.pauses.pause();
        let again = if error.is_transient() {
            // The store says that it will serve soon, which is worth the caller's whole `wait`.
            next < self.deadline
        } else {
            let refused = error.kind() == StoreErrorKind::Refused || !is_retryable(error);
            !refused && self.sent < MAX_TRIES && next < self.give_up_at
        };
        if again {
            self.sent += 1;
            if !error.is_ambiguous() {
                self.earlier = Some(error.clone());
            }
            time::sleep_until(next).await;
        }
        again
    }

    /// The error for the caller. If the last try had no answer, an earlier failure may name the
    /// cause: a lock, or no room for another client.
    pub(crate) fn final_error(&self, error: StoreError) -> StoreError {
        match &self.earlier {
            Some(earlier) if error.is_ambiguous() => error.after(earlier),
            _ => error,
        }
    }
}

/// Sends the claim, and sends it again with the same nonce if there is no answer. If the tries run
/// out while it is in doubt, the background asks on.
pub(crate) async fn claim_with_retry(
    attempt: &Arc<Attempt>,
    lead: Option<Lead>,
    deadline: Instant,
) -> Result<ClaimAnswer, Error> {
    let mut guard = InDoubtGuard::new(attempt, lead);
    let mut in_doubt = false;
    let begun = Instant::now();
    let mut tries = Tries::new(begun, deadline);
    let mut now = begun;
    let error = loop {
        let patience = tries.reply_timeout(now);
        let reply = attempt.store.claim(&attempt.key, &attempt.request);
        let mut reply = with_timeout(attempt, patience, reply).await;
        if is_late(attempt, &reply, begun) {
            // The store has granted, even if the renewal fails. Whoever gives up from now on has to
            // release.
            in_doubt = true;
            reply = Box::pin(renew_late_grant(attempt, patience, reply)).await;
        }
        match reply {
            Ok(ClaimReply::Granted { record, takeover }) => {
                let lead = guard.lead.take();
                let claim = Claim::new(Arc::clone(attempt), lead, record, takeover);
                guard.is_armed = false;
                return Ok(ClaimAnswer::Granted(claim));
            }
            Ok(ClaimReply::Held { record, lease_left }) => {
                return Ok(ClaimAnswer::Held(guard.close(), record, lease_left));
            }
            Err(error) => {
                in_doubt |= error.is_ambiguous();
                if !tries.pause_before_retry(&error).await {
                    break tries.final_error(error);
                }
                now = Instant::now();
                if let Some(lead) = &guard.lead {
                    lead.beat();
                }
            }
        }
    };
    // In doubt, the guard stays armed: its drop at the end of this function asks on in the
    // background.
    let lead = if in_doubt {
        guard.lead.take()
    } else {
        guard.close()
    };
    if let Some(lead) = lead {
        lead.land(FlightOutcome::Failed(error.clone()));
    }
    Err(Error::store(attempt.operation_id(), error))
}

/// Whether much of a grant's lease may be over before the body begins. The lease counts from the
/// first try that reached the store, which may have been sent as early as `begun`. A late grant is
/// renewed before the body runs.
fn is_late(attempt: &Attempt, reply: &Result<ClaimReply, StoreError>, begun: Instant) -> bool {
    let Ok(ClaimReply::Granted { record, .. }) = reply else {
        return false;
    };
    attempt.store.local().is_none() && begun.elapsed() > record.lease / 3
}

/// Renews the lease of a grant that came late. If another attempt has taken over meanwhile, returns
/// that one's record.
async fn renew_late_grant(
    attempt: &Attempt,
    patience: Duration,
    granted: Result<ClaimReply, StoreError>,
) -> Result<ClaimReply, StoreError> {
    let Ok(ClaimReply::Granted { record, .. }) = &granted else {
        return granted;
    };
    let renewed = attempt.store.renew(&attempt.key, record);
    match with_timeout(attempt, patience, renewed).await? {
        Settled::Stale { record, lease_left } => {
            attempt.store.verify(&attempt.key, &record)?;
            Ok(ClaimReply::Held { record, lease_left })
        }
        settled => {
            report(attempt, &settled);
            granted
        }
    }
}
