//! Spans and events: one span per call, one event per step of it, and never a key.
#![cfg(feature = "tracing")]

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "axum")]
mod http;
mod log;

use std::{pin::Pin, time::Duration};

use common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_once, poll_until, settled,
};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, operation,
    store::{ManualClock, MemoryStore},
};
use log::Log;

/// In every key, so that it would show.
const SECRET: &str = "customer-4711@example.com";
const LEASE: Duration = Duration::from_secs(30);

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("tracing.charge", &[&SECRET])
        .store(store)
        .lease(LEASE)
        .wait(GENEROUS)
}

fn memory() -> (SharedStore, ManualClock) {
    let clock = ManualClock::new();
    (SharedStore::new(MemoryStore::with_clock(&clock)), clock)
}

#[tokio::test]
async fn a_call_has_one_span_with_its_outcome() {
    let (log, _guard) = Log::start();
    for store in [memory().0, SharedStore::new(Faulty::new())] {
        let effects = Effects::new();
        for outcome in ["ran", "replayed"] {
            charge(&store).run(effects.body(2)).await.unwrap();
            log.call(&[outcome], outcome);
        }
        charge(&store).forget().await.unwrap();
        for outcome in ["ran", "replayed"] {
            charge(&store).run_attached(effects.body(2)).await.unwrap();
            log.call(&[outcome], outcome);
        }
    }
    log.shows_no(SECRET);
}

#[tokio::test]
async fn an_err_ran_and_says_that_it_is_not_recorded() {
    let (log, _guard) = Log::start();
    let store = memory().0;
    let operation = operation::<Result<u32, String>, _>("tracing.charge", &[&SECRET]);
    let operation = operation.store(&store).map_err(|error| error.to_string());
    let answer = operation.run(async { Err("declined".to_owned()) }).await;
    assert!(answer.is_err());
    let turns = log.call(&["ran"], "ran");
    assert_eq!(turns.field("ran", "recorded"), "false");
}

#[tokio::test]
async fn a_duplicate_waited_and_replayed() {
    let link = Faulty::new();
    let linked = SharedStore::new(link.clone());
    for (here, there) in [
        (memory().0, None),
        (linked.clone(), None),
        (linked, Some(SharedStore::new(link))),
    ] {
        let there = there.unwrap_or_else(|| here.clone());
        charge(&here).forget().await.unwrap();
        let effects = Effects::new();
        let mut owner: Call = Box::pin(charge(&there).run(effects.body(60)));
        poll_until(&mut owner, || effects.started() == 1).await;
        let (log, guard) = Log::start();
        let mut waiter: Call = Box::pin(charge(&here).run(effects.body(0)));
        for _ in 0..10 {
            assert!(poll_once(&mut waiter).is_pending());
        }
        drop(guard);
        assert_eq!(owner.await.unwrap(), 1);
        let _guard = log.resume();
        assert_eq!(waiter.await.unwrap(), 1);
        log.call(&["waited", "replayed"], "replayed");
        log.shows_no(SECRET);
    }
}

#[tokio::test]
async fn a_takeover_and_a_stale_owner() {
    let (store, clock) = memory();
    let (owner_log, guard) = Log::start();
    let mut owner: Call = Box::pin(charge(&store).run(Effects::new().body(1)));
    assert!(poll_once(&mut owner).is_pending());
    clock.advance(LEASE);
    drop(guard);

    let (log, guard) = Log::start();
    charge(&store).run(async { Ok(7) }).await.unwrap();
    let turns = log.call(&["taken over", "ran"], "ran");
    assert_eq!(turns.field("taken over", "attempt"), "2");
    drop(guard);

    let _guard = owner_log.resume();
    assert_eq!(owner.await.unwrap(), 7);
    owner_log.call(&["stale", "replayed"], "replayed");
    owner_log.shows_no(SECRET);
    log.shows_no(SECRET);
}

#[tokio::test]
async fn an_unrecorded_result() {
    let (log, _guard) = Log::start();
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let store = SharedStore::new(faulty.clone());
    faulty.next(Op::Finish, [Fault::LostCommand]);
    charge(&store).run(effects.body(0)).await.unwrap();
    settled(&store).await;
    let turns = log.call(&["unrecorded", "ran"], "ran");
    assert_eq!(turns.field("ran", "recorded"), "false");
    assert!(turns.field("unrecorded", "error").contains("the link"));
    log.shows_no(SECRET);
}

#[tokio::test]
async fn refusals() {
    let (store, effects) = (memory().0, Effects::new());
    let call = |amount: u32| charge(&store).fingerprint(&amount);
    call(1).run(effects.body(0)).await.unwrap();
    let (log, _guard) = Log::start();
    call(2).run(effects.body(0)).await.unwrap_err();
    let turns = log.call(&["refused"], "refused");
    assert!(turns.field("refused", "error").contains("another payload"));

    charge(&store).forget().await.unwrap();
    let doubt = || charge(&store).on_crash(OnCrash::Fail);
    let mut owner: Call = Box::pin(doubt().run_attached(effects.hang()));
    assert!(poll_once(&mut owner).is_pending());
    assert_eq!(log.take_spans(), 1);
    let duplicate = doubt().wait(Duration::ZERO).run(effects.body(0));
    duplicate.await.unwrap_err();
    log.call(&["refused"], "refused");
    drop(owner);
    doubt().run(effects.body(0)).await.unwrap_err();
    log.call(&["refused"], "refused");
    log.shows_no(SECRET);
}

/// An outage is an error, and says where and why; a duplicate is nothing to look at.
#[tokio::test]
async fn a_refusal_is_as_loud_as_it_is_grave() {
    let faulty = Faulty::new();
    let (store, effects) = (SharedStore::new(faulty.clone()), Effects::new());
    let (log, _guard) = Log::start();
    faulty.next(Op::Claim, [Fault::Refused]);
    charge(&store).run(effects.body(0)).await.unwrap_err();
    let turns = log.call(&["refused"], "refused");
    assert_eq!(turns.field("refused", "level"), "ERROR");
    assert!(
        turns
            .field("refused", "error")
            .contains("the link has a fault")
    );

    charge(&store)
        .lease(Duration::ZERO)
        .run(effects.body(0))
        .await
        .unwrap_err();
    assert_eq!(log.events(), ["refused"]);
    assert_eq!(log.take_events()[0]["level"], "ERROR");
    log.take_spans();

    let mut owner: Call = Box::pin(
        charge(&store)
            .on_crash(OnCrash::Fail)
            .run_attached(effects.hang()),
    );
    poll_until(&mut owner, || effects.started() == 1).await;
    log.take_spans();
    let duplicate = charge(&store).wait(Duration::ZERO);
    duplicate.run(effects.body(0)).await.unwrap_err();
    let turns = log.call(&["waited", "refused"], "refused");
    assert_eq!(turns.field("refused", "level"), "INFO");

    drop(owner);
    settled(&store).await;
    log.take_events();
    charge(&store).run(effects.body(0)).await.unwrap_err();
    let turns = log.call(&["refused"], "refused");
    assert_eq!(turns.field("refused", "level"), "WARN");
}

/// The body's own events are inside of the call's span, and those after a drop still are.
#[tokio::test]
async fn a_body_is_inside_of_its_span_also_after_the_drop() {
    let (log, _guard) = Log::start();
    let store = memory().0;
    let mut call: Call = Box::pin(charge(&store).run(async {
        tracing::info!("before");
        common::yields(1).await;
        tracing::info!("after");
        Ok(1)
    }));
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    settled(&store).await;
    log.call(&["before", "after", "ran"], "ran");
}

/// A claim that is released because nobody waits for it any more refuses nobody.
#[tokio::test]
async fn a_released_claim_refuses_nobody() {
    let (log, _guard) = Log::start();
    let (store, effects) = (SharedStore::new(Faulty::new()), Effects::new());
    let mut call: Call = Box::pin(charge(&store).run(effects.body(0)));
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    settled(&store).await;
    assert_eq!(effects.started(), 0);
    assert_eq!(log.events(), [] as [&str; 0]);
}

/// A key that itself is refused is not shown either.
#[tokio::test]
async fn a_bad_key_is_not_shown() {
    let (log, _guard) = Log::start();
    let bad = operation::<Answer, _>("tracing.charge", &[&SECRET, &""]);
    bad.run(async { Ok(1) }).await.unwrap_err();
    assert_eq!(log.events(), ["refused"]);
    log.shows_no(SECRET);
}

/// Of a panic, whoever polls gets the panic, and whoever reads the log gets an event.
#[tokio::test]
async fn a_panic_is_reported() {
    let (log, _guard) = Log::start();
    for store in [memory().0, SharedStore::new(Faulty::new())] {
        for pauses in [0, 1] {
            for attached in [false, true] {
                let body = async move {
                    common::yields(pauses).await;
                    panic!("the test's own panic")
                };
                let call: Call = if attached {
                    Box::pin(charge(&store).run_attached(body))
                } else {
                    Box::pin(charge(&store).run(body))
                };
                assert!(tokio::spawn(call).await.unwrap_err().is_panic());
                settled(&store).await;
                let turns = log.call(&["panicked"], "panicked");
                assert_eq!(turns.field("panicked", "level"), "ERROR");
            }
        }
    }
    log.shows_no(SECRET);
}

/// Heartbeats ride in the call's own future, so a body that blocks its thread starves them: that is
/// reported.
#[tokio::test]
async fn a_body_that_blocks_its_thread_is_reported() {
    let lease = Duration::from_millis(300);
    let link = Faulty::around(MemoryStore::with_clock(&ManualClock::new()));
    let store = SharedStore::new(link.clone());
    let (log, _guard) = Log::start();
    let body = async move {
        common::yields(1).await; // the first heartbeat is due a third of the lease from here
        std::thread::sleep(lease);
        while link.sent(Op::Renew) == 0 {
            tokio::task::yield_now().await;
        }
        Ok(1)
    };
    assert_eq!(charge(&store).lease(lease).run(body).await.unwrap(), 1);
    let late = |event: &String| event.starts_with("heartbeat late");
    assert!(log.events().iter().any(late), "{:?}", log.events());
    log.shows_no(SECRET);
}
