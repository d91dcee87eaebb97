//! What the code around a call learns about it, besides its answer: an observer, and the body that
//! made the call.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::observed;
use crate::{Key, record::Record};

/// How a call got its answer: see [`observe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Observed {
    /// No call has ended inside: none was made, or its caller went away first.
    Nothing,
    /// Its body ran, to its end. Where it has no key (`optional_key = true`), nothing is recorded,
    /// and there is neither an `attempt` nor a `fencing_token`.
    Ran,
    /// It was answered with a result that was recorded before.
    Replayed,
    /// It waited for another call with the same key, and was answered with that one's result.
    Shared,
    /// Its body ran, but another attempt had taken over; it was answered with that one's recorded
    /// result.
    Adopted,
    /// It was refused: its answer is this library's [`Error`](crate::Error), which knows whether a
    /// body ran ([`Error::body_ran`](crate::Error::body_ran)).
    Refused,
}

/// What [`observe`] saw of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// How it got its answer.
    pub outcome: Observed,
    /// Whether the answer is the key's recorded result: what every later call with the key replays.
    /// `false` for an `Err` that is not recorded, for a result that the store has not acknowledged
    /// yet, for a call without a key, and for a refusal.
    pub recorded: bool,
    /// Which attempt with the key the answer comes from, counted from 1. `None` for a refusal, for
    /// a call without a key, and where the near cache answered, which does not keep this.
    pub attempt: Option<u32>,
    /// That attempt's fencing token; `None` as for `attempt`.
    pub fencing_token: Option<u64>,
}

impl Observation {
    const fn without_record(outcome: Observed) -> Self {
        Self {
            outcome,
            recorded: false,
            attempt: None,
            fencing_token: None,
        }
    }

    /// An answer from the near cache.
    pub(crate) const fn near() -> Self {
        Self {
            recorded: true,
            ..Self::without_record(Observed::Replayed)
        }
    }

    pub(crate) const fn of(outcome: Observed, recorded: bool, record: &Record) -> Self {
        Self {
            outcome,
            recorded,
            attempt: Some(record.attempts),
            fencing_token: Some(record.token),
        }
    }

    /// A body that ran without a key.
    pub(crate) const fn unprotected() -> Self {
        Self::without_record(Observed::Ran)
    }

    pub(crate) const fn refused() -> Self {
        Self::without_record(Observed::Refused)
    }
}

/// Runs `future`, and tells how the idempotent call in it got its answer: whether its body ran, or
/// a recorded result was replayed. Neither the function nor its types change.
///
/// It sees the call that `future` makes itself. It does not see calls made by that call's body, or
/// by spawned tasks. If `future` makes several calls, the one that ends last counts. Calls inside
/// another `observe` are seen only by that one.
///
/// ```
/// # use idempotent_fn::{operation, observe, Error, Observed, SharedStore, store::MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let store = SharedStore::new(MemoryStore::new());
/// # let charge = || operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]).store(&store).run(async { Ok(4711) });
/// let (receipt, seen) = observe(charge()).await;
/// assert_eq!((receipt?, seen.outcome, seen.recorded), (4711, Observed::Ran, true));
///
/// let (receipt, again) = observe(charge()).await;
/// assert_eq!((receipt?, again.outcome), (4711, Observed::Replayed));
/// assert_eq!(again.fencing_token, seen.fencing_token);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
/// That of `future`.
pub async fn observe<F: Future>(future: F) -> (F::Output, Observation) {
    let observer = Arc::new(Observer::new());
    let output = observed(Arc::clone(&observer), future).await;
    let observation = *observer.observation();
    (output, observation)
}

/// The number of observers and noted refusals in this process. While it is zero, a replay need not
/// look for either.
static WATCHED: AtomicUsize = AtomicUsize::new(0);

/// Whether there are any observers or noted refusals.
#[inline]
pub(crate) fn is_watched() -> bool {
    WATCHED.load(Ordering::Relaxed) > 0
}

/// Counts one observer or noted refusal, while it lives.
struct WatchGuard;

impl WatchGuard {
    fn new() -> Self {
        WATCHED.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        WATCHED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One running [`observe`], and what it saw last.
pub(crate) struct Observer {
    last: Mutex<Observation>,
    _watched: WatchGuard,
}

impl Observer {
    fn new() -> Self {
        Self {
            last: Mutex::new(Observation::without_record(Observed::Nothing)),
            _watched: WatchGuard::new(),
        }
    }

    fn observation(&self) -> MutexGuard<'_, Observation> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn record(&self, observation: Observation) {
        *self.observation() = observation;
    }
}

/// The calls of a body that were refused for now, and have had no lasting answer since. While there
/// are any, the body's `Err` is not final.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Vec<Refusal>>);

struct Refusal {
    scope: &'static str,
    key: Option<Key>,
    /// It was no call: an operator's look or decision.
    by_hand: bool,
    _watched: WatchGuard,
}

impl Refusals {
    fn list(&self) -> MutexGuard<'_, Vec<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the call with this key, or without one, was refused.
    pub(crate) fn add(&self, scope: &'static str, key: Option<&Key>) {
        self.push(scope, key, false);
    }

    /// A look or a decision by hand ended: refused for now, or not.
    pub(crate) fn note_by_hand(&self, scope: &'static str, key: &Key, refused: bool) {
        if refused {
            self.push(scope, Some(key), true);
        } else {
            self.list()
                .retain(|refusal| !(refusal.by_hand && refusal.is(scope, Some(key))));
        }
    }

    fn push(&self, scope: &'static str, key: Option<&Key>, by_hand: bool) {
        let mut list = self.list();
        if !list
            .iter()
            .any(|refusal| refusal.is(scope, key) && refusal.by_hand == by_hand)
        {
            list.push(Refusal {
                scope,
                key: key.cloned(),
                by_hand,
                _watched: WatchGuard::new(),
            });
        }
    }

    /// Removes the note: the call was made again, and answered.
    pub(crate) fn remove(&self, scope: &'static str, key: Option<&Key>) {
        self.list().retain(|refusal| !refusal.is(scope, key));
    }

    /// The operation that was refused first.
    pub(crate) fn first(&self) -> Option<&'static str> {
        self.list().first().map(|refusal| refusal.scope)
    }
}

impl Refusal {
    fn is(&self, scope: &str, key: Option<&Key>) -> bool {
        self.scope == scope && self.key.as_ref() == key
    }
}
