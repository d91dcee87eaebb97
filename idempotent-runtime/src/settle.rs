//! What is owed to the store in the background, and how an answer of the store is taken.

use std::{cmp, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use crate::{
    StoreError, StoreErrorKind, events,
    execution::Attempt,
    record::{HOLD, Record},
    store::{
        ClaimReply, Settled, count,
        protocol::{released, retention},
    },
};

/// How long one command's answer is waited for, where the store itself is more patient.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asks until answered, and then releases.
pub(crate) async fn see_through(attempt: Arc<Attempt>) {
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
pub(crate) async fn settle(attempt: Arc<Attempt>, target: Record) {
    let give_up = Instant::now() + retention(target.state, target.ttl);
    let mut pause = FIRST_PAUSE;
    loop {
        let reply = attempt.store.finish_again(&attempt.key, &target);
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
pub(crate) fn is_passing(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Ambiguous | StoreErrorKind::NotSent | StoreErrorKind::Refused
    )
}

pub(crate) fn longer(pause: Duration) -> Duration {
    cmp::min(pause * 2, LONGEST_PAUSE)
}
