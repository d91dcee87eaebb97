//! An attempt's claim: what is owed to the store at each stage, also when everybody has gone.

use std::{cmp, mem, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use crate::{
    Error, StoreError, StoreErrorKind, events,
    execution::Attempt,
    flight::{Landing, Lead},
    handover::hand_over,
    record::{HOLD, Outcome, Record, State},
    store::{
        ClaimReply, Settled, count,
        protocol::{abandoned, released},
        retention,
    },
};

/// How often a claim is asked for at most while its caller waits, when there is no answer.
const ASKS: u32 = 4;
/// How long at most, where `wait` is shorter: time for the second asking.
const ASKING: Duration = Duration::from_secs(1);
/// How long one command's answer is waited for, where the store itself is more patient.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The guard: it is armed before the claim is sent, and dropping it does what the stage asks for.
///
/// | dropped while | the runtime then |
/// |---|---|
/// | asked, no answer yet | asks again with the same nonce until answered, and releases: nothing ran |
/// | granted, body not polled yet | releases, under `fail` too |
/// | the body runs | abandons: free at once under `rerun`, lost under `fail` |
/// | its result is being encoded (a panic) | finishes, without the result: what has run must not run again |
/// | the body has returned | finishes, until answered or `ttl` has passed |
pub(crate) struct Claim {
    pub(crate) attempt: Arc<Attempt>,
    stage: Stage,
    lead: Option<Lead>,
}

enum Stage {
    Asked,
    Granted(Record),
    Started(Record),
    Encoding(Record),
    Finishing(Record),
    Settled,
}

/// What the store said to a claim.
pub(crate) enum Asked {
    Granted(Claim),
    Held(Option<Lead>, Record, Duration),
}

impl Claim {
    /// The right to run, where a store in this process grants it.
    pub(crate) fn at_once(attempt: &Arc<Attempt>) -> Option<Self> {
        let reply = attempt.store.local()?.claim(&attempt.key, &attempt.request);
        let Ok(ClaimReply::Granted { record, takeover }) = reply else {
            return None;
        };
        attempt.arm(true);
        let mut claim = Self {
            attempt: Arc::clone(attempt),
            stage: Stage::Asked,
            lead: None,
        };
        claim.grant(record, takeover);
        Some(claim)
    }

    /// Asks for the right to run. An answer that is lost is asked for again with the same nonce, for a short while; then
    /// the runtime sees the claim through.
    pub(crate) async fn ask(
        attempt: &Arc<Attempt>,
        lead: Option<Lead>,
        deadline: Instant,
    ) -> Result<Asked, Error> {
        attempt.arm(true);
        let mut claim = Self {
            attempt: Arc::clone(attempt),
            stage: Stage::Asked,
            lead,
        };
        let mut in_doubt = false;
        let mut asks = 0;
        let begun = Instant::now();
        let mut now = begun;
        let give_up = cmp::max(deadline, begun + ASKING);
        let mut pause = FIRST_PAUSE;
        let error = loop {
            asks += 1;
            let patience = cmp::min(PATIENCE, give_up.saturating_duration_since(now));
            let reply = attempt.store.claim(&attempt.key, &attempt.request);
            let mut reply = answer(attempt, patience, reply).await;
            if is_late(attempt, &reply, begun) {
                // The grant stands, whatever becomes of this: who gives up now has to see the claim through.
                in_doubt = true;
                reply = Box::pin(renew_first(attempt, patience, reply)).await;
            }
            match reply {
                Ok(ClaimReply::Granted { record, takeover }) => {
                    claim.grant(record, takeover);
                    return Ok(Asked::Granted(claim));
                }
                Ok(ClaimReply::Held { record, lease_left }) => {
                    claim.settled();
                    return Ok(Asked::Held(claim.lead.take(), record, lease_left));
                }
                Err(error) => {
                    in_doubt |= error.is_ambiguous();
                    let in_time = asks < ASKS && Instant::now() < give_up;
                    if !in_time || error.kind() == StoreErrorKind::Refused || !is_passing(&error) {
                        break error;
                    }
                }
            }
            time::sleep(pause).await;
            pause = longer(pause);
            now = Instant::now();
        };
        if !in_doubt {
            claim.settled();
        }
        if let Some(lead) = claim.lead.take() {
            lead.land(Landing::Failed(error.clone()));
        }
        Err(Error::store(attempt.label(), error))
    }

    fn grant(&mut self, record: Record, takeover: bool) {
        let attempt = &self.attempt;
        attempt.granted(&record);
        if takeover {
            count::taken_over(&attempt.store);
            events::taken_over(attempt, &record);
        }
        if let Some(lead) = &self.lead {
            lead.extend(record.lease);
        }
        self.stage = Stage::Granted(record);
    }

    /// The record as it was granted.
    pub(crate) fn granted(&self) -> &Record {
        match &self.stage {
            Stage::Granted(record)
            | Stage::Started(record)
            | Stage::Encoding(record)
            | Stage::Finishing(record) => record,
            Stage::Asked | Stage::Settled => unreachable!("only granted claims are handed out"),
        }
    }

    /// The body is about to be polled for the first time: from here on, its effects may have happened.
    pub(crate) fn start(&mut self) {
        if let Stage::Granted(record) = mem::replace(&mut self.stage, Stage::Settled) {
            self.stage = Stage::Started(record);
        }
    }

    /// The body has returned a result that is final, and encoding it is about to begin.
    pub(crate) fn encode(&mut self) {
        if let Stage::Started(record) = mem::replace(&mut self.stage, Stage::Settled) {
            self.stage = Stage::Encoding(record);
        }
    }

    /// The owner was just seen alive.
    pub(crate) fn extend(&self, lease: Duration) {
        if let Some(lead) = &self.lead {
            lead.extend(lease);
        }
    }

    /// Somebody else owns the record: this claim owes nothing any more. Its followers ask for themselves.
    pub(crate) fn lose(mut self) {
        self.settled();
    }

    /// Tells the store how the attempt ended. A store that does not answer is told by the runtime, in the background,
    /// and the caller need not wait: that is `None`.
    pub(crate) async fn finish(mut self, target: Record) -> Option<Settled> {
        self.stage = Stage::Finishing(target);
        let Stage::Finishing(target) = &self.stage else {
            return None;
        };
        let attempt = &self.attempt;
        let retain = retention(target.state, attempt.ttl);
        let reply = if let Some(local) = attempt.store.local() {
            local.finish(&attempt.key, target, retain)
        } else {
            let reply = attempt.store.finish(&attempt.key, target, retain);
            Box::pin(answer(attempt, PATIENCE, reply)).await
        };
        let settled = match reply {
            Ok(settled) => settled,
            Err(error) => {
                count::unrecorded(&attempt.store);
                events::unrecorded(attempt, &error);
                return None; // and the drop hands the finish over
            }
        };
        let Stage::Finishing(target) = mem::replace(&mut self.stage, Stage::Settled) else {
            return None;
        };
        self.attempt.arm(false);
        note(&self.attempt, &settled);
        if let (Some(lead), Settled::Applied | Settled::PutBack, State::Done) =
            (self.lead.take(), &settled, target.state)
        {
            lead.land(Landing::Record(Arc::new(target)));
        }
        Some(settled)
    }

    fn settled(&mut self) {
        self.stage = Stage::Settled;
        self.attempt.arm(false);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let attempt = Arc::clone(&self.attempt);
        let runtime = attempt.runtime.clone();
        match mem::replace(&mut self.stage, Stage::Settled) {
            Stage::Settled => return,
            Stage::Asked => hand_over(&runtime, see_through(attempt)),
            Stage::Granted(record) => hand_over(&runtime, settle(attempt, released(&record))),
            Stage::Started(record) => hand_over(&runtime, settle(attempt, abandoned(&record))),
            Stage::Encoding(record) => {
                let target = not_recorded(&record, "encoding it panicked");
                hand_over(&runtime, settle(attempt, target));
            }
            Stage::Finishing(target) => hand_over(&runtime, settle(attempt, target)),
        }
        self.attempt.arm(false);
    }
}

/// The record of an attempt that has run to its end, without the result: a retry must not run it again because of that.
pub(crate) fn not_recorded(record: &Record, reason: &str) -> Record {
    Record {
        state: State::Done,
        codec: 0,
        outcome: Some(Outcome::NotRecorded(reason.as_bytes().into())),
        ..record.clone()
    }
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
    match answer(attempt, patience, renewed).await? {
        Settled::Stale { record, lease_left } => Ok(ClaimReply::Held { record, lease_left }),
        settled => {
            note(attempt, &settled);
            granted
        }
    }
}

/// Asks until answered, and then releases.
async fn see_through(attempt: Arc<Attempt>) {
    let mut pause = FIRST_PAUSE;
    let give_up = Instant::now() + HOLD;
    while Instant::now() < give_up {
        let reply = attempt.store.claim(&attempt.key, &attempt.request);
        match answer(&attempt, PATIENCE, reply).await {
            Ok(ClaimReply::Granted { record, .. }) => {
                return settle(attempt, released(&record)).await;
            }
            Err(error) if is_passing(&error) => {}
            // Held: it never came through. Any other error says that this asking changed nothing; should an earlier
            // one have, its lease settles that.
            Ok(ClaimReply::Held { .. }) | Err(_) => return,
        }
        time::sleep(pause).await;
        pause = longer(pause);
    }
}

/// Tells the store how the attempt ended, until answered or the record would be past its end.
async fn settle(attempt: Arc<Attempt>, target: Record) {
    let retain = retention(target.state, attempt.ttl);
    let give_up = Instant::now() + retain;
    let mut pause = FIRST_PAUSE;
    loop {
        let reply = attempt.store.finish_again(&attempt.key, &target, retain);
        match answer(&attempt, PATIENCE, reply).await {
            Ok(settled) => return note(&attempt, &settled),
            Err(error) if !is_passing(&error) => return events::gave_up(&attempt, &error),
            Err(error) if Instant::now() >= give_up => return events::gave_up(&attempt, &error),
            Err(_) => {}
        }
        time::sleep(pause).await;
        pause = longer(pause);
    }
}

/// The store's answer, or that there was none for so long: then nobody knows whether the command is carried out.
pub(crate) async fn answer<R>(
    attempt: &Attempt,
    patience: Duration,
    reply: impl Future<Output = Result<R, StoreError>>,
) -> Result<R, StoreError> {
    if attempt.store.local().is_some() {
        return reply.await;
    }
    time::timeout(patience, reply).await.unwrap_or_else(|_| {
        let silence = format!("the store gave no answer for {patience:?}");
        Err(StoreError::new(StoreErrorKind::Ambiguous, silence))
    })
}

/// Counts and reports what a finish or a renew met.
pub(crate) fn note(attempt: &Attempt, settled: &Settled) {
    match settled {
        Settled::Applied => {}
        Settled::PutBack | Settled::Absent => {
            count::record_lost(&attempt.store);
            events::record_lost(attempt);
        }
        Settled::Stale { record, .. } => {
            count::stale(&attempt.store);
            events::stale(attempt, record);
        }
    }
}

/// Whether asking again may get an answer.
fn is_passing(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Ambiguous | StoreErrorKind::NotSent | StoreErrorKind::Refused
    )
}

fn longer(pause: Duration) -> Duration {
    cmp::min(pause * 2, LONGEST_PAUSE)
}
