//! Acquires the right to run, or the recorded result.

mod flight;
mod retry;

use std::{cmp, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use self::{
    flight::{JoinResult, join_flight, with_pulse},
    retry::{ClaimAnswer, Tries, claim_with_retry},
};
use super::{
    background::{PATIENCE, with_timeout},
    claim::Claim,
};
use crate::{
    Error, OnCrash, StoreError,
    backoff::Backoff,
    call::attempt::Attempt,
    context::observe::Observed,
    events,
    record::{Record, State},
    store::{
        Subscription,
        counters::Turn,
        protocol::lost,
        single_flight::{FlightOutcome, Lead},
    },
};

/// How long a waiting call sleeps at most when changes are pushed to it, should a message be lost.
const PUSH_POLL: Duration = Duration::from_secs(5);
/// How often a waiting call looks when the store pushes nothing, or a lease has lapsed that nobody takes over.
const POLL: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));
/// What a call is to do.
pub(crate) enum Acquired {
    Run(Box<Claim>),
    Replay(Replay),
}

/// A recorded result, and how this call came by it.
pub(crate) struct Replay {
    pub(crate) record: Arc<Record>,
    pub(crate) outcome: Observed,
    pub(crate) turn: Turn,
}

/// Asks the store, waits for whoever runs, and asks again, until there is an answer or `wait` is over.
pub(crate) async fn acquire(attempt: &Arc<Attempt>) -> Result<Acquired, Error> {
    let mut acquire = Acquire::new(attempt);
    // A store in this process is asked as cheaply as a flight is joined, and wakes its waiters itself.
    let mut lead = None;
    if attempt.store.local().is_none() {
        lead = match join_flight(&mut acquire).await {
            JoinResult::Leads(lead) => lead,
            JoinResult::Landed(acquired) => {
                acquire.emit_waited();
                return acquired;
            }
        };
    }
    let pulse = lead.as_ref().and_then(Lead::pulse);
    let acquired = with_pulse(pulse, acquire.claim_or_wait(lead)).await;
    acquire.emit_waited();
    acquired
}

struct Acquire<'a> {
    attempt: &'a Arc<Attempt>,
    deadline: Instant,
    /// Since when it has been waiting, if it ever did.
    waits: Option<Instant>,
    subscription: Option<Subscription>,
    poll: Backoff,
    /// A running owner was seen whose effects must not be repeated.
    saw_fail: bool,
}

impl<'a> Acquire<'a> {
    fn new(attempt: &'a Arc<Attempt>) -> Self {
        let deadline = Instant::now() + attempt.wait;
        Self {
            attempt,
            deadline,
            waits: None,
            subscription: None,
            poll: POLL,
            saw_fail: false,
        }
    }

    fn emit_waited(&self) {
        if let Some(since) = self.waits {
            self.attempt.count(Turn::Waited);
            events::waited(self.attempt, since.elapsed());
        }
    }

    /// Asks the store, and waits for another process' owner.
    async fn claim_or_wait(&mut self, mut lead: Option<Lead>) -> Result<Acquired, Error> {
        loop {
            if self.saw_fail && self.has_vanished().await? {
                return Err(self.indeterminate());
            }
            let answer = claim_with_retry(self.attempt, lead, self.deadline).await?;
            if self.attempt.is_orphaned() {
                // The claim has been seen through, and nobody is left to run or wait for. If it was granted, dropping
                // it releases the key.
                return Err(self.in_flight(Duration::ZERO));
            }
            let (record, lease_left) = match answer {
                ClaimAnswer::Granted(mut claim)
                    if self.saw_fail && claim.record().attempts == 1 =>
                {
                    // The record vanished between looking and asking: the same doubt, and now ours to keep.
                    claim.end(lost(claim.record()));
                    claim.finish().await;
                    return Err(self.indeterminate());
                }
                ClaimAnswer::Granted(claim) => return Ok(Acquired::Run(Box::new(claim))),
                ClaimAnswer::Held(kept, record, lease_left) => {
                    lead = kept;
                    (record, lease_left)
                }
            };
            if record.state != State::Running
                || record.conflicts_with(self.attempt.request.fingerprint)
            {
                let acquired = self.judge(Arc::new(record), Turn::ReplayedByStore);
                if let (Some(lead), Ok(Acquired::Replay(replay))) = (lead, &acquired) {
                    lead.land(FlightOutcome::Record(Arc::clone(&replay.record)));
                }
                return acquired;
            }
            self.saw_fail |= record.on_crash == OnCrash::Fail;
            if let Some(lead) = &lead {
                lead.waits(lease_left);
            }
            self.wait(lease_left).await?;
        }
    }

    /// Waits for the running owner: until its record changes, its lease lapses, or the time is over. The first time it
    /// only subscribes, for the owner may finish before the subscription is in force: the caller asks again.
    async fn wait(&mut self, lease_left: Duration) -> Result<(), Error> {
        let attempt = self.attempt;
        let now = Instant::now();
        if now >= self.deadline {
            return Err(self.in_flight(lease_left));
        }
        let Some(subscription) = &mut self.subscription else {
            self.waits.get_or_insert(now);
            let subscription = attempt.store.subscribe(&attempt.key);
            let patience = cmp::min(PATIENCE, self.deadline - now);
            let subscription = with_timeout(attempt, patience, subscription).await;
            self.subscription = Some(subscription.unwrap_or_else(|error| {
                events::not_subscribed(attempt, &error);
                Subscription::polling()
            }));
            return Ok(());
        };
        // A lease that is over and stays over is asked about less and less often: whoever held it is gone, and this call may
        // be one that only reads.
        let pause = if lease_left.is_zero() {
            self.poll.pause()
        } else if subscription.is_push() {
            cmp::min(lease_left, PUSH_POLL)
        } else {
            cmp::min(lease_left, self.poll.pause())
        };
        // Clocks differ by a moment.
        let pause = cmp::max(pause, Duration::from_millis(1));
        let until = cmp::min(self.deadline, now + pause);
        let _ = time::timeout_at(until, subscription.changed()).await;
        Ok(())
    }

    /// Waits for the recorded result of whoever overtook this attempt. It asks for nothing: the attempt has run.
    async fn adopt(
        &mut self,
        mut record: Record,
        mut lease_left: Duration,
    ) -> Result<Arc<Record>, Error> {
        let superseded = Error::Superseded {
            operation: self.attempt.operation_id(),
        };
        loop {
            match record.state {
                State::Done if !record.conflicts_with(self.attempt.request.fingerprint) => {
                    let attempt = self.attempt;
                    let verified = attempt.store.verify(&attempt.key, &record);
                    verified.map_err(|error| Error::store(attempt.operation_id(), error))?;
                    return Ok(Arc::new(record));
                }
                State::Running if self.wait(lease_left).await.is_ok() => {}
                _ => return Err(superseded),
            }
            match self.read(PATIENCE).await {
                Ok(Some(read)) => (record, lease_left) = read,
                Ok(None) => return Err(superseded),
                // The record stands as it was last seen, as far as anybody knows.
                Err(error) => events::heartbeat_failed(self.attempt, &error),
            }
        }
    }

    /// What a record that is not running means for this call. The fingerprint comes first, always.
    fn judge(&self, record: Arc<Record>, turn: Turn) -> Result<Acquired, Error> {
        let attempt = self.attempt;
        if record.conflicts_with(attempt.request.fingerprint) {
            let operation = attempt.operation_id();
            return Err(Error::KeyReused { operation });
        }
        match record.state {
            State::Done => Ok(Acquired::Replay(Replay {
                record,
                outcome: match self.waits {
                    Some(_) => Observed::Shared,
                    None => Observed::Replayed,
                },
                turn,
            })),
            State::Lost => Err(self.indeterminate()),
            // Neither is held against a claim; a store that says so is asked again by the caller's retry.
            State::Running | State::Failed => Err(self.in_flight(Duration::ZERO)),
        }
    }

    /// Whether there is no record any more. Asked as patiently as a claim is: a lost answer ends no waiting.
    async fn has_vanished(&self) -> Result<bool, Error> {
        let mut tries = Tries::new(self.deadline);
        loop {
            let error = match self.read(tries.patience()).await {
                Ok(read) => return Ok(read.is_none()),
                Err(error) => error,
            };
            if !tries.again_after(&error).await {
                return Err(Error::store(self.attempt.operation_id(), tries.told(error)));
            }
        }
    }

    async fn read(&self, patience: Duration) -> Result<Option<(Record, Duration)>, StoreError> {
        let reply = self.attempt.store.read(&self.attempt.key);
        with_timeout(self.attempt, patience, reply).await
    }

    fn in_flight(&self, lease_left: Duration) -> Error {
        let waited = self.waits.map_or(Duration::ZERO, |since| since.elapsed());
        Error::in_flight(self.attempt.operation_id(), waited, lease_left)
    }

    fn indeterminate(&self) -> Error {
        Error::Indeterminate {
            operation: self.attempt.operation_id(),
        }
    }
}

/// The result of whoever overtook this attempt: recorded, or waited for, or [`Error::Superseded`].
pub(crate) async fn adopt(
    attempt: &Arc<Attempt>,
    record: Record,
    lease_left: Duration,
) -> Result<Replay, Error> {
    let mut acquire = Acquire::new(attempt);
    let adopted = acquire.adopt(record, lease_left).await;
    acquire.emit_waited();
    Ok(Replay {
        record: adopted?,
        outcome: Observed::Adopted,
        turn: Turn::Adopted,
    })
}
