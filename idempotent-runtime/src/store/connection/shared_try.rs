//! Makes a value once, in a task of its own, for all who wait for it.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch, time};

use crate::{StoreError, StoreErrorKind, backoff::Backoff};

/// How long a caller that has sent nothing yet waits for an attempt to connect, counted from its
/// start. It is less than any caller waits for an answer, so a claim that only waited for a
/// connection leaves nothing in doubt.
pub(crate) const CONNECT_PATIENCE: Option<Duration> = Some(Duration::from_millis(900));

/// The pauses between tries that fail in a row: thousands of callers must not connect thousands of
/// times a second.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(320));

/// Makes a value that callers share. A caller that comes meanwhile waits for it and shares its
/// failure. A caller that comes after a failure starts the next try.
///
/// The try runs in a task, never in the future of the caller who started it. A caller may be polled
/// once and then kept without a poll, and others must not wait for it. Callers wait on a `watch`. A
/// fair lock would not do, because it passes ownership to a waiter that may not be polled.
pub(crate) struct SharedTry<T>(Arc<Mutex<State<T>>>);

type Outcome<T> = Option<Result<T, StoreError>>;

/// A try in progress. Its sender is dropped if its task ends with the runtime, or by a panic.
struct Try<T> {
    outcome: watch::Receiver<Outcome<T>>,
    started: time::Instant,
}

impl<T> Clone for Try<T> {
    fn clone(&self) -> Self {
        Self {
            outcome: self.outcome.clone(),
            started: self.started,
        }
    }
}

struct State<T> {
    under_way: Option<Try<T>>,
    pauses: Backoff,
    /// When the next try may begin, if the latest one failed.
    not_before: Option<Instant>,
}

impl<T> Clone for SharedTry<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for SharedTry<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            under_way: None,
            pauses: PAUSES,
            not_before: None,
        })))
    }
}

impl<T: Clone + Send + Sync + 'static> SharedTry<T> {
    /// Returns what `there` finds, or else what `make` makes in a task on `runtime`. `make`'s
    /// future stores the value where `there` finds it. A caller with less `patience` than the try
    /// takes gives up, and the try goes on.
    pub(crate) async fn join<F>(
        &self,
        runtime: &Handle,
        patience: Option<Duration>,
        there: impl Fn() -> Option<T>,
        make: impl FnOnce() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let Try {
            mut outcome,
            started,
        } = match self.join_or_start(runtime, there, make) {
            Ok(value) => return Ok(value),
            Err(under_way) => under_way,
        };
        let made = outcome.wait_for(Option::is_some);
        let made = match patience {
            None => made.await,
            Some(patience) => match time::timeout_at(started + patience, made).await {
                Ok(made) => made,
                Err(_) => return Err(still_connecting()),
            },
        };
        made.ok()
            .and_then(|made| made.clone())
            .unwrap_or_else(|| Err(broken_off()))
    }

    /// As [`join`](Self::join), without waiting.
    fn join_or_start<F>(
        &self,
        runtime: &Handle,
        there: impl Fn() -> Option<T>,
        make: impl FnOnce() -> F,
    ) -> Result<T, Try<T>>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let mut state = self.state();
        if let Some(value) = there() {
            return Ok(value);
        }
        let under_way = state.under_way.clone();
        let under_way = under_way.filter(|under_way| under_way.outcome.has_changed().is_ok());
        Err(under_way.unwrap_or_else(|| self.start(&mut state, runtime, make())))
    }

    /// As [`join`](Self::join), without waiting, and without a value.
    #[cfg(any(feature = "postgres", feature = "redis-cluster"))]
    pub(crate) fn kick<F>(
        &self,
        runtime: &Handle,
        there: impl Fn() -> Option<T>,
        make: impl FnOnce() -> F,
    ) where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let _ = self.join_or_start(runtime, there, make);
    }

    fn start(
        &self,
        state: &mut State<T>,
        runtime: &Handle,
        make: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Try<T> {
        let (sender, outcome) = watch::channel(None);
        let (shared, pause) = (self.clone(), state.pause());
        runtime.spawn(async move {
            if let Some(pause) = pause {
                time::sleep(pause).await;
            }
            let result = make.await;
            shared.state().ended(result.is_ok());
            sender.send_replace(Some(result));
        });
        let started = time::Instant::now();
        let under_way = Try { outcome, started };
        state.under_way = Some(under_way.clone());
        under_way
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn ended(&mut self, is_made: bool) {
        self.under_way = None;
        if is_made {
            self.pauses = PAUSES;
            self.not_before = None;
        } else {
            self.not_before = Some(Instant::now() + self.pauses.pause());
        }
    }

    /// What is left of the pause before the next try.
    fn pause(&self) -> Option<Duration> {
        let left = self.not_before?.saturating_duration_since(Instant::now());
        Some(left).filter(|left| !left.is_zero())
    }
}

fn still_connecting() -> StoreError {
    StoreError::new(
        StoreErrorKind::NotSent,
        "the connection to the server is still being made; nothing was sent",
    )
    .transient()
}

fn broken_off() -> StoreError {
    StoreError::new(
        StoreErrorKind::NotSent,
        "connecting to the server was broken off: the runtime that did it has ended, or the task has panicked",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> StoreError {
        StoreError::new(StoreErrorKind::NotSent, "refused")
    }

    #[tokio::test]
    async fn a_failure_is_shared_by_those_who_waited_and_the_next_one_tries_anew() {
        let shared_try = SharedTry::<u32>::default();
        let runtime = Handle::current();
        let tries = Arc::new(Mutex::new(0));
        let attempt = |result: Result<u32, StoreError>| {
            let tries = tries.clone();
            shared_try.join(
                &runtime,
                None,
                || None,
                move || async move {
                    *tries.lock().expect("no panic") += 1;
                    tokio::task::yield_now().await;
                    result
                },
            )
        };
        let (first, second) = tokio::join!(attempt(Err(failure())), attempt(Ok(7)));
        assert!(first.is_err() && second.is_err());
        assert_eq!(attempt(Ok(7)).await.expect("made"), 7);
        assert_eq!(*tries.lock().expect("no panic"), 2);
    }

    #[tokio::test]
    async fn a_try_that_panicked_or_ended_with_its_runtime_is_no_obstacle() {
        let shared_try = SharedTry::<u32>::default();
        let ended = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let handle = ended.handle().clone();
        {
            let mut stuck = Box::pin(shared_try.join(&handle, None, || None, std::future::pending));
            let polled =
                std::future::poll_fn(|cx| std::task::Poll::Ready(stuck.as_mut().poll(cx))).await;
            assert!(polled.is_pending());
            tokio::task::spawn_blocking(move || drop(ended))
                .await
                .expect("no panic");
            assert_eq!(
                stuck.await.expect_err("broken off").kind(),
                StoreErrorKind::NotSent
            );
        }
        let runtime = Handle::current();
        let panicking = shared_try.join(&runtime, None, || None, || async { panic!("on purpose") });
        assert_eq!(
            panicking.await.expect_err("panicked").kind(),
            StoreErrorKind::NotSent
        );
        let made = shared_try
            .join(&runtime, None, || None, || async { Ok(7) })
            .await;
        assert_eq!(made.expect("made"), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_less_patience_gives_up_and_the_try_goes_on() {
        let shared_try = SharedTry::<u32>::default();
        let runtime = Handle::current();
        let slow = || async {
            time::sleep(Duration::from_secs(2)).await;
            Ok(7)
        };
        let error = shared_try
            .join(&runtime, CONNECT_PATIENCE, || None, slow)
            .await;
        let error = error.expect_err("it takes longer");
        assert_eq!(error.kind(), StoreErrorKind::NotSent);
        assert!(error.is_transient());
        // A later caller waits no longer than the first did.
        let never = || async { panic!("there is a try under way") };
        let again = shared_try
            .join(&runtime, CONNECT_PATIENCE, || None, never)
            .await;
        assert!(again.expect_err("still").is_transient());
        assert_eq!(
            shared_try.join(&runtime, None, || None, never).await.ok(),
            Some(7)
        );
    }

    #[test]
    fn the_pause_grows_with_failures_to_a_bound_and_ends_with_success() {
        let mut state = State::<u32> {
            under_way: None,
            pauses: PAUSES,
            not_before: None,
        };
        assert_eq!(state.pause(), None);
        let longest = Duration::from_millis(320);
        for _ in 0..100 {
            state.ended(false);
            assert!(state.pause().is_none_or(|pause| pause <= longest));
        }
        assert!(state.pause().is_some_and(|pause| pause >= longest / 4));
        state.ended(true);
        assert_eq!(state.pause(), None);
    }
}
