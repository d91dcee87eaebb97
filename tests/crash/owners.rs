//! An owner panics, falls silent, or comes back late.

use std::{sync::Arc, time::Duration};

use super::{Call, LEASE, held, store};
use crate::common::{
    Answer, Effects, GENEROUS, faulty::Faulty, poll_once, poll_until, settled, until, yields,
};
use idempotent_fn::{
    Error, OnCrash, OnErr, Operation, RerunOrFail, SharedStore, error::BodyRan, key::optional_part,
    operation, record::State, store::MemoryStore,
};

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("crash", &[&"k"])
        .store(store)
        .lease(LEASE)
        .wait(GENEROUS)
}

/// A body that panics once it has started.
async fn panics(effects: Effects) -> Answer {
    effects.start();
    yields(1).await;
    panic!("the test's own panic")
}

#[tokio::test]
async fn a_panic_frees_the_key_under_rerun() {
    let (store, _) = store();
    let effects = Effects::new();
    let first = tokio::spawn(charge(&store).run(panics(effects.clone())));
    assert!(first.await.unwrap_err().is_panic());
    let next = charge(&store).wait(Duration::ZERO).run(effects.body(0));
    assert_eq!(next.await.unwrap(), 1);
    assert_eq!(effects.started(), 2);
    settled(&store).await;
}

/// Whoever polls the body gets its panic; the operator gets a count of it, whichever way it was
/// polled.
#[tokio::test]
async fn a_panic_is_counted_once_wherever_it_comes_from() {
    let stores = [
        SharedStore::new(MemoryStore::new()),
        SharedStore::new(Faulty::new()),
    ];
    for store in stores {
        let effects = Effects::new();
        let mut panicked = 0;
        let mut calls: Vec<Call> = Vec::new();
        for at_once in [true, false] {
            let body = || {
                let effects = effects.clone();
                async move {
                    effects.start();
                    if !at_once {
                        tokio::task::yield_now().await;
                    }
                    panic!("the test's own panic")
                }
            };
            calls.push(Box::pin(charge(&store).run(body())));
            calls.push(Box::pin(charge(&store).run_attached(body())));
            let none = operation::<Answer, _>("crash", &[optional_part(&None::<u32>)]);
            calls.push(Box::pin(none.store(&store).run(body())));
            let none = operation::<Answer, _>("crash", &[optional_part(&None::<u32>)]);
            calls.push(Box::pin(none.store(&store).run_attached(body())));
        }
        let fails = || charge(&store).on_err_with(|_: &Error| -> RerunOrFail { panic!("on_err") });
        calls.push(Box::pin(fails().run(async { Err(charge_error()) })));
        let ttl = || charge(&store).ttl_with(|_| panic!("ttl"));
        calls.push(Box::pin(ttl().run(async { Ok(1) })));
        for call in calls {
            let _ = charge(&store).forget().await;
            assert!(tokio::spawn(call).await.unwrap_err().is_panic());
            settled(&store).await;
            panicked += 1;
            let counts = store.counters().all();
            assert_eq!(
                (counts.panicked, counts.ran, counts.unprotected),
                (panicked, 0, 0)
            );
        }
        charge(&store).forget().await.unwrap();
        let left = Arc::new(tokio::sync::Notify::new());
        let (go_on, body) = (Arc::clone(&left), effects.clone());
        let mut call: Call = Box::pin(charge(&store).run(async move {
            body.start();
            go_on.notified().await;
            panic!("nobody is there")
        }));
        let started = effects.started();
        poll_until(&mut call, || effects.started() > started).await;
        drop(call);
        left.notify_one();
        until(|| store.counters().panicked() == panicked + 1).await;
    }
}

#[tokio::test]
async fn a_panic_leaves_the_key_in_doubt_under_fail() {
    let (store, _) = store();
    let effects = Effects::new();
    let call = || charge(&store).on_crash(OnCrash::Fail);
    let first = tokio::spawn(call().run(panics(effects.clone())));
    assert!(first.await.unwrap_err().is_panic());
    for _ in 0..2 {
        let next = call().run(effects.body(0)).await;
        assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}");
    }
    assert_eq!(effects.started(), 1);
    settled(&store).await;
}

#[tokio::test]
async fn an_attached_panic_means_the_same() {
    for (on_crash, runs) in [(OnCrash::Rerun, 2), (OnCrash::Fail, 1)] {
        let (store, _) = store();
        let effects = Effects::new();
        let body = panics(effects.clone());
        let first = tokio::spawn(charge(&store).on_crash(on_crash).run_attached(body));
        assert!(first.await.unwrap_err().is_panic());
        let next = charge(&store).on_crash(on_crash).run(effects.body(0)).await;
        assert_eq!(next.is_ok(), on_crash == OnCrash::Rerun, "{next:?}");
        assert_eq!(effects.started(), runs);
    }
}

#[tokio::test]
async fn a_silent_owner_is_overtaken_under_rerun() {
    let (store, clock) = store();
    let (lost, effects) = (Effects::new(), Effects::new());
    std::mem::forget(held(charge(&store), &lost));

    clock.advance(Duration::from_millis(29_999));
    let early = charge(&store).wait(Duration::ZERO).run(effects.body(0));
    let early = early.await.unwrap_err();
    assert_eq!(early.lease_left(), Some(Duration::from_millis(1)));
    assert_eq!(effects.started(), 0, "the lease has not lapsed yet");

    clock.advance(Duration::from_millis(1));
    assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
    assert_eq!(store.counters().taken_over(), 1);
    assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
    assert_eq!((lost.finished(), effects.started()), (0, 1));
}

#[tokio::test]
async fn a_waiter_takes_over_when_the_lease_lapses() {
    let (store, clock) = store();
    let (lost, effects) = (Effects::new(), Effects::new());
    std::mem::forget(held(charge(&store), &lost));
    let mut waiter: Call = Box::pin(charge(&store).run(effects.body(0)));
    for _ in 0..5 {
        assert!(poll_once(&mut waiter).is_pending());
        tokio::task::yield_now().await;
    }
    clock.advance(LEASE);
    assert_eq!(waiter.await.unwrap(), 1);
}

#[tokio::test]
async fn a_silent_owner_leaves_the_key_in_doubt_under_fail() {
    let (store, clock) = store();
    let effects = Effects::new();
    let call = || charge(&store).on_crash(OnCrash::Fail);
    std::mem::forget(held(call(), &effects));
    clock.advance(LEASE);
    for _ in 0..2 {
        let next = call().run(effects.body(0)).await;
        assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}");
    }
    assert_eq!((effects.started(), effects.finished()), (1, 0));
}

#[tokio::test]
async fn a_takeover_grants_twice_the_lease_up_to_eight_times() {
    let (store, clock) = store();
    let effects = Effects::new();
    for growth in [1, 2, 4, 8, 8] {
        let mut owner: Call = Box::pin(charge(&store).run(effects.hang()));
        assert!(poll_once(&mut owner).is_pending());
        let seen = charge(&store).inspect().await.unwrap().unwrap();
        assert_eq!(seen.lease_left, LEASE * growth);
        std::mem::forget(owner);
        clock.advance(LEASE * growth);
    }
    assert_eq!(effects.started(), 5);
}

#[tokio::test]
async fn a_late_owner_is_refused_and_gets_its_successors_result() {
    let (store, clock) = store();
    let (late, effects) = (Effects::new(), Effects::new());
    let owner = held(charge(&store), &late);
    clock.advance(LEASE);
    let successor = charge(&store).run(async { Ok(77) });
    assert_eq!(successor.await.unwrap(), 77);

    assert_eq!(owner.await.unwrap(), 77, "never its own value");
    assert_eq!(late.finished(), 1, "it did run to its end");
    assert_eq!(store.counters().stale(), 1);
    assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 77);
    assert_eq!(effects.started(), 0);
}

#[tokio::test]
async fn a_late_owner_waits_for_a_successor_that_runs() {
    let (store, clock) = store();
    let late = Effects::new();
    let owner = held(charge(&store), &late);
    clock.advance(LEASE);
    let (go, gone) = tokio::sync::oneshot::channel();
    let body = async move { Ok(gone.await.unwrap()) };
    let mut successor: Call = Box::pin(charge(&store).run(body));
    assert!(poll_once(&mut successor).is_pending());

    let owner = tokio::spawn(owner);
    until(|| store.counters().stale() == 1).await;
    assert!(!owner.is_finished());
    go.send(78).unwrap();
    assert_eq!(successor.await.unwrap(), 78);
    assert_eq!(owner.await.unwrap().unwrap(), 78);
}

#[tokio::test]
async fn a_late_owner_is_superseded_where_there_is_no_result() {
    for wait in [Duration::ZERO, GENEROUS] {
        let (store, clock) = store();
        let late = Effects::new();
        let owner = held(charge(&store).wait(wait), &late);
        clock.advance(LEASE);
        let mut successor: Call = if wait.is_zero() {
            Box::pin(charge(&store).run(std::future::pending()))
        } else {
            let failed = async { Err(charge_error()) };
            Box::pin(charge(&store).run(failed))
        };
        assert_eq!(poll_once(&mut successor).is_pending(), wait.is_zero());
        let answer = owner.await.unwrap_err();
        assert!(matches!(answer, Error::Superseded { .. }), "{answer:?}");
        assert!(answer.is_retryable());
        assert_eq!(answer.body_ran(), BodyRan::Yes);
    }
}

/// Some error that an operation can return.
fn charge_error() -> Error {
    let operation = operation::<Answer, _>("", &[&"k"]);
    let mut refused: Call = Box::pin(operation.run(async { Ok(0) }));
    match poll_once(&mut refused) {
        std::task::Poll::Ready(Err(error)) => error,
        answer => panic!("an empty scope is refused, not {answer:?}"),
    }
}

#[tokio::test]
async fn an_owner_that_was_only_slow_keeps_its_key() {
    let (store, clock) = store();
    let late = Effects::new();
    let owner = held(charge(&store), &late);
    clock.advance(LEASE * 10);
    assert_eq!(owner.await.unwrap(), 1, "nobody has asked in between");
    assert_eq!(store.counters().stale(), 0);
}

#[tokio::test]
async fn a_lost_key_is_settled_by_its_owners_late_finish() {
    let (store, clock) = store();
    let effects = Effects::new();
    let call = || charge(&store).on_crash(OnCrash::Fail);
    let owner = held(call(), &effects);
    clock.advance(LEASE);
    let next = call().run(effects.body(0)).await;
    assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}");
    assert_eq!(owner.await.unwrap(), 1);
    assert_eq!(call().run(effects.body(0)).await.unwrap(), 1);
    assert_eq!(effects.started(), 1);
}

#[tokio::test]
async fn an_err_under_fail_is_in_doubt_unless_the_author_says_otherwise() {
    let (store, _) = store();
    let fails = || async { Err(charge_error()) };
    let call = || charge(&store).on_crash(OnCrash::Fail);
    assert!(call().on_err(OnErr::Rerun).run(fails()).await.is_err());
    let seen = call().inspect().await.unwrap().unwrap();
    assert_eq!(seen.state, State::Failed);
    assert!(call().run(fails()).await.is_err());
    let next = call().run(async { Ok(1) }).await;
    assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}");
}
