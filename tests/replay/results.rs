//! The types that a result can have, and how each comes back.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    task::Poll,
    time::Duration,
};

use crate::common::{
    Answer, Effects, GENEROUS, poll_once,
    refusal::{ByHand, Refusal, declines},
};
use idempotent_fn::{
    Error, OnErr, SharedStore, operation,
    store::{ManualClock, MemoryStore},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

/// Runs once with `value`, replays twice, and compares.
async fn comes_back<T>(value: T)
where
    T: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + 'static,
{
    let (store, effects) = (memory(), Effects::new());
    for _ in 0..3 {
        let (effects, first) = (effects.clone(), value.clone());
        let answer = operation::<Result<T, Error>, _>("replay", &[&"k"])
            .store(&store)
            .run(async move {
                effects.start();
                Ok(first)
            });
        assert_eq!(answer.await.unwrap(), value);
    }
    assert_eq!(effects.started(), 1, "{value:?}");
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Empty,
    Wrapped(Option<u8>),
    Named { side: f64 },
}

/// Whatever the body answers: nothing is waited for, and nothing is put off.
#[tokio::test]
async fn in_memory_a_body_that_does_not_wait_is_answered_at_the_first_poll() {
    let store = memory();
    for answer in [Err("declined".to_owned()), Ok(7), Ok(7)] {
        let operation = operation::<Result<u32, String>, _>("replay", &[&"k"]).store(&store);
        let operation = operation.map_err(|error| error.to_string());
        let body = answer.clone();
        let mut call = Box::pin(operation.run(async move { body }));
        assert_eq!(poll_once(&mut call), Poll::Ready(answer.clone()));
    }
    assert_eq!(store.counters().ran(), 2);
}

#[tokio::test]
async fn nothing_replays_as_nothing() {
    comes_back(()).await;
    comes_back(Unit).await;
    comes_back(None::<u8>).await;
    comes_back(false).await;
    comes_back(0_u64).await;
    comes_back(0.0_f64).await;
    comes_back(String::new()).await;
    comes_back(Vec::<u8>::new()).await;
    comes_back(HashMap::<String, u8>::new()).await;
    comes_back(Vec::<()>::new()).await;
}

#[tokio::test]
async fn something_replays_as_itself() {
    comes_back(Some(false)).await;
    comes_back(u64::MAX).await;
    comes_back(i64::MIN).await;
    comes_back(i128::MIN).await;
    comes_back('\u{10ffff}').await;
    comes_back((1, "zwei".to_owned(), [3.5])).await;
    comes_back(Shape::Empty).await;
    comes_back(Shape::Wrapped(None)).await;
    comes_back(Shape::Named { side: -0.5 }).await;
    comes_back(Ok::<u8, String>(1)).await;
    comes_back(Err::<u8, String>("no".to_owned())).await;
    comes_back(BTreeMap::from([((1, 2), 'x')])).await;
}

#[tokio::test]
async fn a_recorded_err_is_replayed() {
    let (store, effects) = (memory(), Effects::new());
    for _ in 0..3 {
        let answer = operation::<Result<u32, Refusal>, _>("replay", &[&"k"])
            .store(&store)
            .record_err::<ByHand>()
            .run(declines(&effects));
        assert!(matches!(answer.await, Err(Refusal::Declined(1))));
    }
    assert_eq!(effects.started(), 1);
}

#[tokio::test]
async fn an_err_that_is_not_recorded_runs_again() {
    let (store, effects) = (memory(), Effects::new());
    for attempt in 1..4 {
        let answer = operation::<Result<u32, Refusal>, _>("replay", &[&"k"])
            .store(&store)
            .run(declines(&effects));
        assert!(matches!(answer.await, Err(Refusal::Declined(n)) if n == attempt));
    }
    assert_eq!(effects.started(), 3);
}

#[tokio::test]
async fn a_closure_decides_case_by_case() {
    fn classify(error: &Refusal) -> OnErr {
        match error {
            Refusal::Declined(2) => OnErr::Record,
            Refusal::Declined(_) => OnErr::Rerun,
            Refusal::Broken | Refusal::Library(_) => OnErr::Fail,
        }
    }
    let (store, effects) = (memory(), Effects::new());
    let call = |key: &'static str| {
        operation::<Result<u32, Refusal>, _>("replay", &[&key])
            .store(&store)
            .record_err::<ByHand>()
            .on_err_with(classify)
    };
    for expected in [1, 2, 2, 2] {
        let answer = call("k").run(declines(&effects)).await;
        assert!(
            matches!(answer, Err(Refusal::Declined(n)) if n == expected),
            "{answer:?}"
        );
    }
    let broken = call("broken").run(async { Err(Refusal::Broken) }).await;
    assert!(matches!(broken, Err(Refusal::Broken)));
    let next = call("broken").run(declines(&effects)).await;
    assert!(matches!(
        next,
        Err(Refusal::Library(Error::Indeterminate { .. }))
    ));
    assert_eq!(effects.started(), 2);
}

/// `OnErr::Record` for an error that has no bytes: done, without a result.
#[tokio::test]
async fn an_err_that_cannot_be_recorded_is_final_all_the_same() {
    let (store, effects) = (memory(), Effects::new());
    let call = || {
        operation::<Result<u32, Refusal>, _>("replay", &[&"k"])
            .store(&store)
            .record_err::<ByHand>()
    };
    let first = call().run(async { Err(Refusal::Broken) }).await;
    assert!(matches!(first, Err(Refusal::Broken)));
    let next = call().run(declines(&effects)).await;
    assert!(
        matches!(&next, Err(Refusal::Library(Error::NotRecorded { reason, .. })) if reason.contains("it cannot be encoded")),
        "{next:?}"
    );
    assert_eq!(effects.started(), 0);
}

/// A `ttl` that panics ends the call as encoding that panics does, and the record says which it may
/// have been.
#[tokio::test]
async fn a_ttl_that_panics_is_named_in_the_record() {
    let (store, effects) = (memory(), Effects::new());
    let call = || operation::<Answer, _>("replay", &[&"k"]).store(&store);
    let panics = call().ttl_with(|_| panic!("as it may"));
    let ended = tokio::spawn(panics.run(effects.body(0))).await;
    assert!(ended.unwrap_err().is_panic());
    let next = call().run(effects.body(0)).await;
    assert!(
        matches!(&next, Err(Error::NotRecorded { reason, .. }) if reason.contains("`ttl`")),
        "{next:?}"
    );
    assert_eq!(effects.started(), 1);
}

/// How long that takes, whoever reads the error wants to know.
#[tokio::test]
async fn a_full_store_says_when_records_leave_it() {
    let store = SharedStore::new(MemoryStore::bounded(1));
    let call = |key: u32| operation::<Answer, _>("replay", &[&key]).store(&store);
    call(1).run(async { Ok(1) }).await.unwrap();
    let error = call(2).run(async { Ok(1) }).await.unwrap_err();
    let expected = "some time after the end of their `ttl`: 30 s, or twice their lease";
    assert!(error.to_string().contains(expected), "{error}");
}

#[tokio::test]
async fn recording_an_err_without_saying_how_is_refused_before_the_body() {
    let (store, effects) = (memory(), Effects::new());
    let answer = operation::<Answer, _>("replay", &[&"k"])
        .store(&store)
        .on_err(OnErr::Record)
        .run(effects.body(0));
    assert!(
        matches!(answer.await, Err(Error::Config { reason, .. }) if reason.contains("record_err"))
    );
    assert_eq!(effects.started(), 0);
}

#[tokio::test]
async fn a_result_ends_with_its_ttl() {
    let clock = ManualClock::new();
    let store = SharedStore::new(MemoryStore::with_clock(&clock));
    let (effects, ttl) = (Effects::new(), Duration::from_secs(60));
    let call = || {
        let operation = operation::<Answer, _>("replay", &[&"k"]).store(&store);
        operation.ttl(ttl).run(effects.body(0))
    };
    assert_eq!(call().await.unwrap(), 1);
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(call().await.unwrap(), 1);
    clock.advance(Duration::from_millis(1));
    assert_eq!(call().await.unwrap(), 2, "a replay does not lengthen it");
    clock.advance(ttl / 2);
    assert_eq!(call().await.unwrap(), 2, "it is counted from completion");
}

/// Calls by hand share a scope; annotated functions do not.
#[tokio::test]
async fn one_scope_belongs_to_one_place() {
    let (store, effects) = (memory(), Effects::new());
    let by_hand = || operation::<Answer, _>("replay.scope", &[&"k"]).store(&store);
    assert_eq!(by_hand().run(effects.body(0)).await.unwrap(), 1);
    let first = || {
        let operation = operation::<Answer, _>("replay.scope", &[&"k"]).store(&store);
        operation.unique_scope().run(effects.body(0))
    };
    for _ in 0..2 {
        assert_eq!(first().await.unwrap(), 1, "one place, however often");
    }
    let second_line = line!() + 1;
    let second = operation::<Answer, _>("replay.scope", &[&"k"]).unique_scope();
    let error = second.store(&store).run(effects.body(0)).await.unwrap_err();
    let Error::Config { reason, .. } = &error else {
        panic!("{error:?}");
    };
    let places: Vec<_> = reason.match_indices(file!()).collect();
    assert_eq!(places.len(), 2, "both places are named: {reason}");
    assert!(reason.contains(&format!(":{second_line}:")), "{reason}");
    assert_eq!(by_hand().run(effects.body(0)).await.unwrap(), 1);
    assert_eq!(effects.started(), 1);
}

/// A duplicate's waiting never shows in what it gets.
#[tokio::test]
async fn a_waiter_gets_the_recorded_result() {
    let (store, effects) = (memory(), Effects::new());
    let call = || {
        let operation = operation::<Answer, _>("replay", &[&"k"]).store(&store);
        operation.wait(GENEROUS).run(effects.body(3))
    };
    let mut owner = Box::pin(call());
    assert!(poll_once(&mut owner).is_pending());
    let waiter = tokio::spawn(call());
    assert_eq!(owner.await.unwrap(), 1);
    assert_eq!(waiter.await.unwrap().unwrap(), 1);
}
