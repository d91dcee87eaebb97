//! The option `timeout`: a body is stopped at an await point, and `on_crash` says what that means.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_once, poll_until, settled, until,
};
use idempotent_fn::{
    Error, Observed, OnCrash, Operation, SharedStore,
    error::BodyRan,
    observe, operation,
    record::State,
    store::{ManualClock, MemoryStore},
    try_current,
};

const TIMEOUT: Duration = Duration::from_millis(50);

fn stores() -> [SharedStore; 2] {
    [
        SharedStore::new(MemoryStore::with_clock(&ManualClock::new())),
        SharedStore::new(Faulty::around(MemoryStore::with_clock(&ManualClock::new()))),
    ]
}

fn charge(store: &SharedStore, on_crash: OnCrash) -> Operation<u32, Error> {
    operation::<Answer, _>("timeout", &[&"k"])
        .store(store)
        .on_crash(on_crash)
        .wait(GENEROUS)
}

/// Tells in which context it was dropped.
struct Dropped(Arc<AtomicU32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        assert!(try_current().is_some(), "it is dropped where it ran");
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_body_that_runs_for_too_long_is_stopped_and_on_crash_decides() {
    for store in stores() {
        for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
            for attached in [false, true] {
                charge(&store, on_crash).forget().await.unwrap();
                let (effects, dropped) = (Effects::new(), Arc::new(AtomicU32::new(0)));
                let (hang, guard) = (effects.hang(), Dropped(Arc::clone(&dropped)));
                let body = async move {
                    let _guard = guard;
                    hang.await
                };
                let call = charge(&store, on_crash).timeout(TIMEOUT);
                let error = if attached {
                    call.run_attached(body).await
                } else {
                    call.run(body).await
                };
                let error = error.unwrap_err();
                assert!(
                    matches!(error, Error::TimedOut { after: TIMEOUT, .. }),
                    "{error:?}"
                );
                assert!(error.to_string().contains("stopped after 50 ms"), "{error}");
                assert_eq!(error.body_ran(), BodyRan::Yes);
                assert_eq!(error.is_retryable(), on_crash == OnCrash::Rerun);
                assert_eq!(dropped.load(Ordering::SeqCst), 1);
                let next = charge(&store, on_crash).run(effects.body(0)).await;
                match on_crash {
                    OnCrash::Rerun => assert_eq!(next.unwrap(), 1),
                    _ => assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}"),
                }
                settled(&store).await;
            }
        }
        assert_eq!(store.counters().timed_out(), 4);
    }
}

#[tokio::test]
async fn a_body_whose_caller_has_gone_is_stopped_too() {
    for store in stores() {
        for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
            charge(&store, on_crash).forget().await.unwrap();
            let effects = Effects::new();
            let counted = store.counters().timed_out();
            let mut call = Box::pin(
                charge(&store, on_crash)
                    .timeout(TIMEOUT)
                    .run(effects.hang()),
            );
            poll_until(&mut call, || effects.started() == 1).await;
            drop(call);
            settled(&store).await;
            assert_eq!(store.counters().timed_out(), counted + 1);
            let state = charge(&store, on_crash)
                .inspect()
                .await
                .unwrap()
                .unwrap()
                .state;
            let expected = match on_crash {
                OnCrash::Rerun => State::Failed,
                _ => State::Lost,
            };
            assert_eq!(state, expected);
        }
    }
}

/// What returns in time is not stopped, however little is left.
#[tokio::test(start_paused = true)]
async fn a_body_that_returns_in_time_is_not_stopped() {
    for store in stores() {
        let body = async {
            tokio::time::sleep(TIMEOUT * 9 / 10).await;
            Ok(7)
        };
        let call = charge(&store, OnCrash::Fail).timeout(TIMEOUT);
        assert_eq!(call.run(body).await.unwrap(), 7);
        assert_eq!(store.counters().timed_out(), 0);
    }
}

/// A body that uses up the task's budget each time it is polled cannot outrun its time.
#[tokio::test]
async fn a_body_that_uses_up_the_budget_is_stopped() {
    for store in stores() {
        let given_up = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&given_up);
        let body = async move {
            let patience = std::time::Instant::now() + Duration::from_secs(10);
            while std::time::Instant::now() < patience {
                tokio::task::consume_budget().await;
            }
            seen.store(1, Ordering::SeqCst);
            Ok(1)
        };
        let answer = charge(&store, OnCrash::Rerun)
            .timeout(TIMEOUT)
            .run(body)
            .await;
        assert!(matches!(answer, Err(Error::TimedOut { .. })), "{answer:?}");
        assert_eq!(given_up.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn no_time_at_all_is_a_mistake() {
    let [store, _] = stores();
    let call = charge(&store, OnCrash::Rerun).timeout(Duration::ZERO);
    let answer = call.run(async { Ok(1) }).await;
    assert!(matches!(answer, Err(Error::Config { .. })), "{answer:?}");
    let mut call = Box::pin(
        charge(&store, OnCrash::Rerun)
            .timeout(Duration::MAX)
            .run(Effects::new().hang()),
    );
    assert!(poll_once(&mut call).is_pending());
}

/// Where the end cannot be told to the store, it is told later.
#[tokio::test]
async fn a_stopped_body_is_settled_later_where_the_store_does_not_answer() {
    let clock = ManualClock::new();
    let faulty = Faulty::around(MemoryStore::with_clock(&clock));
    let (store, effects) = (SharedStore::new(faulty.clone()), Effects::new());
    faulty.next(Op::Finish, [Fault::LostCommand; 3]);
    let call = charge(&store, OnCrash::Rerun).timeout(TIMEOUT);
    let (answer, seen) = observe(call.run(effects.hang())).await;
    assert!(matches!(answer, Err(Error::TimedOut { .. })), "{answer:?}");
    assert_eq!((seen.outcome, seen.recorded), (Observed::Refused, false));
    until(|| faulty.happened(Op::Finish, Fault::LostCommand) == 3).await;
    settled(&store).await;
    assert_eq!(
        charge(&store, OnCrash::Rerun)
            .run(effects.body(0))
            .await
            .unwrap(),
        1
    );
}
