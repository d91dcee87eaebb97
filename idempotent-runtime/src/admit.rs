//! From a call to the right to run, or to the recorded result.

use std::{cmp, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use crate::{
    Error, OnCrash, StoreError,
    ask::{Asked, ask},
    claim::Claim,
    events,
    execution::Attempt,
    flight::{self, Followed, Landing, Lead, Place},
    record::{Record, State},
    settle::{PATIENCE, answer},
    store::{Subscription, protocol::lost},
};

/// How long a waiter sleeps at most when changes are pushed to it, should a message be lost.
const PUSH_POLL: Duration = Duration::from_secs(5);
/// How often a waiter looks when the store pushes nothing: at first, and at most.
const FIRST_POLL: Duration = Duration::from_millis(10);
const LONGEST_POLL: Duration = Duration::from_millis(500);
/// How much longer than its own waiting a leader is believed at work: the time to ask.
const ASKING: Duration = Duration::from_secs(2);

/// What a call is to do.
pub(crate) enum Admission {
    Run(Box<Claim>),
    Replay(Arc<Record>),
}

/// What came of a flight.
enum Flown {
    /// This call asks the store, for all if it has the lead.
    Leads(Option<Lead>),
    /// Another call has asked.
    Landed(Result<Admission, Error>),
}

/// Asks the store, waits for whoever runs, and asks again, until there is an answer or `wait` is over.
pub(crate) async fn admit(attempt: &Arc<Attempt>) -> Result<Admission, Error> {
    let mut waiter = Waiter::new(attempt);
    // A store in this process is asked as cheaply as a flight is joined, and wakes its waiters itself.
    let mut lead = None;
    if attempt.store.local().is_none() {
        lead = match waiter.fly().await {
            Flown::Leads(lead) => lead,
            Flown::Landed(admission) => {
                waiter.tell();
                return admission;
            }
        };
    }
    let admission = waiter.lead(lead).await;
    waiter.tell();
    admission
}

struct Waiter<'a> {
    attempt: &'a Arc<Attempt>,
    deadline: Instant,
    /// Since when it has been waiting, if it ever did.
    waits: Option<Instant>,
    subscription: Option<Subscription>,
    poll: Duration,
    /// A running owner was seen whose effects must not be repeated.
    saw_fail: bool,
}

impl<'a> Waiter<'a> {
    fn new(attempt: &'a Arc<Attempt>) -> Self {
        let deadline = Instant::now() + attempt.wait;
        Self {
            attempt,
            deadline,
            waits: None,
            subscription: None,
            poll: FIRST_POLL,
            saw_fail: false,
        }
    }

    fn tell(&self) {
        if let Some(since) = self.waits {
            events::waited(self.attempt, since.elapsed());
        }
    }

    /// Finds out who asks for all duplicates of this process, and waits for that one if it is another.
    async fn fly(&mut self) -> Flown {
        let attempt = self.attempt;
        loop {
            let believed = cmp::max(attempt.request.lease, ASKING);
            let follow = match flight::join(attempt, believed) {
                Place::Leader(lead) => return Flown::Leads(Some(lead)),
                Place::Aside => return Flown::Leads(None),
                Place::Follower(follow) => follow,
            };
            self.waits.get_or_insert_with(Instant::now);
            return Flown::Landed(match follow.landed(self.deadline).await {
                Followed::Landed(Landing::Record(record)) => self.judge(record),
                Followed::Landed(Landing::Failed(error)) => {
                    Err(Error::store(attempt.label(), error))
                }
                Followed::Landed(Landing::Free) | Followed::Stalled => continue,
                Followed::TimedOut(retry_after) => Err(Error::InFlight {
                    operation: attempt.label(),
                    retry_after,
                }),
            });
        }
    }

    /// Asks the store, and waits for another process' owner.
    async fn lead(&mut self, mut lead: Option<Lead>) -> Result<Admission, Error> {
        loop {
            if self.saw_fail && self.is_gone().await? {
                return Err(self.indeterminate());
            }
            let asked = ask(self.attempt, lead, self.deadline).await?;
            if self.attempt.is_orphaned() {
                // The claim has been seen through, and nobody is left to run or wait for. If it was granted, dropping
                // it releases the key.
                return Err(Error::InFlight {
                    operation: self.attempt.label(),
                    retry_after: Duration::ZERO,
                });
            }
            let (record, lease_left) = match asked {
                Asked::Granted(mut claim) if self.saw_fail && claim.record().attempts == 1 => {
                    // The record vanished between looking and asking: the same doubt, and now ours to keep.
                    claim.end(lost(claim.record()));
                    claim.finish().await;
                    return Err(self.indeterminate());
                }
                Asked::Granted(claim) => return Ok(Admission::Run(Box::new(claim))),
                Asked::Held(kept, record, lease_left) => {
                    lead = kept;
                    (record, lease_left)
                }
            };
            if record.state != State::Running
                || record.conflicts_with(self.attempt.request.fingerprint)
            {
                let admission = self.judge(Arc::new(record));
                if let (Some(lead), Ok(Admission::Replay(record))) = (lead, &admission) {
                    lead.land(Landing::Record(Arc::clone(record)));
                }
                return admission;
            }
            self.saw_fail |= record.on_crash == OnCrash::Fail;
            if let Some(lead) = &lead {
                let believed = self.deadline.saturating_duration_since(Instant::now()) + ASKING;
                lead.waits(believed, lease_left);
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
            return Err(Error::InFlight {
                operation: attempt.label(),
                retry_after: lease_left,
            });
        }
        let Some(subscription) = &mut self.subscription else {
            self.waits.get_or_insert(now);
            let subscription = attempt.store.subscribe(&attempt.key);
            let patience = cmp::min(PATIENCE, self.deadline - now);
            let subscription = answer(attempt, patience, subscription).await;
            self.subscription = Some(subscription.unwrap_or_else(|error| {
                events::not_subscribed(attempt, &error);
                Subscription::polling()
            }));
            return Ok(());
        };
        let poll = if subscription.is_push() {
            PUSH_POLL
        } else {
            self.poll
        };
        self.poll = cmp::min(self.poll * 2, LONGEST_POLL);
        // A lease that seems over by now is asked about a moment later: clocks differ by that much.
        let lapse = cmp::max(lease_left, Duration::from_millis(1));
        let until = cmp::min(self.deadline, now + cmp::min(lapse, poll));
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
            operation: self.attempt.label(),
        };
        loop {
            match record.state {
                State::Done if !record.conflicts_with(self.attempt.request.fingerprint) => {
                    let attempt = self.attempt;
                    let verified = attempt.store.verify(&attempt.key, &record);
                    verified.map_err(|error| Error::store(attempt.label(), error))?;
                    return Ok(Arc::new(record));
                }
                State::Running if self.wait(lease_left).await.is_ok() => {}
                _ => return Err(superseded),
            }
            match self.read().await {
                Ok(Some(read)) => (record, lease_left) = read,
                Ok(None) => return Err(superseded),
                // The record stands as it was last seen, as far as anybody knows.
                Err(error) => events::heartbeat_failed(self.attempt, &error),
            }
        }
    }

    /// What a record that is not running means for this call. The fingerprint comes first, always.
    fn judge(&self, record: Arc<Record>) -> Result<Admission, Error> {
        let attempt = self.attempt;
        if record.conflicts_with(attempt.request.fingerprint) {
            let operation = attempt.label();
            return Err(Error::KeyReused { operation });
        }
        match record.state {
            State::Done => Ok(Admission::Replay(record)),
            State::Lost => Err(self.indeterminate()),
            // Neither is held against a claim; a store that says so is asked again by the caller's retry.
            State::Running | State::Failed => Err(Error::InFlight {
                operation: attempt.label(),
                retry_after: Duration::ZERO,
            }),
        }
    }

    async fn is_gone(&self) -> Result<bool, Error> {
        let read = self.read().await;
        read.map(|read| read.is_none())
            .map_err(|error| Error::store(self.attempt.label(), error))
    }

    async fn read(&self) -> Result<Option<(Record, Duration)>, StoreError> {
        let reply = self.attempt.store.read(&self.attempt.key);
        answer(self.attempt, PATIENCE, reply).await
    }

    fn indeterminate(&self) -> Error {
        Error::Indeterminate {
            operation: self.attempt.label(),
        }
    }
}

/// The result of whoever overtook this attempt: recorded, or waited for, or [`Error::Superseded`].
pub(crate) async fn adopt(
    attempt: &Arc<Attempt>,
    record: Record,
    lease_left: Duration,
) -> Result<Arc<Record>, Error> {
    let mut waiter = Waiter::new(attempt);
    let adopted = waiter.adopt(record, lease_left).await;
    waiter.tell();
    adopted
}
