//! Errors say what to do, show no key, and tell whether the body ran.

use std::time::Duration;

use crate::common::{
    Answer, Effects,
    faulty::{Fault, Faulty, Op},
    poll_once, poll_until,
};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, StoreError, StoreErrorKind, error::BodyRan, operation,
    store::MemoryStore,
};

const SECRET: &str = "customer-4711@example.com";

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("errors.charge", &[&SECRET]).store(store)
}

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

/// Everything that is printed of an error, its sources included.
fn printed(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.extend([error.to_string(), format!("{error:?}")]);
        source = error.source();
    }
    text
}

/// Shows the scope, no key, and each of `words`.
fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words.iter().chain(&["errors.charge"]) {
        assert!(text.contains(word), "`{word}` is missing: {text}");
    }
    let printed = printed(error);
    assert!(!printed.contains("4711"), "it shows the key: {printed}");
    assert_eq!(error.operation().scope(), "errors.charge");
}

fn means(error: &Error, is_retryable: bool, body_ran: BodyRan) {
    assert_eq!(error.is_retryable(), is_retryable, "{error:?}");
    assert_eq!(error.body_ran(), body_ran, "{error:?}");
    let in_flight = matches!(error, Error::InFlight { .. });
    assert_eq!(error.retry_after().is_some(), in_flight, "{error:?}");
}

#[tokio::test]
async fn in_flight() {
    let (store, effects) = (memory(), Effects::new());
    let mut owner = Box::pin(charge(&store).run(effects.hang()));
    assert!(poll_once(&mut owner).is_pending());
    let duplicate = charge(&store).wait(Duration::ZERO);
    let error = duplicate.run(effects.body(0)).await.unwrap_err();
    says(&error, &["in flight", "retry after"]);
    means(&error, true, BodyRan::No);
    let digest = error.operation().digest().unwrap().to_string();
    assert!(error.to_string().contains(&digest));
}

#[tokio::test]
async fn key_reused() {
    let (store, effects) = (memory(), Effects::new());
    let call = |amount: u32| charge(&store).fingerprint(&amount).run(effects.body(0));
    call(1).await.unwrap();
    let error = call(2).await.unwrap_err();
    says(&error, &["another payload", "use a new key"]);
    means(&error, false, BodyRan::No);
}

#[tokio::test]
async fn indeterminate() {
    let (store, effects) = (memory(), Effects::new());
    let call = || charge(&store).on_crash(OnCrash::Fail);
    let mut owner = Box::pin(call().run_attached(effects.hang()));
    assert!(poll_once(&mut owner).is_pending());
    drop(owner);
    let error = call().run(effects.body(0)).await.unwrap_err();
    says(
        &error,
        &["stopped midway or fell silent", "check", "`resolve`"],
    );
    means(&error, false, BodyRan::Unknown);
}

#[tokio::test]
async fn reentrant() {
    let store = memory();
    let inner = charge(&store).run(async { Ok(0) });
    let error = charge(&store).run(inner).await.unwrap_err();
    says(&error, &["inside its own body"]);
    means(&error, false, BodyRan::No);
}

#[tokio::test]
async fn incompatible_and_not_recorded() {
    let (store, effects) = (memory(), Effects::new());
    charge(&store).run(effects.body(0)).await.unwrap();
    let text = operation::<Result<String, Error>, _>("errors.charge", &[&SECRET]).store(&store);
    let error = text.run(async { Ok(SECRET.to_owned()) }).await.unwrap_err();
    says(&error, &["cannot read", "not run again"]);
    means(&error, false, BodyRan::Unknown);

    // Nor does it show what is recorded, which may well have the key in it.
    let store = memory();
    let text = operation::<Result<String, Error>, _>("errors.charge", &[&SECRET]).store(&store);
    let text = text.run(async { Ok(format!("{SECRET}\", expected")) });
    text.await.unwrap();
    let pair = operation::<Result<(u8, u8), Error>, _>("errors.charge", &[&SECRET]).store(&store);
    let error = pair.run(async { Ok((0, 0)) }).await.unwrap_err();
    says(&error, &["invalid type: string", "expected a tuple"]);

    let small = memory().with_max_result(0);
    charge(&small).run(effects.body(0)).await.unwrap();
    let error = charge(&small).run(effects.body(0)).await.unwrap_err();
    says(&error, &["not recorded", "97 bytes", "not run again"]);
    means(&error, false, BodyRan::Yes);
}

#[tokio::test]
async fn superseded() {
    let faulty = Faulty::new();
    let (store, elsewhere) = (SharedStore::new(faulty.clone()), SharedStore::new(faulty));
    let effects = Effects::new();
    let mut owner = Box::pin(charge(&store).run(effects.body(3)));
    poll_until(&mut owner, || effects.started() == 1).await;
    charge(&elsewhere).forget().await.unwrap();
    let error = owner.await.unwrap_err();
    // Nobody took over here, and the text does not say that somebody did.
    says(&error, &["took over while", "or the key was reset by hand"]);
    means(&error, true, BodyRan::Yes);
}

#[tokio::test]
async fn invalid_key() {
    struct Broken;
    impl std::fmt::Display for Broken {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    let effects = Effects::new();
    let keys: [(&[&dyn std::fmt::Display], &str); 4] = [
        (&[], "no parts"),
        (&[&""], "part 0"),
        (&[&SECRET, &""], "part 1"),
        (&[&SECRET, &Broken], "part 1"),
    ];
    for (key, word) in keys {
        let operation = operation::<Answer, _>("errors.charge", key).store(memory());
        let error = operation.run(effects.body(0)).await.unwrap_err();
        assert!(matches!(error, Error::InvalidKey { .. }));
        says(&error, &[word]);
        means(&error, false, BodyRan::No);
        assert!(error.operation().digest().is_none());
    }
    assert_eq!(effects.started(), 0);
}

#[tokio::test]
async fn unavailable() {
    for fault in [Fault::Refused, Fault::NotSent, Fault::LostCommand] {
        let (faulty, effects) = (Faulty::new(), Effects::new());
        faulty.next(Op::Claim, [fault; 4]);
        let call = charge(&SharedStore::new(faulty)).run(effects.body(0));
        let error = call.await.unwrap_err();
        says(&error, &["the store", "was not run"]);
        means(&error, true, BodyRan::No);
        assert!(printed(&error).contains("the link has a fault"));
        assert_eq!(effects.started(), 0);
    }
}

/// Where, for how long, and why: in the text that most programs log, and with no more digits than
/// matter.
#[tokio::test(start_paused = true)]
async fn an_outage_says_where_how_long_and_why() {
    for (wait, said) in [
        (0, "for 1 s"),
        (300, "for 1 s"),
        (2_500, "for 2.5 s"),
        (600_000, "for 10 s"),
    ] {
        let (faulty, effects) = (Faulty::new(), Effects::new());
        faulty.always(Op::Claim, Fault::Hang);
        let call = charge(&SharedStore::new(faulty)).wait(Duration::from_millis(wait));
        let error = call.run(effects.body(0)).await.unwrap_err();
        says(&error, &["faulty:", "gave no answer", said]);
    }
    let cause = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let lost = StoreError::new(StoreErrorKind::Ambiguous, "Redis at cache:6379 was lost");
    assert_eq!(
        lost.with_source(cause).to_string(),
        "Redis at cache:6379 was lost (connection reset)"
    );
}

/// A locked file, say: it refuses for a while, and then `wait` is over before it refuses again.
#[tokio::test(start_paused = true)]
async fn a_silence_after_a_refusal_does_not_hide_why() {
    for fault in [Fault::Busy, Fault::NotSent] {
        let (faulty, effects) = (Faulty::new(), Effects::new());
        faulty.next(Op::Claim, [fault]);
        faulty.always(Op::Claim, Fault::Hang);
        let call = charge(&SharedStore::new(faulty)).wait(Duration::from_secs(3));
        let error = call.run(effects.body(0)).await.unwrap_err();
        let why = "the link has a fault, as the test asked; asked again: faulty:";
        says(&error, &[why, "gave no answer for 2."]);
    }
    // Silence after silence says nothing more.
    let (faulty, effects) = (Faulty::new(), Effects::new());
    faulty.next(Op::Claim, [Fault::LostReply]);
    faulty.always(Op::Claim, Fault::Hang);
    let call = charge(&SharedStore::new(faulty)).wait(Duration::from_secs(3));
    let error = call.run(effects.body(0)).await.unwrap_err();
    assert!(!error.to_string().contains("asked again"), "{error}");
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn an_unreachable_server_is_named_with_the_cause_and_without_its_password() {
    let url = "redis://someone:hunter2@127.0.0.1:1/";
    let store = idempotent_fn::store::RedisStore::new(url).unwrap();
    let call = charge(&SharedStore::new(store)).wait(Duration::ZERO);
    let error = call.run(Effects::new().body(0)).await.unwrap_err();
    says(
        &error,
        &["127.0.0.1:1", "accept connections", "was not run"],
    );
    assert!(!printed(&error).contains("hunter2"));
}

/// What a record holds is as personal as a key.
#[tokio::test]
async fn a_record_that_does_not_decode_shows_nothing_of_what_it_holds() {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    enum Old {
        SecretPatientName,
    }
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    enum New {
        Other,
    }
    let store = memory();
    let old = operation::<Result<Old, Error>, _>("errors.charge", &[&"k"]).store(&store);
    old.run(async { Ok(Old::SecretPatientName) }).await.unwrap();
    let new = operation::<Result<New, Error>, _>("errors.charge", &[&"k"]).store(&store);
    let error = new.run(async { Ok(New::Other) }).await.unwrap_err();
    says(&error, &["unknown variant", "expected `Other`"]);
    assert!(!printed(&error).contains("Patient"), "{error:?}");
}

#[tokio::test]
async fn a_bad_lease_or_ttl() {
    let (day, ms) = (Duration::from_secs(24 * 60 * 60), Duration::from_millis(1));
    let (store, effects) = (memory(), Effects::new());
    let lease = |lease| charge(&store).lease(lease);
    let bad = [
        (lease(Duration::ZERO), "`lease`"),
        (lease(ms / 2), "`lease`"),
        (lease(day + ms), "1 day"),
        (charge(&store).ttl(Duration::ZERO), "`ttl`"),
        (charge(&store).ttl(ms / 2), "`ttl`"),
    ];
    for (operation, word) in bad {
        let error = operation.run(effects.body(0)).await.unwrap_err();
        assert!(matches!(error, Error::Config { .. }));
        says(&error, &[word]);
        means(&error, false, BodyRan::No);
    }
    assert!(charge(&store).inspect().await.unwrap().is_none());
    assert_eq!(effects.started(), 0);
    for operation in [lease(ms), lease(day)] {
        assert_eq!(operation.run(effects.body(0)).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_fingerprint_that_cannot_be_computed() {
    struct Unwilling;
    impl serde::Serialize for Unwilling {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("the reason may show a value"))
        }
    }
    let effects = Effects::new();
    let call = charge(&memory()).fingerprint(&Unwilling);
    let error = call.run(effects.body(0)).await.unwrap_err();
    assert!(matches!(error, Error::Config { .. }));
    says(&error, &["fingerprint", "the reason may show a value"]);
    assert_eq!(effects.started(), 0);
}

/// Found out before anything is claimed, and never in the middle of a body.
#[test]
fn without_a_runtime_nothing_is_claimed() {
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let store = SharedStore::new(faulty.clone());
    let mut calls: [std::pin::Pin<Box<dyn Future<Output = Answer>>>; 2] = [
        Box::pin(charge(&store).run(effects.body(0))),
        Box::pin(charge(&store).run_attached(effects.body(0))),
    ];
    for call in &mut calls {
        let std::task::Poll::Ready(Err(error)) = poll_once(call) else {
            panic!("it is answered at once");
        };
        assert!(matches!(error, Error::Config { .. }));
        says(&error, &["Tokio runtime"]);
    }
    assert_eq!((faulty.sent_in_all(), effects.started()), (0, 0));
}

#[test]
fn without_timers_nothing_is_claimed() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let store = SharedStore::new(faulty.clone());
    let error = runtime.block_on(charge(&store).run(effects.body(0)));
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Config { .. }));
    says(&error, &["timers", "enable_time"]);
    assert_eq!((faulty.sent_in_all(), effects.started()), (0, 0));
}

/// The function's own error type, whatever it is.
#[tokio::test]
async fn map_err_makes_it_the_functions_own() {
    let text = operation::<Result<u32, String>, _>("errors.charge", &[&""]).store(memory());
    let text = text.map_err(|error| format!("mapped: {error}"));
    let error = text.run(async { Ok(1) }).await.unwrap_err();
    assert!(error.starts_with("mapped: `errors.charge`"), "{error}");

    let boxed = operation::<Result<u32, Box<dyn std::error::Error + Send + Sync>>, _>(
        "errors.charge",
        &[&""],
    );
    let boxed = boxed.store(memory()).run(async { Ok(1) });
    let error = boxed.await.unwrap_err();
    assert!(matches!(
        error.downcast_ref(),
        Some(Error::InvalidKey { .. })
    ));
}
