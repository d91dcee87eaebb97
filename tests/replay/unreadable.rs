//! A result that cannot be recorded or read: its body never runs again.

use crate::common::{
    Answer, Effects,
    refusal::{ByHand, Refusal, declines},
};
use idempotent_fn::{
    Error, SharedStore,
    codec::{Codec, CodecError},
    error::BodyRan,
    operation, operation_with_codec,
    record::DONE_HEADER,
    store::MemoryStore,
};
use serde::{Deserialize, Serialize};

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

/// The limit counts the bytes of the result and of its record's head, as the server does; reaching
/// it is allowed.
#[tokio::test]
async fn a_result_that_is_too_large_never_runs_again() {
    for (limit, recorded) in [(103 + DONE_HEADER, true), (102 + DONE_HEADER, false)] {
        let (store, effects) = (memory().with_max_result(limit), Effects::new());
        let call = || {
            let effects = effects.clone();
            operation::<Result<String, Error>, _>("replay", &[&"k"])
                .store(&store)
                .run(async move {
                    effects.start();
                    Ok("x".repeat(101))
                })
        };
        assert_eq!(call().await.unwrap().len(), 101, "its caller gets it");
        let next = call().await;
        assert_eq!(next.is_ok(), recorded, "{next:?}");
        if let Err(error) = next {
            assert!(matches!(error, Error::NotRecorded { .. }));
            assert_eq!(
                (error.body_ran(), error.is_retryable()),
                (BodyRan::Yes, false)
            );
        }
        assert_eq!(effects.started(), 1);
    }
}

/// A value whose `Serialize` fails, or panics, when told to.
#[derive(Debug, Deserialize)]
struct Stubborn(#[allow(dead_code, reason = "only its `Serialize` is of use")] u8);

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 == 0, "the test's own panic");
        Err(serde::ser::Error::custom("it does not want to"))
    }
}

#[tokio::test]
async fn a_result_that_cannot_be_encoded_never_runs_again() {
    for attached in [false, true] {
        for value in [0, 1] {
            let (store, effects) = (memory(), Effects::new());
            let call = || {
                let effects = effects.clone();
                let operation =
                    operation::<Result<Stubborn, Error>, _>("replay", &[&"k"]).store(&store);
                let body = async move {
                    effects.start();
                    Ok(Stubborn(value))
                };
                async move {
                    if attached {
                        operation.run_attached(body).await
                    } else {
                        operation.run(body).await
                    }
                }
            };
            let first = tokio::spawn(call()).await;
            assert_eq!(first.is_ok(), value == 0, "the body returned");
            let next = call().await.unwrap_err();
            assert!(matches!(next, Error::NotRecorded { .. }), "{next:?}");
            assert_eq!(effects.started(), 1);
        }
    }
}

#[tokio::test]
async fn a_result_of_another_type_is_incompatible_and_stays() {
    let (store, effects) = (memory(), Effects::new());
    let number = || operation::<Answer, _>("replay", &[&"k"]).store(&store);
    assert_eq!(number().run(effects.body(0)).await.unwrap(), 1);
    for _ in 0..2 {
        let text = operation::<Result<String, Error>, _>("replay", &[&"k"]).store(&store);
        let error = text.run(async { Ok(String::new()) }).await.unwrap_err();
        assert!(matches!(error, Error::Incompatible { .. }), "{error:?}");
        assert_eq!(
            (error.body_ran(), error.is_retryable()),
            (BodyRan::Unknown, false)
        );
    }
    assert_eq!(number().run(effects.body(0)).await.unwrap(), 1);
    assert_eq!(effects.started(), 1);
}

/// Numbers as text.
struct Decimal;

impl Codec<u32> for Decimal {
    const ID: u32 = 1002;

    fn encode(value: &u32, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        bytes.extend(value.to_string().into_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<u32, CodecError> {
        let text = std::str::from_utf8(bytes).map_err(CodecError::new)?;
        text.parse().map_err(CodecError::new)
    }
}

#[tokio::test]
async fn another_codec_is_incompatible_and_its_own_is_not() {
    let (store, effects) = (memory(), Effects::new());
    let decimal = || operation_with_codec::<Answer, Decimal>("replay", &[&"k"]).store(&store);
    for _ in 0..2 {
        assert_eq!(decimal().run(effects.body(0)).await.unwrap(), 1);
    }
    let packed = operation::<Answer, _>("replay", &[&"k"]).store(&store);
    let error = packed.run(effects.body(0)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Incompatible { reason, .. } if reason.contains("codec 1002")),
        "{error:?}"
    );
    assert_eq!(effects.started(), 1);
}

#[tokio::test]
async fn a_recorded_err_is_incompatible_where_none_is_recorded_any_more() {
    let (store, effects) = (memory(), Effects::new());
    let call = || operation::<Result<u32, Refusal>, _>("replay", &[&"k"]).store(&store);
    let first = call().record_err::<ByHand>().run(declines(&effects)).await;
    assert!(matches!(first, Err(Refusal::Declined(1))));
    let next = call().run(declines(&effects)).await;
    assert!(matches!(
        next,
        Err(Refusal::Library(Error::Incompatible { .. }))
    ));
    assert_eq!(effects.started(), 1);
}
