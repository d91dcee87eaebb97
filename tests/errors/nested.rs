//! This library's own errors are never a final result: a body that fails because a nested call was
//! refused may run again.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::common::{
    Answer, Effects,
    faulty::{Fault, Faulty, Op},
    poll_once, settled,
};
use idempotent_fn::{
    Error, OnCrash, OnErr, Operation, SharedStore,
    codec::{Codec, Json, MessagePack},
    key::optional_part,
    operation,
    operation::Resolution,
    operation_with_codec,
    store::MemoryStore,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
enum Failure {
    #[error("declined")]
    Declined,
    #[error("inner: {0}")]
    Idempotency(#[from] Error),
    #[error("said: {0}")]
    Text(String),
}

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

fn inner(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("nested.inner", &[&"k"])
        .store(store)
        .wait(Duration::ZERO)
}

fn outer(store: &SharedStore) -> Operation<u32, Failure> {
    operation::<Result<u32, Failure>, _>("nested.outer", &[&"k"])
        .store(store)
        .wait(Duration::ZERO)
}

/// A call of `inner` that is under way until it is dropped.
fn busy(store: &SharedStore) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> {
    let mut busy: std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> =
        Box::pin(inner(store).run_attached(Effects::new().hang()));
    assert!(poll_once(&mut busy).is_pending());
    busy
}

type Outer = fn(Operation<u32, Failure>) -> Operation<u32, Failure>;

/// All the ways in which an `Err` is final.
const FINAL: [Outer; 3] = [
    |outer| outer.record_err(),
    |outer| outer.record_err().on_err(OnErr::Record),
    |outer| outer.record_err().on_err_with(|_| OnErr::Record),
];

/// What bodies make of a refusal.
const BODIES: [fn(Error) -> Failure; 3] = [
    Failure::Idempotency,
    |error| Failure::Text(error.to_string()),
    |_| Failure::Declined,
];

#[tokio::test]
async fn a_refused_call_of_the_body_is_no_final_result() {
    for is_final in FINAL {
        for fails in BODIES {
            let (store, runs) = (memory(), AtomicU32::new(0));
            let call = async |fails: fn(Error) -> Failure| {
                let store = &store;
                let body = async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    inner(store).run(async { Ok(7) }).await.map_err(fails)
                };
                is_final(outer(store)).run_attached(body).await
            };
            let owner = busy(&store);
            for _ in 0..2 {
                let refused = call(fails).await.expect_err("the inner one is in flight");
                assert!(!matches!(
                    refused,
                    Failure::Idempotency(Error::NotRecorded { .. })
                ));
            }
            drop(owner);
            assert_eq!(call(fails).await.expect("the inner one is free"), 7);
            assert_eq!(call(fails).await.expect("it is recorded"), 7);
            assert_eq!(runs.load(Ordering::SeqCst), 3);
            settled(&store).await;
        }
    }
}

/// A look or a decision by hand that a body makes, and that is refused for now.
#[tokio::test]
async fn a_refused_look_or_decision_of_the_body_is_no_final_result() {
    type ByHand =
        fn(Operation<u32, Error>) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
    let by_hand: [ByHand; 4] = [
        |operation| Box::pin(async { operation.inspect().await.map(drop) }),
        |operation| Box::pin(operation.forget()),
        |operation| Box::pin(operation.resolve(Resolution::Rerun)),
        |operation| Box::pin(operation.resolve_unseen(Resolution::Done(7))),
    ];
    for by_hand in by_hand {
        for fails in BODIES {
            let (store, faulty, runs) = (memory(), Faulty::new(), AtomicU32::new(0));
            let down = SharedStore::new(faulty.clone());
            inner(&down)
                .run(async { Err(refusal()) })
                .await
                .unwrap_err();
            let call = async || {
                let body = async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    by_hand(inner(&down)).await.map_err(fails)?;
                    Err(Failure::Declined)
                };
                outer(&store).record_err().run_attached(body).await
            };
            faulty.always(Op::Read, Fault::Refused);
            for _ in 0..2 {
                call().await.expect_err("the store is down");
            }
            faulty.always(Op::Read, Fault::None);
            for _ in 0..2 {
                let answer = call().await;
                assert!(matches!(answer, Err(Failure::Declined)), "{answer:?}");
            }
            assert_eq!(runs.load(Ordering::SeqCst), 3);
        }
    }
}

/// Tried again within the body, a look that succeeds is no refusal any more. It does not make up
/// for a refused call.
#[tokio::test]
async fn a_look_that_succeeds_takes_back_a_refused_look_and_no_refused_call() {
    for calls in [false, true] {
        let (store, faulty, runs) = (memory(), Faulty::new(), AtomicU32::new(0));
        let elsewhere = SharedStore::new(faulty.clone());
        let in_use = memory();
        let owner = busy(&in_use);
        for _ in 0..2 {
            let body = async {
                runs.fetch_add(1, Ordering::SeqCst);
                if calls {
                    inner(&in_use).run(async { Ok(7) }).await.unwrap_err();
                }
                faulty.always(Op::Read, Fault::Refused);
                inner(&elsewhere).inspect().await.unwrap_err();
                faulty.always(Op::Read, Fault::None);
                inner(&elsewhere).inspect().await.unwrap();
                Err(Failure::Declined)
            };
            let answer = outer(&store).record_err().run_attached(body).await;
            assert!(matches!(answer, Err(Failure::Declined)), "{answer:?}");
        }
        assert_eq!(runs.load(Ordering::SeqCst), if calls { 2 } else { 1 });
        drop(owner);
    }
}

/// The same where a call between them has made a text, or a decline, of the refusal.
#[tokio::test]
async fn a_call_refused_two_levels_below_is_no_final_result() {
    for middle_has_key in [true, false] {
        for fails in BODIES {
            let (store, runs) = (memory(), AtomicU32::new(0));
            let call = async || {
                let store = &store;
                let middle = async || {
                    let key = middle_has_key.then_some("k");
                    let middle = operation::<Result<u32, Failure>, _>(
                        "nested.middle",
                        &[optional_part(&key)],
                    );
                    let body = async { inner(store).run(async { Ok(7) }).await.map_err(fails) };
                    middle.store(store).run_attached(body).await
                };
                let body = async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    middle().await.map_err(|_| Failure::Declined)
                };
                outer(store).record_err().run_attached(body).await
            };
            let owner = busy(&store);
            for _ in 0..2 {
                call().await.expect_err("the innermost one is in flight");
            }
            drop(owner);
            assert_eq!(call().await.expect("the innermost one is free"), 7);
            assert_eq!(call().await.expect("it is recorded"), 7);
            assert_eq!(runs.load(Ordering::SeqCst), 3);
        }
    }
}

/// The same where the refused call is made in a task, which does not know its body: what the error
/// carries tells.
#[tokio::test]
async fn an_error_that_carries_one_of_ours_is_no_final_result_wherever_it_comes_from() {
    for is_final in FINAL {
        let store = memory();
        let owner = busy(&store);
        let here = store.clone();
        let spawned = async move {
            let call = tokio::spawn(inner(&here).run(async { Ok(7) }));
            Ok(call.await.expect("it does not panic")?)
        };
        let answer = is_final(outer(&store)).run(spawned).await;
        assert!(
            matches!(answer, Err(Failure::Idempotency(Error::InFlight { .. }))),
            "{answer:?}"
        );
        drop(owner);
        let next = is_final(outer(&store)).run(async { Ok(8) }).await;
        assert_eq!(next.expect("the body runs again"), 8);
    }
}

/// A refused call, whose body hangs where it is run at all.
type Refused<'a> = &'a dyn Fn() -> Operation<u32, Error>;

/// An `Err` of the body's own is final beside a refusal that a retry meets again: the body would
/// run again and again. A refusal that may pass keeps it from that, and one of any kind that the
/// `Err` carries.
#[tokio::test]
async fn a_refusal_that_stays_does_not_keep_an_err_of_its_own_from_being_final() {
    let (faulty, elsewhere) = (Faulty::new(), Faulty::new());
    faulty.always(Op::Claim, Fault::Refused);
    let down = SharedStore::new(faulty);
    let doubtful = SharedStore::new(elsewhere);
    let doubt = inner(&doubtful)
        .on_crash(OnCrash::Fail)
        .run(async { Err(refusal()) });
    doubt.await.unwrap_err();
    let (store, small, in_use) = (memory(), memory().with_max_result(0), memory());
    for store in [&store, &small] {
        let used = inner(store).fingerprint(&1).run(async { Ok(1) });
        used.await.unwrap();
    }
    let _owner = busy(&in_use);
    let passing: [Refused<'_>; 4] = [
        &|| inner(&down),
        &|| inner(&doubtful).on_crash(OnCrash::Fail),
        &|| inner(&in_use),
        &|| named("slow", &store).timeout(Duration::from_millis(1)),
    ];
    let lasting: [Refused<'_>; 5] = [
        &|| inner(&store).fingerprint(&2),
        &|| named("other", &store).lease(Duration::ZERO),
        &|| named("", &store),
        &|| inner(&small),
        &|| operation_with_codec::<Answer, Json>("nested.inner", &[&"k"]).store(&store),
    ];
    let all = passing.iter().map(|it| (it, true));
    let all = all.chain(lasting.iter().map(|it| (it, false)));
    for (number, (refused, passes)) in all.enumerate() {
        for carries in [false, true] {
            let (store, runs) = (memory(), AtomicU32::new(0));
            for run in 1..=3 {
                let body = async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    let call = refused().run(std::future::pending());
                    let error = call.await.expect_err("it is refused");
                    if carries {
                        return Err(error.into());
                    }
                    Err(Failure::Declined)
                };
                let answer = outer(&store).record_err().run_attached(body).await;
                assert_eq!(matches!(answer, Err(Failure::Declined)), !carries);
                let expected = if passes || carries { run } else { 1 };
                assert_eq!(
                    runs.load(Ordering::SeqCst),
                    expected,
                    "{number} {carries} {answer:?}"
                );
            }
        }
    }
}

fn named(key: &'static str, store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("nested.inner", &[&key]).store(store)
}

/// A call of the body's own key is refused whenever it runs.
#[tokio::test]
async fn an_err_after_a_reentrant_call_is_final() {
    let (store, runs) = (memory(), AtomicU32::new(0));
    for _ in 0..2 {
        let body = async {
            runs.fetch_add(1, Ordering::SeqCst);
            let itself = outer(&store).run(async { Ok(7) }).await;
            assert!(matches!(
                itself,
                Err(Failure::Idempotency(Error::Reentrant { .. }))
            ));
            Err(Failure::Declined)
        };
        let answer = outer(&store).record_err().run_attached(body).await;
        assert!(matches!(answer, Err(Failure::Declined)), "{answer:?}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// In flight at first, and then known to have been used with another payload: a retry meets only
/// the latter.
#[tokio::test]
async fn a_refusal_that_passed_into_one_that_stays_is_gone() {
    let (store, runs) = (memory(), AtomicU32::new(0));
    for _ in 0..2 {
        let body = async {
            runs.fetch_add(1, Ordering::SeqCst);
            let owner = busy(&store);
            let refused = inner(&store).run(async { Ok(7) }).await;
            assert!(matches!(refused, Err(Error::InFlight { .. })));
            drop(owner);
            let elsewhere = inner(&store).fingerprint(&1).run(async { Ok(7) });
            tokio::spawn(elsewhere).await.unwrap().unwrap();
            let refused = inner(&store).fingerprint(&2).run(async { Ok(7) }).await;
            assert!(matches!(refused, Err(Error::KeyReused { .. })));
            Err(Failure::Declined)
        };
        let answer = outer(&store).record_err().run_attached(body).await;
        assert!(matches!(answer, Err(Failure::Declined)), "{answer:?}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

/// Any error of the library's.
fn refusal() -> Error {
    serde_from("in_flight")
}

fn serde_from(kind: &str) -> Error {
    let written = format!("{{\"kind\":\"{kind}\"}}");
    <Json as Codec<Error>>::decode(written.as_bytes()).expect("it is one of ours")
}

/// A call that was refused, tried again, and answered is no part of the body's result.
#[tokio::test]
async fn an_err_after_a_refusal_that_passed_is_final() {
    for replays in [false, true] {
        let (store, runs) = (memory(), AtomicU32::new(0));
        for _ in 0..2 {
            let body = async {
                runs.fetch_add(1, Ordering::SeqCst);
                let owner = busy(&store);
                inner(&store).run(async { Ok(7) }).await.unwrap_err();
                drop(owner);
                if replays {
                    // Somebody else records it: the body does not know of that call.
                    let elsewhere = inner(&store).run(async { Ok(7) });
                    tokio::spawn(elsewhere).await.unwrap().unwrap();
                }
                assert_eq!(inner(&store).run(async { Ok(7) }).await.unwrap(), 7);
                Err(Failure::Declined)
            };
            let answer = outer(&store).record_err().run_attached(body).await;
            assert!(matches!(answer, Err(Failure::Declined)), "{answer:?}");
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1, "it is recorded");
    }
}

/// Refusals of another body, or after one's own end, are not this one's.
#[tokio::test]
async fn an_err_of_its_own_is_final_beside_the_refusals_of_others() {
    let store = memory();
    let owner = busy(&store);
    inner(&store).run(async { Ok(7) }).await.unwrap_err();
    let runs = AtomicU32::new(0);
    for _ in 0..2 {
        let body = async {
            runs.fetch_add(1, Ordering::SeqCst);
            Err(Failure::Declined)
        };
        let answer = outer(&store).record_err().run_attached(body).await;
        assert!(matches!(answer, Err(Failure::Declined)));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    drop(owner);
}

/// An `Ok` is recorded as ever, whatever the body met on its way.
#[tokio::test]
async fn an_ok_after_a_refusal_is_recorded() {
    let (store, runs) = (memory(), AtomicU32::new(0));
    let owner = busy(&store);
    for _ in 0..2 {
        let body = async {
            runs.fetch_add(1, Ordering::SeqCst);
            let refused = inner(&store).run(async { Ok(7) }).await;
            Ok(refused.map_or(5, |answer| answer))
        };
        assert_eq!(
            outer(&store).record_err().run_attached(body).await.unwrap(),
            5
        );
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    drop(owner);
}

/// Under `on_crash = fail` the body may have done something before the refusal, and only `on_err =
/// rerun` is its author's word that it has not.
#[tokio::test]
async fn under_fail_a_refused_call_leaves_the_body_in_doubt_unless_its_author_says_otherwise() {
    let cases: [(Outer, u32); 5] = [
        (FINAL[0], 1),
        (FINAL[1], 1),
        (FINAL[2], 1),
        (|outer| outer.on_err(OnErr::Rerun), 2),
        (|outer| outer.record_err().on_err_with(|_| OnErr::Rerun), 2),
    ];
    for (terms, expected) in cases {
        let (store, runs) = (memory(), AtomicU32::new(0));
        let owner = busy(&store);
        let call = async || {
            let body = async {
                runs.fetch_add(1, Ordering::SeqCst);
                Ok(inner(&store).run(async { Ok(7) }).await?)
            };
            terms(outer(&store).on_crash(OnCrash::Fail))
                .run_attached(body)
                .await
        };
        let first = call().await;
        assert!(
            matches!(first, Err(Failure::Idempotency(Error::InFlight { .. }))),
            "{first:?}"
        );
        drop(owner);
        let next = call().await;
        assert_eq!(runs.load(Ordering::SeqCst), expected, "{next:?}");
        let doubt = matches!(next, Err(Failure::Idempotency(Error::Indeterminate { .. })));
        assert_eq!(doubt, expected == 1, "{next:?}");
    }
}

/// What a client of an API gets to see, and a program that reads it.
#[tokio::test]
async fn an_error_is_written_and_read_with_its_kind_and_times() {
    let store = memory();
    let owner = busy(&store);
    let error = inner(&store).run(async { Ok(7) }).await.unwrap_err();
    drop(owner);
    let mut json = Vec::new();
    <Json as Codec<Error>>::encode(&error, &mut json).unwrap();
    let text = String::from_utf8(json.clone()).unwrap();
    assert!(
        text.contains("\"kind\":\"in_flight\"") && text.contains("\"retry_after_ms\":1000"),
        "{text}"
    );
    let mut packed = Vec::new();
    <MessagePack as Codec<Error>>::encode(&error, &mut packed).unwrap();
    for read in [
        <Json as Codec<Error>>::decode(&json).unwrap(),
        <MessagePack as Codec<Error>>::decode(&packed).unwrap(),
    ] {
        assert!(matches!(read, Error::InFlight { .. }), "{read:?}");
        assert_eq!(read.retry_after(), error.retry_after());
        assert!(read.is_retryable());
    }
    for kind in [
        "key_reused",
        "indeterminate",
        "reentrant",
        "incompatible",
        "not_recorded",
        "already_recorded",
        "superseded",
        "timed_out",
        "invalid_key",
        "unavailable",
        "config",
        "unheard_of",
    ] {
        let again = serde_from(kind);
        assert!(!again.is_retryable() || kind == "superseded", "{again:?}");
    }
}
