//! Calls whose optional key is `None`: nothing is recorded, but everything else around a body
//! works.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::common::{Answer, Effects, GENEROUS, poll_once};
use idempotent_fn::{
    Error, Observed, OnCrash, OnErr, Operation, SharedStore, current, idempotent,
    key::optional_part,
    observe, operation,
    store::{ManualClock, MemoryStore},
    try_current, with_store,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::task::yield_now;

const TIMEOUT: Duration = Duration::from_millis(50);

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::with_clock(&ManualClock::new()))
}

/// A call that has no key.
fn unprotected<T, E>(store: &SharedStore) -> Operation<T, E>
where
    T: Serialize + DeserializeOwned,
{
    operation::<Result<T, E>, _>("unprotected", &[optional_part(&None::<u32>)]).store(store)
}

fn batch(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("unprotected.batch", &[&"k"]).store(store)
}

/// What it is told of itself, and the keys it gives to others.
async fn bank_keys() -> Result<Vec<String>, Error> {
    yield_now().await;
    let execution = current();
    assert_eq!((execution.scope(), execution.attempt()), ("unprotected", 1));
    assert!(!execution.is_protected());
    assert!((1..1 << 53).contains(&execution.fencing_token()));
    let key = execution.derive_key("bank");
    assert_eq!(key, current().derive_key("bank"), "the same in one call");
    Ok(vec![key, execution.derive_key("mail")])
}

/// Two payments in one batch are two payments, also for the bank.
#[tokio::test]
async fn each_has_an_execution_of_its_own_wherever_it_is_called() {
    type Keys = Result<Vec<String>, Error>;
    async fn three_times(store: &SharedStore) -> Vec<String> {
        let mut keys = unprotected::<Vec<String>, Error>(store)
            .run(bank_keys())
            .await
            .unwrap();
        let attached = unprotected::<Vec<String>, Error>(store).run_attached(bank_keys());
        keys.extend(attached.await.unwrap());
        keys.extend(
            unprotected::<Vec<String>, Error>(store)
                .run(bank_keys())
                .await
                .unwrap(),
        );
        keys
    }

    let store = memory();
    let mut seen = three_times(&store).await;
    assert!(try_current().is_none(), "it ends with the body");
    let nested = operation::<Keys, _>("unprotected.batch", &[&"k"]).store(&store);
    let here = store.clone();
    let nested = nested.run(async move {
        let mut keys = three_times(&here).await;
        assert_eq!(current().scope(), "unprotected.batch", "it is back");
        assert!(current().is_protected());
        keys.push(current().derive_key("bank"));
        Ok(keys)
    });
    seen.extend(nested.await.unwrap());
    let different: HashSet<_> = seen.iter().collect();
    assert_eq!(different.len(), 13, "{seen:?}");
}

/// A client that sends no key is no mistake of the program's.
#[tokio::test]
async fn the_attribute_gives_it_an_execution_too() {
    #[idempotent(scope = "unprotected", key = key, optional_key = true)]
    async fn charge(key: Option<u64>) -> Result<Vec<String>, Error> {
        bank_keys().await
    }

    #[idempotent(scope = "unprotected.attached", key = key, optional_key = true, detach = false)]
    async fn attached(key: Option<&str>) -> Result<String, Error> {
        Ok(current().derive_key("bank"))
    }

    with_store(memory(), async {
        assert_ne!(charge(None).await.unwrap(), charge(None).await.unwrap());
        assert_ne!(attached(None).await.unwrap(), attached(None).await.unwrap());
    })
    .await;
}

/// It is there where the body is dropped, too.
#[tokio::test]
async fn its_body_is_dropped_where_it_ran() {
    struct Dropped(Arc<AtomicU32>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let execution = try_current();
            assert_eq!(execution.map(|it| it.scope()), Some("unprotected"));
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let (store, dropped) = (memory(), Arc::new(AtomicU32::new(0)));
    let body = || {
        let guard = Dropped(Arc::clone(&dropped));
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    };
    let mut call = Box::pin(unprotected::<u32, Error>(&store).run(body()));
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    let mut call = Box::pin(unprotected::<u32, Error>(&store).run_attached(body()));
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    for attached in [false, true] {
        let call = unprotected::<u32, Error>(&store).timeout(TIMEOUT);
        let answer = if attached {
            call.run_attached(body()).await
        } else {
            call.run(body()).await
        };
        assert!(matches!(answer, Err(Error::TimedOut { .. })), "{answer:?}");
    }
    let panics = async {
        let guard = Dropped(Arc::clone(&dropped));
        let call = unprotected::<u32, Error>(&store).run(async move {
            let _guard = guard;
            yield_now().await;
            panic!("as it may")
        });
        call.await
    };
    assert!(ends_in_a_panic(panics).await);
    assert_eq!(dropped.load(Ordering::SeqCst), 5);
}

/// Polls to the end, or to a panic.
async fn ends_in_a_panic<F: Future>(future: F) -> bool {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        let poll = std::panic::AssertUnwindSafe(|| future.as_mut().poll(cx).is_ready());
        match std::panic::catch_unwind(poll) {
            Ok(true) => std::task::Poll::Ready(false),
            Ok(false) => std::task::Poll::Pending,
            Err(_) => std::task::Poll::Ready(true),
        }
    })
    .await
}

/// The body around it holds its key all the same.
#[tokio::test]
async fn a_call_with_the_outer_key_inside_of_it_is_reentrant() {
    let store = memory();
    let here = store.clone();
    let outer = batch(&store).run(async move {
        let again = here.clone();
        let inside = unprotected::<u32, Error>(&here)
            .run(async move { batch(&again).run(async { Ok(1) }).await });
        assert!(matches!(inside.await, Err(Error::Reentrant { .. })));
        Ok(7)
    });
    assert_eq!(outer.await.unwrap(), 7);
}

/// A body without a key is called from another's, and so is what it calls; each has its own
/// refusals.
#[tokio::test]
async fn its_refusals_are_not_those_of_the_body_around_it() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Declined;

    impl From<Error> for Declined {
        fn from(_: Error) -> Self {
            Self
        }
    }

    let (store, runs) = (memory(), AtomicU32::new(0));
    let busy = || operation::<Answer, _>("unprotected.busy", &[&"k"]).store(&store);
    let mut owner = Box::pin(busy().run(Effects::new().hang()));
    assert!(poll_once(&mut owner).is_pending());
    for _ in 0..2 {
        let outer = operation::<Result<u32, Declined>, _>("unprotected.batch", &[&"k"])
            .store(&store)
            .record_err()
            .on_err(OnErr::Record);
        let body = async {
            runs.fetch_add(1, Ordering::SeqCst);
            let inside = unprotected::<u32, Error>(&store).run_attached(async {
                let refused = busy().wait(Duration::ZERO).run(async { Ok(1) }).await;
                assert!(matches!(refused, Err(Error::InFlight { .. })));
                Ok(1)
            });
            assert_eq!(inside.await.unwrap(), 1);
            Err(Declined)
        };
        assert!(outer.run_attached(body).await.is_err());
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1, "it is recorded");
}

/// A body without a key that was stopped may be tried again, and then nothing is left of the
/// refusal.
#[tokio::test]
async fn a_stopped_one_is_a_refusal_to_the_body_around_it() {
    for again in [false, true] {
        let (store, runs) = (memory(), AtomicU32::new(0));
        for _ in 0..2 {
            let outer = operation::<Result<u32, String>, _>("unprotected.batch", &[&"k"])
                .store(&store)
                .map_err(|error| error.to_string())
                .record_err();
            let body = async {
                runs.fetch_add(1, Ordering::SeqCst);
                let call = unprotected::<u32, Error>(&store).timeout(TIMEOUT);
                call.run(std::future::pending()).await.unwrap_err();
                if again {
                    let call = unprotected::<u32, Error>(&store).run(async { Ok(1) });
                    call.await.unwrap();
                }
                Err("declined".to_owned())
            };
            assert_eq!(outer.run_attached(body).await.unwrap_err(), "declined");
        }
        let expected = if again { 1 } else { 2 };
        assert_eq!(runs.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn one_that_runs_for_too_long_is_stopped() {
    let store = memory();
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        for attached in [false, true] {
            let call = unprotected::<u32, Error>(&store)
                .timeout(TIMEOUT)
                .on_crash(on_crash);
            let body = Effects::new().hang();
            let stopped = async {
                if attached {
                    call.run_attached(body).await
                } else {
                    call.run(body).await
                }
            };
            let (answer, seen) = tokio::time::timeout(Duration::from_secs(20), observe(stopped))
                .await
                .expect("it is stopped");
            let error = answer.unwrap_err();
            assert!(
                matches!(error, Error::TimedOut { after: TIMEOUT, .. }),
                "{error:?}"
            );
            assert_eq!(error.is_retryable(), on_crash == OnCrash::Rerun);
            assert_eq!(error.operation().digest(), None);
            assert_eq!(seen.outcome, Observed::Refused);
        }
    }
    assert_eq!(store.counters().timed_out(), 4);
    let call = unprotected::<u32, Error>(&store).timeout(GENEROUS);
    let in_time = call.run(Effects::new().body(3)).await;
    assert_eq!(in_time.unwrap(), 1);
}

/// Who observes sees that a body ran, whatever that body calls; and it is counted apart.
#[tokio::test]
async fn it_is_observed_to_have_run() {
    let store = memory();
    for attached in [false, true] {
        let here = store.clone();
        let body = async move { batch(&here).run(async { Ok(1) }).await };
        let call = unprotected::<u32, Error>(&store);
        let (answer, seen) = if attached {
            observe(call.run_attached(body)).await
        } else {
            observe(call.run(body)).await
        };
        assert_eq!(answer.unwrap(), 1);
        assert_eq!((seen.outcome, seen.recorded), (Observed::Ran, false));
        assert_eq!((seen.attempt, seen.fencing_token), (None, None));
    }
    let call = unprotected::<u32, String>(&store).map_err(|error| error.to_string());
    let (answer, seen) = observe(call.run(async { Err("declined".to_owned()) })).await;
    assert_eq!(answer.unwrap_err(), "declined");
    assert_eq!((seen.outcome, seen.recorded), (Observed::Ran, false));
    let counts = store.counters().scope("unprotected");
    assert_eq!(
        (counts.unprotected, counts.ran, counts.refused()),
        (3, 0, 0)
    );
}

/// What is wrong with the program is found whatever the first client sends.
#[tokio::test]
async fn a_mistake_in_the_set_up_is_refused_as_it_is_with_a_key() {
    type Mistake = fn(Operation<u32, Error>) -> Operation<u32, Error>;
    let mistakes: [Mistake; 4] = [
        |call| call.timeout(Duration::ZERO),
        |call| call.ttl(Duration::ZERO),
        |call| call.lease(Duration::ZERO),
        |call| call.on_err(OnErr::Record),
    ];
    let store = memory();
    for mistaken in mistakes {
        let (effects, call) = (Effects::new(), || {
            mistaken(unprotected::<u32, Error>(&store))
        });
        let (answer, seen) = observe(call().run(effects.body(0))).await;
        assert!(matches!(answer, Err(Error::Config { .. })), "{answer:?}");
        assert_eq!(seen.outcome, Observed::Refused);
        let answer = call().run_attached(effects.body(0)).await;
        assert!(matches!(answer, Err(Error::Config { .. })), "{answer:?}");
        assert_eq!(effects.started(), 0);
    }
    assert_eq!(store.counters().misconfigured(), 8);
}

/// Two operations that would replay each other's results are found out by a call without a key,
/// too.
#[tokio::test]
async fn a_scope_that_two_operations_claim_is_refused() {
    let store = memory();
    let own = unprotected_unique(&store).run_attached(async { Ok(1) });
    assert_eq!(own.await.unwrap(), 1);
    let other = operation::<Answer, _>("unprotected.unique", &[optional_part(&None::<u32>)])
        .store(&store)
        .unique_scope()
        .run_attached(async { Ok(2) });
    let answer = other.await;
    assert!(matches!(answer, Err(Error::Config { .. })), "{answer:?}");
}

fn unprotected_unique(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("unprotected.unique", &[optional_part(&None::<u32>)])
        .store(store)
        .unique_scope()
}

/// Only timers need a runtime: without a record, nothing is left behind for one.
#[test]
fn a_runtime_is_needed_for_a_timeout_only() {
    fn ready(call: Operation<u32, Error>) -> Answer {
        let mut call = Box::pin(call.run(async { Ok(current().attempt()) }));
        match poll_once(&mut call) {
            std::task::Poll::Ready(answer) => answer,
            std::task::Poll::Pending => panic!("it waits for nothing"),
        }
    }

    let store = memory();
    assert_eq!(ready(unprotected::<u32, Error>(&store)).unwrap(), 1);
    let answer = ready(unprotected::<u32, Error>(&store).timeout(TIMEOUT));
    assert!(matches!(answer, Err(Error::Config { .. })), "{answer:?}");
}
