//! What is owed to the store in the background, and how an answer of the store is taken.

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

/// How long one command's answer is waited for, where the store itself is more patient.
pub(crate) const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses of a caller that waits.
pub(crate) const RETRY_BACKOFF: Backoff = Backoff::new(FIRST_PAUSE, Duration::from_secs(1));
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// How long the background pauses at most.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// How much one store may be owed of what its lease settles just as well, only later: claims in doubt, and releases.
const MAX_OWED_CLAIMS: usize = 1024;
/// How much it may be owed of what bodies have done, which would be done again for want of a record.
const MAX_OWED_OUTCOMES: usize = 16 * 1024;

/// Sees the attempt's claim through, in the background.
pub(crate) fn owe_claim(attempt: Arc<Attempt>) {
    owe(attempt, MAX_OWED_CLAIMS, release_in_doubt);
}

/// Tells the store how the attempt ended, in the background.
pub(crate) fn owe_outcome(attempt: Arc<Attempt>, target: Record) {
    let limit = match target.state {
        State::Done | State::Lost => MAX_OWED_OUTCOMES,
        State::Running | State::Failed => MAX_OWED_CLAIMS,
    };
    owe(attempt, limit, |attempt| deliver_finish(attempt, target));
}

/// Hands over the `work` that the store is owed, unless `limit` are owed already: a store that does not answer must not cost
/// this process its memory, nor itself be drowned when it comes back.
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

/// As long as this is there, the store is owed something.
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

/// How long it makes sense to tell the store that nothing ran. Under `rerun` the lease says the same once it has lapsed;
/// under `fail` the key is in doubt without this.
fn release_time_limit(attempt: &Attempt) -> Duration {
    match attempt.request.on_crash {
        OnCrash::Rerun => cmp::max(attempt.request.lease * 2, MAX_PAUSE),
        OnCrash::Fail => HOLD,
    }
}

/// Asks until answered, and then releases.
async fn release_in_doubt(attempt: Arc<Attempt>) {
    let mut pauses = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
    let give_up_at = Instant::now() + release_time_limit(&attempt);
    loop {
        let reply = attempt.store.claim(&attempt.key, &attempt.request);
        let error = match with_timeout(&attempt, REPLY_TIMEOUT, reply).await {
            Ok(ClaimReply::Granted { record, .. }) => {
                return deliver_finish(attempt, released(&record)).await;
            }
            // It never came through.
            Ok(ClaimReply::Held { .. }) => return,
            Err(error) => error,
        };
        // A refusal says that this asking changed nothing, and an earlier one may have; whatever else is not passing
        // will not be answered otherwise, and the lease settles it.
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

/// Tells the store how the attempt ended, until answered or the record would be past its end.
async fn deliver_finish(attempt: Arc<Attempt>, mut target: Record) {
    let is_release = target.state == State::Failed;
    let time_limit = match target.state {
        State::Failed => release_time_limit(&attempt),
        state => retention(state, target.ttl),
    };
    let give_up_at = Instant::now() + time_limit;
    // Often enough that the lease, if it stands still, does not lapse in between.
    let longest = (target.lease / 3).clamp(Duration::from_secs(1), MAX_PAUSE);
    let mut pauses = Backoff::new(FIRST_PAUSE, longest);
    loop {
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

/// As many characters of a store's words are recorded.
const MAX_REASON_CHARS: usize = 500;

/// What is to be recorded where the store refuses the `target` because of what it carries: that it has run, without its
/// result. A retry must not run it again because of its size.
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
    // Whether it was sent at all, and which limit it is, the store knows.
    let reason = format!("the store does not take it: {error}");
    // A store of somebody's may say any amount, and this has to fit where the result did not.
    let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
    attempt.count(Turn::NotRecordable);
    events::not_recordable(attempt, &reason);
    Some(not_recorded(target, &reason))
}

/// While the store answers, and refuses to take what has been done, nobody may do it again: its lease is renewed. Where
/// there is no answer at all, there is none to this either, and the finish itself is asked for as often.
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
        // Also where another attempt owns the record: the finish will be told the same, and settles it.
        Ok(_) => {}
        Err(error) => events::heartbeat_failed(attempt, &error),
    }
}

/// The store's answer, or that there was none for so long: then nobody knows whether the command is carried out.
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

/// Counts and reports what a finish or a renew met.
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

/// Whether asking again may get an answer.
pub(crate) fn is_retryable(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::Ambiguous | StoreErrorKind::NotSent | StoreErrorKind::Refused
    )
}
