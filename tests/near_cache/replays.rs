//! What the near cache replays, and what it does not.

use std::{
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_once, poll_until, settled, until,
};
use idempotent_fn::{
    Error, OnCrash, OnErr, Operation, SharedStore, operation,
    operation::Resolution,
    store::{MemoryStore, NearCache},
};

/// A store elsewhere, a handle with a near cache and one without.
fn stores() -> (Faulty, SharedStore, SharedStore) {
    let faulty = Faulty::new();
    let plain = SharedStore::new(faulty.clone());
    (faulty, plain.with_near_cache(&NearCache::new()), plain)
}

/// The same store as another process has it, with a near cache of its own.
fn another_process(faulty: &Faulty) -> SharedStore {
    SharedStore::new(faulty.clone()).with_near_cache(&NearCache::new())
}

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("near", &[&"k"])
        .store(store)
        .wait(GENEROUS)
}

/// The answer, and how many commands were sent for it.
async fn call(
    operation: Operation<u32, Error>,
    faulty: &Faulty,
    effects: &Effects,
) -> (Answer, u32) {
    let before = faulty.sent_in_all();
    let answer = operation.run(effects.body(0)).await;
    (answer, faulty.sent_in_all() - before)
}

async fn value(store: &SharedStore, faulty: &Faulty, effects: &Effects) -> (u32, u32) {
    let (answer, sent) = call(charge(store), faulty, effects).await;
    (answer.unwrap(), sent)
}

#[tokio::test]
async fn a_result_recorded_here_is_replayed_without_the_store() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    assert_eq!(value(&near, &faulty, &effects).await, (1, 2));
    assert_eq!(value(&near, &faulty, &effects).await, (1, 0));
    let attached = charge(&near).run_attached(effects.body(0));
    assert_eq!(attached.await.unwrap(), 1);
    assert_eq!((faulty.sent_in_all(), effects.started()), (2, 1));
    assert!(near.near_cache_bytes() > 0);
}

#[tokio::test]
async fn a_result_of_another_process_is_asked_for_once() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    value(&another_process(&faulty), &faulty, &effects).await;
    assert_eq!(value(&near, &faulty, &effects).await, (1, 1));
    assert_eq!(value(&near, &faulty, &effects).await, (1, 0));
}

#[tokio::test]
async fn a_recorded_error_is_replayed_too() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    let charge = || {
        operation::<Result<u32, Declined>, _>("near", &[&"k"])
            .store(&near)
            .record_err()
    };
    for sent in [2, 2, 2] {
        let effects = effects.clone();
        let declined = charge().run(async move {
            effects.start();
            Err(Declined::Card)
        });
        assert_eq!(declined.await, Err(Declined::Card));
        assert_eq!(faulty.sent_in_all(), sent);
    }
    assert_eq!(effects.started(), 1);
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Declined {
    Card,
    Library(String),
}

impl From<Error> for Declined {
    fn from(error: Error) -> Self {
        Self::Library(error.to_string())
    }
}

/// powertools-python#3821: its local cache answered before the payload was compared.
#[tokio::test]
async fn another_payload_is_refused() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    let with = |payload: u32| charge(&near).fingerprint(&payload);
    assert_eq!(call(with(1), &faulty, &effects).await.0.unwrap(), 1);
    assert_eq!(call(with(1), &faulty, &effects).await.1, 0);
    for _ in 0..2 {
        let (answer, _) = call(with(2), &faulty, &effects).await;
        assert!(matches!(answer, Err(Error::KeyReused { .. })), "{answer:?}");
    }
    assert_eq!(call(with(1), &faulty, &effects).await.1, 0);
    assert_eq!(effects.started(), 1);
}

/// Its caller has it, but nobody else may rely on it: another attempt may yet be the one that is
/// recorded.
#[tokio::test]
async fn an_unrecorded_result_does_not_enter() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    faulty.always(Op::Finish, Fault::LostCommand);
    assert_eq!(value(&near, &faulty, &effects).await.0, 1);
    assert_eq!(near.counters().unrecorded(), 1);
    let (answer, sent) = call(charge(&near).wait(Duration::ZERO), &faulty, &effects).await;
    assert!(matches!(answer, Err(Error::InFlight { .. })), "{answer:?}");
    assert!(sent > 0);

    faulty.always(Op::Finish, Fault::None);
    settled(&near).await;
    assert_eq!(value(&near, &faulty, &effects).await, (1, 1));
    assert_eq!(value(&near, &faulty, &effects).await, (1, 0));
    assert_eq!(effects.started(), 1);
}

#[tokio::test]
async fn only_results_enter() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    // Released.
    let refused = charge(&near).run(async { Err(refusal().await) });
    assert!(refused.await.is_err());
    // Running.
    let mut owner: Pin<Box<dyn Future<Output = Answer>>> = Box::pin(
        charge(&near)
            .on_crash(OnCrash::Fail)
            .run_attached(effects.hang()),
    );
    poll_until(&mut owner, || effects.started() == 1).await;
    let (answer, _) = call(charge(&near).wait(Duration::ZERO), &faulty, &effects).await;
    assert!(matches!(answer, Err(Error::InFlight { .. })), "{answer:?}");
    // Lost.
    drop(owner);
    settled(&near).await;
    for _ in 0..2 {
        let (answer, sent) = call(charge(&near), &faulty, &effects).await;
        assert!(
            matches!(answer, Err(Error::Indeterminate { .. })),
            "{answer:?}"
        );
        assert_eq!(sent, 1);
    }
    assert_eq!(near.near_cache_bytes(), 0);
    let elsewhere = another_process(&faulty);
    charge(&elsewhere)
        .resolve(Resolution::Done(42))
        .await
        .unwrap();
    assert_eq!(value(&near, &faulty, &effects).await, (42, 1));
}

async fn refusal() -> Error {
    let store = SharedStore::new(MemoryStore::new());
    let call = operation::<Answer, _>("near", &[&""]).store(&store);
    call.run(async { Ok(0) }).await.unwrap_err()
}

#[tokio::test]
async fn forgetting_takes_effect_at_once_through_any_handle() {
    let (faulty, near, plain) = stores();
    let effects = Effects::new();
    let handles = [
        near.clone(),
        plain.clone(),
        near.with_max_result(10),
        plain.with_near_cache(&NearCache::new()),
    ];
    for (number, handle) in (1..).zip(&handles) {
        assert_eq!(value(&near, &faulty, &effects).await, (number, 2));
        assert_eq!(value(&near, &faulty, &effects).await, (number, 0));
        charge(handle).forget().await.unwrap();
    }
    assert_eq!(value(&near, &faulty, &effects).await, (5, 2));
}

/// Nobody knows whether it was carried out: then the store is asked.
#[tokio::test]
async fn forgetting_without_an_answer_takes_effect_as_far_as_it_goes() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    value(&near, &faulty, &effects).await;
    faulty.next(Op::Overrule, [Fault::LostReply]);
    charge(&near).forget().await.unwrap_err();
    assert_eq!(value(&near, &faulty, &effects).await.0, 2);

    let mut forget = Box::pin(charge(&near).forget());
    poll_until(&mut forget, || faulty.sent(Op::Overrule) == 2).await;
    // It is on its way, then carried out, and then the operator goes.
    assert!(poll_once(&mut forget).is_pending());
    drop(forget);
    assert_eq!(value(&near, &faulty, &effects).await.0, 3);
}

/// A call was shown the result, an operator forgets it, and only then does the call go on.
#[tokio::test]
async fn a_late_answer_does_not_undo_what_was_forgotten() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    value(&another_process(&faulty), &faulty, &effects).await;
    let mut late = Box::pin(charge(&near).run(effects.body(0)));
    // Sent, and carried out; the answer is on its way.
    assert!(poll_once(&mut late).is_pending() && poll_once(&mut late).is_pending());
    assert_eq!(faulty.sent(Op::Claim), 2);
    charge(&near).forget().await.unwrap();
    assert_eq!(late.await.unwrap(), 1, "it was asked before");
    assert_eq!(value(&near, &faulty, &effects).await.0, 2);
    assert_eq!(value(&near, &faulty, &effects).await, (2, 0));
}

/// Whoever comes after it asks for itself, with a near cache and without.
#[tokio::test]
async fn a_call_after_a_forget_does_not_share_an_answer_from_before() {
    for is_near in [true, false] {
        let (faulty, near, _) = stores();
        let store = if is_near {
            near
        } else {
            another_process(&faulty)
        };
        let effects = Effects::new();
        value(&another_process(&faulty), &faulty, &effects).await;
        let mut before = Box::pin(charge(&store).run(effects.body(0)));
        assert!(poll_once(&mut before).is_pending() && poll_once(&mut before).is_pending());
        charge(&store).forget().await.unwrap();
        let after = charge(&store).run(effects.body(0));
        let (after, before) = tokio::join!(after, before);
        assert_eq!((before.unwrap(), after.unwrap()), (1, 2));
    }
}

#[tokio::test]
async fn forgetting_elsewhere_takes_effect_after_max_age() {
    let faulty = Faulty::new();
    let options = NearCache::new().with_max_age(Duration::from_millis(500));
    let near = SharedStore::new(faulty.clone()).with_near_cache(&options);
    let effects = Effects::new();
    assert_eq!(value(&near, &faulty, &effects).await.0, 1);
    charge(&another_process(&faulty)).forget().await.unwrap();
    // However long this machine took so far: in the end it runs again.
    let patience = async {
        while value(&near, &faulty, &effects).await.0 == 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(GENEROUS, patience)
        .await
        .expect("max_age is over");

    let never =
        SharedStore::new(faulty.clone()).with_near_cache(&options.with_max_age(Duration::ZERO));
    for _ in 0..3 {
        assert_eq!(value(&never, &faulty, &effects).await, (2, 1));
    }
}

/// The store's own record is the measure: once it is gone, nothing is replayed.
#[tokio::test]
async fn no_result_outlives_the_stores_record() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    let short = || charge(&near).ttl(Duration::from_millis(400));
    assert_eq!(call(short(), &faulty, &effects).await.0.unwrap(), 1);
    let elsewhere = another_process(&faulty);
    let patience = async {
        while charge(&elsewhere).inspect().await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(GENEROUS, patience)
        .await
        .expect("it ends");
    assert_eq!(call(short(), &faulty, &effects).await.0.unwrap(), 2);
}

/// Clocks may be a minute apart: what is shown in its last minute is asked for each time.
#[tokio::test]
async fn what_another_process_recorded_is_not_kept_in_its_last_minute() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    let elsewhere = another_process(&faulty);
    let short = charge(&elsewhere).ttl(Duration::from_secs(59));
    assert_eq!(call(short, &faulty, &effects).await.0.unwrap(), 1);
    for _ in 0..2 {
        assert_eq!(value(&near, &faulty, &effects).await, (1, 1));
    }
    assert_eq!(near.near_cache_bytes(), 0);
}

/// A store that tells its time is believed, also where this machine's clock says otherwise.
#[tokio::test]
async fn what_another_process_recorded_ends_by_the_stores_clock() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let hour = Duration::from_secs(3600);
    let recorded = charge(&another_process(&faulty)).ttl(hour);
    assert_eq!(call(recorded, &faulty, &effects).await.0.unwrap(), 1);
    for (clock, sent) in [(now, 0), (now + hour * 99 / 100, 1)] {
        let clock = u64::try_from(clock.as_micros()).unwrap();
        let near = another_process(&faulty.clone().telling(clock));
        assert_eq!(value(&near, &faulty, &effects).await, (1, 1));
        assert_eq!(value(&near, &faulty, &effects).await, (1, sent));
    }
}

#[tokio::test]
async fn handles_of_one_store_share_it_and_namespaces_do_not_meet() {
    let (faulty, near, plain) = stores();
    let effects = Effects::new();
    let staging = near.with_namespace("staging");
    assert_eq!(value(&near, &faulty, &effects).await, (1, 2));
    assert_eq!(value(&staging, &faulty, &effects).await, (2, 2));
    for (store, sent) in [
        (&near, 0),
        (&staging, 0),
        (&near.with_max_result(1), 0),
        (&plain, 1),
    ] {
        assert_eq!(value(store, &faulty, &effects).await.1, sent);
    }
    charge(&staging).forget().await.unwrap();
    assert_eq!(value(&staging, &faulty, &effects).await.0, 3);
}

/// A grant, or somebody else's run, seen through any handle: the old result has gone.
#[tokio::test]
async fn what_the_store_said_last_is_what_is_known() {
    for runs_here in [true, false] {
        let (faulty, near, plain) = stores();
        let (effects, elsewhere) = (Effects::new(), another_process(&faulty));
        value(&near, &faulty, &effects).await;
        charge(&elsewhere).forget().await.unwrap();
        assert_eq!(value(&near, &faulty, &effects).await, (1, 0));
        let store = if runs_here { &plain } else { &elsewhere };
        let mut owner: Pin<Box<dyn Future<Output = Answer>>> =
            Box::pin(charge(store).run_attached(effects.body(3)));
        poll_until(&mut owner, || effects.started() == 2).await;
        let handles = if runs_here {
            vec![&near]
        } else {
            vec![&plain, &near]
        };
        for handle in handles {
            let (answer, _) = call(charge(handle).wait(Duration::ZERO), &faulty, &effects).await;
            assert!(matches!(answer, Err(Error::InFlight { .. })), "{answer:?}");
        }
        assert_eq!(owner.await.unwrap(), 2);
        assert_eq!(value(&near, &faulty, &effects).await, (2, 1));
    }
}

#[tokio::test]
async fn it_is_bounded_and_what_does_not_fit_is_asked_for() {
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let options = NearCache::new().with_max_bytes(4_000);
    let near = SharedStore::new(faulty.clone()).with_near_cache(&options);
    let charge = |order: u32| operation::<Answer, _>("near", &[&order]).store(&near);
    for order in 0..100 {
        let (answer, _) = call(charge(order), &faulty, &effects).await;
        assert_eq!(answer.unwrap(), order + 1);
        assert!(near.near_cache_bytes() <= 4_000);
    }
    let mut asked = 0;
    for order in 0..100 {
        let (answer, sent) = call(charge(order), &faulty, &effects).await;
        assert_eq!(answer.unwrap(), order + 1);
        asked += sent;
    }
    assert!((50..=100).contains(&asked), "{asked}");
    assert_eq!(effects.started(), 100);
}

#[tokio::test]
async fn a_store_in_this_process_needs_none() {
    let plain = SharedStore::new(MemoryStore::new());
    let near = plain.with_near_cache(&NearCache::new());
    let effects = Effects::new();
    for store in [&near, &plain, &near] {
        assert_eq!(charge(store).run(effects.body(0)).await.unwrap(), 1);
    }
    charge(&plain).forget().await.unwrap();
    assert_eq!(charge(&near).run(effects.body(0)).await.unwrap(), 2);
    assert_eq!(near.near_cache_bytes(), 0);
}

/// A body that was overtaken hands out its successor's result, and keeps that one.
#[tokio::test]
async fn a_stale_owner_keeps_its_successors_result() {
    let (faulty, near, _) = stores();
    let effects = Effects::new();
    let elsewhere = another_process(&faulty);
    let mut owner: Pin<Box<dyn Future<Output = Answer>>> =
        Box::pin(charge(&near).run_attached(effects.body(3)));
    poll_until(&mut owner, || effects.started() == 1).await;
    charge(&elsewhere).forget().await.unwrap();
    let next = charge(&elsewhere).run(async { Ok(8) });
    assert_eq!(next.await.unwrap(), 8);
    assert_eq!(owner.await.unwrap(), 8);
    until(|| near.near_cache_bytes() > 0).await;
    assert_eq!(value(&near, &faulty, &effects).await, (8, 0));
}

#[tokio::test]
async fn unknown_effects_are_not_hidden_by_an_old_result() {
    let (faulty, near, plain) = stores();
    let effects = Effects::new();
    value(&near, &faulty, &effects).await;
    charge(&plain).forget().await.unwrap();
    let unknown = charge(&plain)
        .on_err(OnErr::Fail)
        .run(async { Err(refusal().await) });
    assert!(unknown.await.is_err());
    let (answer, _) = call(charge(&near), &faulty, &effects).await;
    assert!(
        matches!(answer, Err(Error::Indeterminate { .. })),
        "{answer:?}"
    );
}
