//! What the store is owed after a caller left or gave up, and how the store's answers are taken.
//!
//! Two things can be owed. A claim *in doubt*: it was sent and not answered, so it is sent again
//! until answered, and a grant is released. An *outcome*: an attempt has ended, so its finish is
//! sent until answered. `spawn` has the tasks.

pub(super) mod spawn;

use std::{cmp, future::Future, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use self::spawn::finish_in_background;
use super::claim::not_recorded;
use crate::{
    OnCrash, StoreError, StoreErrorKind,
    backoff::Backoff,
    call::attempt::Attempt,
    error::Shown,
    events,
    record::{HOLD, Record, RecordedBytes, State},
    store::{
        ClaimReply, Settled,
        counters::Turn,
        protocol::{released, retention},
    },
};

pub use spawn::drain;

/// How long to wait for the answer to one command at most.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses between tries while a caller waits.
pub(crate) const RETRY_BACKOFF: Backoff = Backoff::new(FIRST_PAUSE, Duration::from_secs(1));
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between tries in the background.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The most claims in doubt and releases that one store is owed. If they are dropped, the lease
/// settles them, only later.
const MAX_OWED_CLAIMS: usize = 1024;
/// The most outcomes of bodies that one store is owed. If one is dropped, its body may run again.
const MAX_OWED_OUTCOMES: usize = 16 * 1024;

/// Asks in the background until the attempt's claim is answered, and releases a grant.
pub(crate) fn owe_claim(attempt: Arc<Attempt>) {
    owe(attempt, MAX_OWED_CLAIMS, release_in_doubt);
}

/// Sends the attempt's finish in the background until it is answered.
pub(crate) fn owe_outcome(attempt: Arc<Attempt>, target: Record) {
    let limit = match target.state {
        State::Done | State::Lost => MAX_OWED_OUTCOMES,
        State::Running | State::Failed => MAX_OWED_CLAIMS,
    };
    owe(attempt, limit, |attempt| deliver_finish(attempt, target));
}

/// Runs `work` in the background, unless the store is owed `limit` things already. Without a limit,
/// a store that does not answer would cost this process its memory, and would be flooded when it
/// comes back.
fn owe<W>(attempt: Arc<Attempt>, limit: usize, work: impl FnOnce(Arc<Attempt>) -> W)
where
    W: Future<Output = ()> + Send + 'static,
{
    let Some(owed) = DebtGuard::new(&attempt, limit) else {
        attempt.count(Turn::OwedDropped);
        return events::not_owed(&attempt);
    };
    let runtime = attempt.runtime.clone();
    let work = work(attempt);
    finish_in_background(&runtime, async move {
        let _owed = owed;
        work.await;
    });
}

/// Counts one thing that the store is owed, while it lives.
struct DebtGuard(Arc<Attempt>);

impl DebtGuard {
    fn new(attempt: &Arc<Attempt>, limit: usize) -> Option<Self> {
        let owed = attempt.store.counters().owe(limit);
        owed.then(|| Self(Arc::clone(attempt)))
    }
}

impl Drop for DebtGuard {
    fn drop(&mut self) {
        self.0.store.counters().settle();
    }
}

/// How long a release is tried. Under `rerun`, for twice the lease, or a minute if that is longer:
/// once the lease has lapsed, the key is free anyway. Under `fail`, as long as the record is kept:
/// without the release the key would be in doubt.
fn release_time_limit(attempt: &Attempt) -> Duration {
    match attempt.request.on_crash {
        OnCrash::Rerun => cmp::max(attempt.request.lease * 2, MAX_PAUSE),
        OnCrash::Fail => HOLD,
    }
}

/// Sends a claim in doubt until it is answered, and releases a grant.
async fn release_in_doubt(attempt: Arc<Attempt>) {
    let mut pauses = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
    let give_up_at = Instant::now() + release_time_limit(&attempt);
    loop {
        let reply = attempt.store.claim(&attempt.key, &attempt.request);
        let error = match with_timeout(&attempt, REPLY_TIMEOUT, reply).await {
            Ok(ClaimReply::Granted { record, .. }) => {
                return deliver_finish(attempt, released(&record)).await;
            }
            // It was not granted: another attempt's record is there.
            Ok(ClaimReply::Held { .. }) => return,
            Err(error) => error,
        };
        // A refusal is retryable here: this try changed nothing, but an earlier one may have. Other
        // errors would come again, and the lease settles the claim.
        if !is_retryable(&error) {
            return;
        }
        if Instant::now() >= give_up_at {
            attempt.count(Turn::OwedDropped);
            return events::gave_up(&attempt, &error);
        }
        time::sleep(pauses.pause()).await;
    }
}

/// Sends a finish until it is answered, or until its record would have ended anyway.
async fn deliver_finish(attempt: Arc<Attempt>, mut target: Record) {
    let is_release = target.state == State::Failed;
    let time_limit = match target.state {
        State::Failed => release_time_limit(&attempt),
        state => retention(state, target.ttl),
    };
    let give_up_at = Instant::now() + time_limit;
    // Often enough that `keep_alive` renews the lease before it lapses.
    let longest = (target.lease / 3).clamp(Duration::from_secs(1), MAX_PAUSE);
    let mut pauses = Backoff::new(FIRST_PAUSE, longest);
    loop {
        // An earlier finish may have been carried out long ago, so this one's answer does not tell
        // the near cache when the record ends.
        let reply = attempt.store.finish_again(&attempt.key, &target);
        let error = match with_timeout(&attempt, REPLY_TIMEOUT, reply).await {
            Ok(settled) => {
                if !is_release && !matches!(settled, Settled::Stale { .. }) {
                    attempt.count(Turn::RecordedLater);
                }
                return report(&attempt, &settled);
            }
            Err(error) => error,
        };
        if let Some(smaller) = without_result(&attempt, &target, &error) {
            target = smaller;
            continue;
        }
        if error.kind() == StoreErrorKind::Incompatible || Instant::now() >= give_up_at {
            attempt.count(Turn::OwedDropped);
            return events::gave_up(&attempt, &error);
        }
        if is_release && !is_retryable(&error) {
            return events::gave_up(&attempt, &error);
        }
        let pause = Instant::now() + pauses.pause();
        if !is_release {
            keep_alive(&attempt, &target, &error, pause).await;
        }
        time::sleep_until(pause).await;
    }
}

/// How many characters of a store's error are recorded at most.
const MAX_REASON_CHARS: usize = 500;

/// The record to write instead of `target` if the store refuses its result as too large: done,
/// without the result. So a retry does not run the body again. `None` for other errors, and if
/// `target` has no result.
pub(crate) fn without_result(
    attempt: &Attempt,
    target: &Record,
    error: &StoreError,
) -> Option<Record> {
    let carries = matches!(
        target.outcome,
        Some(RecordedBytes::Ok(_) | RecordedBytes::Err(_))
    );
    if error.kind() != StoreErrorKind::TooLarge || !carries {
        return None;
    }
    // The store's own text says which limit it is.
    let reason = format!("the store does not take it: {error}");
    // Cut, because a custom store's text may be long, and this must fit where the result did not.
    let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
    attempt.count(Turn::NotRecordable);
    events::not_recordable(attempt, &reason);
    Some(not_recorded(target, &reason))
}

/// Renews the lease of an attempt whose finish the store has answered with an error, so that nobody
/// takes over while the finish is tried again. If the store did not answer at all, it would not
/// answer this either; then it does nothing.
async fn keep_alive(attempt: &Attempt, target: &Record, refused: &StoreError, until: Instant) {
    if matches!(
        refused.kind(),
        StoreErrorKind::Ambiguous | StoreErrorKind::NotSent
    ) {
        return;
    }
    let renewed = attempt.store.renew(&attempt.key, target);
    let patience = cmp::min(
        REPLY_TIMEOUT,
        until.saturating_duration_since(Instant::now()),
    );
    match with_timeout(attempt, cmp::max(patience, FIRST_PAUSE), renewed).await {
        // If another attempt owns the record, the next finish is told so, and settles this.
        Ok(_) => {}
        Err(error) => events::heartbeat_failed(attempt, &error),
    }
}

/// Waits for the store's answer for at most `patience`. After that it is
/// [`Ambiguous`](StoreErrorKind::Ambiguous): the command may still be carried out. A local store is
/// not timed.
pub(crate) async fn with_timeout<R>(
    attempt: &Attempt,
    patience: Duration,
    reply: impl Future<Output = Result<R, StoreError>>,
) -> Result<R, StoreError> {
    if attempt.store.local().is_some() {
        return reply.await;
    }
    time::timeout(patience, reply).await.unwrap_or_else(|_| {
        let store = attempt.store.describe();
        let silence = format!("{store} gave no answer for {}", Shown(patience));
        Err(StoreError::new(StoreErrorKind::Ambiguous, silence))
    })
}

/// Counts and reports the answer to a finish or a renew, if it is not the usual one.
pub(crate) fn report(attempt: &Attempt, settled: &Settled) {
    match settled {
        Settled::Applied => {}
        Settled::PutBack | Settled::Absent => {
            attempt.count(Turn::RecordLost);
            events::record_lost(attempt);
        }
        Settled::Stale { record, .. } => {
            attempt.count(Turn::Stale);
            events::stale(attempt, record);
        }
    }
}

/// Whether sending the same command again may succeed.
pub(crate) fn is_retryable(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Ambiguous | StoreErrorKind::NotSent | StoreErrorKind::Refused
    )
}
