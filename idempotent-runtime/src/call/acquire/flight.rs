//! Duplicates in this process: one of them, the leader, asks the store for all.

use std::{
    cmp,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use tokio::time::{self, Instant};

use super::{Acquire, Acquired, retry::MIN_RETRY_TIME};
use crate::{
    Error, StoreError, StoreErrorKind,
    call::attempt::Attempt,
    record::Record,
    store::{
        counters::Turn,
        single_flight::{FlightOutcome, FollowResult, Lead, Role},
    },
};

/// How often a leader shows that it is polled, while it waits.
const PULSE_INTERVAL: Duration = Duration::from_millis(250);

/// Result of joining a flight.
pub(super) enum JoinResult {
    /// This call asks the store: for all if it has the lead, else (another payload) for itself.
    Leads(Option<Lead>),
    /// Another call has asked, and this is the outcome.
    Landed(Result<Acquired, Error>),
}

/// Joins the flight of this key. A follower waits for its outcome.
pub(super) async fn join_flight(acquire: &mut Acquire<'_>) -> JoinResult {
    let attempt = acquire.attempt;
    loop {
        let follow = match attempt
            .store
            .flights()
            .join(&attempt.key, attempt.request.fingerprint)
        {
            Role::Leader(lead) => return JoinResult::Leads(Some(lead)),
            Role::Bypass => return JoinResult::Leads(None),
            Role::Follower(follow) => follow,
        };
        acquire.waits.get_or_insert_with(Instant::now);
        // As long as this call would wait for an answer of its own.
        let answer_by = cmp::max(acquire.deadline, Instant::now() + MIN_RETRY_TIME);
        let landed = follow.wait_landed(acquire.deadline, answer_by).await;
        return JoinResult::Landed(match landed {
            // The record was there when the leader asked. It has ended since, and this call may
            // have begun after that.
            FollowResult::Landed(FlightOutcome::Record(record)) if has_ended(attempt, &record) => {
                continue;
            }
            FollowResult::Landed(FlightOutcome::Record(record)) => {
                acquire.judge(record, Turn::ReplayedByFlight)
            }
            FollowResult::Landed(FlightOutcome::Failed(error)) => {
                Err(Error::store(attempt.operation_id(), error))
            }
            FollowResult::Landed(FlightOutcome::Free) | FollowResult::Stalled => continue,
            FollowResult::TimedOut(lease_left) => Err(acquire.in_flight(lease_left)),
            FollowResult::Unanswered => {
                let store = attempt.store.describe();
                let silence = format!("{store} has given no answer to another call with this key");
                let error = StoreError::new(StoreErrorKind::NotSent, silence);
                Err(Error::store(attempt.operation_id(), error))
            }
        });
    }
}

/// Whether the record's retention is over. `false` if the store's time is not known.
fn has_ended(attempt: &Attempt, record: &Record) -> bool {
    let now = attempt.store.clock();
    now.is_some_and(|now| record.has_ended(now))
}

/// Runs `waiting`, and shows the followers of the flight, at least every [`PULSE_INTERVAL`], that
/// its leader is polled.
pub(super) async fn with_pulse<T>(lead: Option<&Lead>, waiting: impl Future<Output = T>) -> T {
    let Some(lead) = lead else {
        return waiting.await;
    };
    let (mut waiting, mut next) = (pin!(waiting), pin!(time::sleep(PULSE_INTERVAL)));
    poll_fn(|cx| {
        lead.beat();
        if let Poll::Ready(done) = waiting.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        while next.as_mut().poll(cx).is_ready() {
            next.as_mut().reset(Instant::now() + PULSE_INTERVAL);
        }
        Poll::Pending
    })
    .await
}
