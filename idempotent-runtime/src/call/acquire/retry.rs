//! Sends a claim until there is an answer.

use std::{cmp, mem, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use crate::{
    Error, StoreError, StoreErrorKind,
    backoff::Backoff,
    call::attempt::Attempt,
    call::{
        background::{PATIENCE, PAUSES, is_transient, owe_claim, report, with_timeout},
        claim::Claim,
    },
    record::Record,
    store::{
        ClaimReply, Settled,
        single_flight::{FlightOutcome, Lead},
    },
};

/// How often a claim is sent at most while its caller waits, when there is no answer.
const TRIES: u32 = 4;
/// How long at most, where `wait` is shorter: time for a second try.
pub(crate) const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);

/// What the store said to a claim.
pub(crate) enum ClaimAnswer {
    Granted(Claim),
    Held(Option<Lead>, Record, Duration),
}

/// The guard of a claim that has no answer yet: it is armed before the claim is sent, and dropping it asks again with the
/// same nonce until answered, and releases. Nothing ran.
struct InDoubtGuard<'a> {
    attempt: &'a Arc<Attempt>,
    lead: Option<Lead>,
    is_open: bool,
}

impl<'a> InDoubtGuard<'a> {
    fn new(attempt: &'a Arc<Attempt>, lead: Option<Lead>) -> Self {
        attempt.arm(true);
        Self {
            attempt,
            lead,
            is_open: true,
        }
    }

    /// There is an answer, or the claim never came through: nothing is owed.
    fn close(&mut self) -> Option<Lead> {
        self.is_open = false;
        self.attempt.arm(false);
        self.lead.take()
    }
}

impl Drop for InDoubtGuard<'_> {
    fn drop(&mut self) {
        if mem::take(&mut self.is_open) {
            owe_claim(Arc::clone(self.attempt));
            self.attempt.arm(false);
        }
    }
}

/// How often, and for how long, a question is asked again that had no answer, or none that lasts.
pub(crate) struct Tries {
    sent: u32,
    pauses: Backoff,
    deadline: Instant,
    give_up: Instant,
    /// The last failure that said why, before the question was asked again.
    earlier: Option<StoreError>,
}

impl Tries {
    /// For a caller who waits until `deadline`, or long enough for a second try.
    pub(crate) fn new(deadline: Instant) -> Self {
        Self {
            sent: 1,
            pauses: PAUSES,
            deadline,
            give_up: cmp::max(deadline, Instant::now() + SHORTEST_PATIENCE),
            earlier: None,
        }
    }

    /// How long to wait for the next answer.
    pub(crate) fn patience(&self) -> Duration {
        cmp::min(
            PATIENCE,
            self.give_up.saturating_duration_since(Instant::now()),
        )
    }

    /// Pauses, if the question is worth asking again after this error; `false`: the error is the answer.
    pub(crate) async fn again_after(&mut self, error: &StoreError) -> bool {
        let next = Instant::now() + self.pauses.pause();
        let again = if error.is_transient() {
            // It will serve soon, it says: worth the caller's whole `wait`.
            next < self.deadline
        } else {
            let refused = error.kind() == StoreErrorKind::Refused || !is_transient(error);
            !refused && self.sent < TRIES && next < self.give_up
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

    /// The last failure, as the caller is told it. If the store only said nothing at last, what it said before is the
    /// reason: a lock, no room for a client.
    pub(crate) fn told(&self, error: StoreError) -> StoreError {
        match &self.earlier {
            Some(earlier) if error.is_ambiguous() => error.after(earlier),
            _ => error,
        }
    }
}

/// Asks for the right to run. An answer that is lost is asked for again with the same nonce, for a short while; then the
/// runtime sees the claim through.
pub(crate) async fn claim_with_retry(
    attempt: &Arc<Attempt>,
    lead: Option<Lead>,
    deadline: Instant,
) -> Result<ClaimAnswer, Error> {
    let mut guard = InDoubtGuard::new(attempt, lead);
    let mut in_doubt = false;
    let begun = Instant::now();
    let mut tries = Tries::new(deadline);
    let error = loop {
        let patience = tries.patience();
        let reply = attempt.store.claim(&attempt.key, &attempt.request);
        let mut reply = with_timeout(attempt, patience, reply).await;
        if is_late(attempt, &reply, begun) {
            // The grant stands, whatever becomes of this: who gives up now has to see the claim through.
            in_doubt = true;
            reply = Box::pin(renew_first(attempt, patience, reply)).await;
        }
        match reply {
            Ok(ClaimReply::Granted { record, takeover }) => {
                let lead = guard.lead.take();
                let claim = Claim::new(Arc::clone(attempt), lead, record, takeover);
                guard.is_open = false;
                return Ok(ClaimAnswer::Granted(claim));
            }
            Ok(ClaimReply::Held { record, lease_left }) => {
                return Ok(ClaimAnswer::Held(guard.close(), record, lease_left));
            }
            Err(error) => {
                in_doubt |= error.is_ambiguous();
                if !tries.again_after(&error).await {
                    break tries.told(error);
                }
            }
        }
    };
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

/// The lease of a grant counts from the first asking that reached the store, since `begun`: where the answer was long in
/// coming, the lease is renewed before the body may begin on it.
fn is_late(attempt: &Attempt, reply: &Result<ClaimReply, StoreError>, begun: Instant) -> bool {
    let Ok(ClaimReply::Granted { record, .. }) = reply else {
        return false;
    };
    attempt.store.local().is_none() && begun.elapsed() > record.lease / 3
}

/// Renews the lease of a grant that came late.
async fn renew_first(
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
