//! Acquires the right to run, or the recorded result.
//!
//! ```text
//! network store: join the flight ─┬─ follow: wait for what the leader learns
//!                                 └─ lead:   claim; while another owner runs, wait and claim again
//! local store:                               the same, without a flight
//! ```
//!
//! Two rules hold while it waits. The first wait only subscribes and claims again, because the
//! owner may have finished before the subscription was in force. And a record that vanished is no
//! permission to run: if its owner ran under `fail`, nobody knows what that owner has done, so the
//! key is in doubt.

mod flight;
mod retry;

use std::{cmp, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use self::{
    flight::{JoinResult, join_flight, with_pulse},
    retry::{ClaimAnswer, Tries, claim_with_retry},
};
use super::{
    background::{REPLY_TIMEOUT, with_timeout},
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

/// How long a waiting call sleeps at most if the store pushes changes: a message may be lost.
const PUSH_POLL: Duration = Duration::from_secs(5);
/// The pauses of a waiting call if the store pushes nothing, or if a lease has lapsed and nobody
/// takes over.
const POLL: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));

/// What a call has acquired.
pub(crate) enum Acquired {
    Run(Box<Claim>),
    Replay(Replay),
}

/// A recorded result, and how this call got it.
pub(crate) struct Replay {
    pub(crate) record: Arc<Record>,
    pub(crate) outcome: Observed,
    pub(crate) turn: Turn,
}

/// Claims, waits for the running owner, and claims again, until there is a grant or a result, or
/// `wait` is over.
pub(crate) async fn acquire(attempt: &Arc<Attempt>) -> Result<Acquired, Error> {
    let mut acquire = Acquire::new(attempt);
    // A local store has no flights: to claim costs no more than to join one, and it wakes its
    // waiters itself.
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
    let acquired = acquire.claim_or_wait(lead).await;
    acquire.emit_waited();
    acquired
}

/// The state of one call that acquires.
struct Acquire<'a> {
    attempt: &'a Arc<Attempt>,
    /// When `wait` is over.
    deadline: Instant,
    /// Since when it has waited, if it has.
    waits: Option<Instant>,
    subscription: Option<Subscription>,
    poll: Backoff,
    /// Whether it has seen an owner run under `fail`, whose effects must not be repeated.
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

    /// Counts and reports the waiting, if there was any.
    fn emit_waited(&self) {
        if let Some(since) = self.waits {
            self.attempt.count(Turn::Waited);
            events::waited(self.attempt, since.elapsed());
        }
    }

    /// Claims until there is a grant or a result, and waits in between for the owner that runs. If
    /// this call leads a flight, it lands it with the result.
    async fn claim_or_wait(&mut self, mut lead: Option<Lead>) -> Result<Acquired, Error> {
        loop {
            if self.saw_fail && Box::pin(with_pulse(lead.as_ref(), self.has_vanished())).await? {
                return Err(self.indeterminate());
            }
            let answer = claim_with_retry(self.attempt, lead, self.deadline).await?;
            if self.attempt.is_orphaned() {
                // The claim has its answer, and its caller has gone. If it was granted, its drop
                // here releases the key.
                return Err(self.in_flight(Duration::ZERO));
            }
            let (record, lease_left) = match answer {
                ClaimAnswer::Granted(mut claim)
                    if self.saw_fail && claim.record().attempts == 1 =>
                {
                    // A first grant: the record vanished after `has_vanished` has looked. The key
                    // is in doubt, and as its new owner this attempt records that.
                    claim.end(lost(claim.record()));
                    Box::pin(claim.finish()).await;
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
                lead.set_waiting(lease_left);
            }
            // Boxed because rare: keeps the common future small.
            Box::pin(with_pulse(lead.as_ref(), self.wait(lease_left))).await?;
        }
    }

    /// Waits until the owner's record changes, its lease lapses, or `wait` is over, which is an
    /// error. The first wait only subscribes: the caller then claims again, because the owner may
    /// have finished before the subscription was in force.
    async fn wait(&mut self, lease_left: Duration) -> Result<(), Error> {
        let attempt = self.attempt;
        let now = Instant::now();
        if now >= self.deadline {
            return Err(self.in_flight(lease_left));
        }
        let Some(subscription) = &mut self.subscription else {
            self.waits.get_or_insert(now);
            let subscription = attempt.store.subscribe(&attempt.key);
            let patience = cmp::min(REPLY_TIMEOUT, self.deadline - now);
            let subscription = with_timeout(attempt, patience, subscription).await;
            self.subscription = Some(subscription.unwrap_or_else(|error| {
                events::not_subscribed(attempt, &error);
                Subscription::polling()
            }));
            return Ok(());
        };
        // If the lease has lapsed and nobody takes over, it looks less and less often. Its owner is
        // gone, and this call may be one that adopts, which takes nothing over.
        let pause = if lease_left.is_zero() {
            self.poll.pause()
        } else if subscription.is_push() {
            cmp::min(lease_left, PUSH_POLL)
        } else {
            cmp::min(lease_left, self.poll.pause())
        };
        // At least 1 ms, because clocks differ a little.
        let pause = cmp::max(pause, Duration::from_millis(1));
        let until = cmp::min(self.deadline, now + pause);
        let _ = time::timeout_at(until, subscription.changed()).await;
        Ok(())
    }

    /// Waits for the result of the attempt that took over. It only reads and never claims: this
    /// attempt has run already.
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
            match self.read(REPLY_TIMEOUT).await {
                Ok(Some(read)) => (record, lease_left) = read,
                Ok(None) => return Err(superseded),
                // Goes on with the record as it was last seen.
                Err(error) => events::heartbeat_failed(self.attempt, &error),
            }
        }
    }

    /// What a record that is not running means for this call. The fingerprint is compared first,
    /// always.
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
            // A store grants such a key instead of showing its record. If one does show it, the
            // caller's retry asks again.
            State::Running | State::Failed => Err(self.in_flight(Duration::ZERO)),
        }
    }

    /// Whether the record has vanished. It retries as a claim does, so a lost answer does not end
    /// the waiting.
    async fn has_vanished(&self) -> Result<bool, Error> {
        let mut tries = Tries::new(Instant::now(), self.deadline);
        loop {
            let error = match self.read(tries.reply_timeout(Instant::now())).await {
                Ok(read) => return Ok(read.is_none()),
                Err(error) => error,
            };
            if !tries.pause_before_retry(&error).await {
                let error = tries.final_error(error);
                return Err(Error::store(self.attempt.operation_id(), error));
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

/// Returns the result of the attempt that took over, and waits for it if need be.
/// [`Error::Superseded`] if there is none.
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
