//! Records that this release would not have written: a defined error, and no body runs.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    time::Duration,
};

use crate::common::{Answer, Effects, bytes::Bytes, settled};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, Store,
    codec::{Codec, MessagePack},
    error::BodyRan,
    key::Key,
    operation,
    operation::Resolution,
    record::{DONE_HEADER, HEADER, Nonce, Record, RecordedBytes, State},
    store::{ClaimReply, ClaimRequest, MemoryStore, NearCache},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

const TTL: Duration = Duration::from_secs(3600);
const SCOPE: &str = "hostile";

fn key() -> Key {
    Key::new(SCOPE, &[&"k"]).expect("a valid key")
}

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>(SCOPE, &[&"k"])
        .store(store)
        .wait(Duration::ZERO)
}

/// A record as an owner leaves it.
fn record(state: State, result: &[u8]) -> Record {
    let mut request = ClaimRequest::new(Nonce::from_bytes([7; 16]));
    request.lease = Duration::from_secs(30);
    request.ttl = TTL;
    let done = state == State::Done;
    let mut record = request.record();
    record.state = state;
    record.token = 5;
    record.codec = if done {
        <MessagePack as Codec<u8>>::ID
    } else {
        0
    };
    record.outcome = done.then(|| RecordedBytes::Ok(result.into()));
    record.seal(&key());
    record
}

/// The bytes of a record, changed.
fn changed(state: State, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = record(state, &[42]).encode();
    change(&mut bytes);
    bytes
}

#[tokio::test]
async fn bytes_of_others_are_incompatible_to_everybody_and_stay() {
    const STATES: [State; 4] = [State::Running, State::Done, State::Failed, State::Lost];
    let mut values = vec![
        vec![],
        vec![1],
        b"locked by worker 7".to_vec(),
        vec![b'x'; 300],
        vec![0; 80],
    ];
    for state in STATES {
        for version in [0, 1, 3, 31, 255] {
            values.push(changed(state, |bytes| bytes[0] = version));
        }
        values.push(changed(state, |bytes| bytes.truncate(HEADER - 1)));
        values.push(changed(state, |bytes| bytes[1] = b'X'));
        values.push(changed(state, |bytes| bytes[18] = 0xff));
        values.push(changed(state, |bytes| bytes[30] |= 0x80));
        if state != State::Done {
            values.push(changed(state, |bytes| bytes.push(0)));
        }
    }
    for bytes in values {
        let (place, effects) = (Bytes::default(), Effects::new());
        place.plant(&key(), &bytes);
        let store = SharedStore::new(place.clone());
        let mut answers = Vec::new();
        for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
            let call = || charge(&store).on_crash(on_crash);
            answers.push(call().run(effects.body(0)).await.map(drop));
            answers.push(call().run_attached(effects.body(0)).await.map(drop));
        }
        // Those at once share what one of them learns.
        let calls: Vec<_> = (0..4)
            .map(|_| tokio::spawn(charge(&store).run(effects.body(0))))
            .collect();
        for call in calls {
            answers.push(call.await.expect("no panic").map(drop));
        }
        answers.push(charge(&store).inspect().await.map(drop));
        answers.push(charge(&store).resolve(Resolution::Done(1)).await);
        answers.push(charge(&store).resolve(Resolution::Rerun).await);
        answers.push(charge(&store).forget().await);
        for answer in answers {
            let error = answer.expect_err("it cannot be read");
            assert!(
                matches!(error, Error::Incompatible { .. }),
                "{error:?} for {bytes:?}"
            );
            assert!(!error.is_retryable());
        }
        assert_eq!((effects.started(), place.found(&key())), (0, Some(bytes)));
        settled(&store).await;
    }
}

/// Every bit of a recorded result, flipped; every length it may be cut to: an error, and no body.
#[tokio::test]
async fn a_damaged_result_never_runs_the_body_again() {
    let (place, effects) = (Bytes::default(), Effects::new());
    let store = SharedStore::new(place.clone());
    assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
    let whole = place.found(&key()).expect("recorded");
    let flipped = (0..whole.len() * 8).map(|bit| {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let states = (0..=255).map(|state| {
        let mut bytes = whole.clone();
        bytes[1] = state;
        bytes
    });
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let longer = (0..=255).map(|byte| [&whole[..], &[byte]].concat());
    for (number, bytes) in flipped.chain(states).chain(cut).chain(longer).enumerate() {
        place.plant(&key(), &bytes);
        if bytes == whole {
            continue; // a state that is its own
        }
        let answer = charge(&store).run(effects.body(0)).await;
        assert!(
            matches!(answer, Err(Error::Incompatible { .. })),
            "number {number}: {answer:?} for {bytes:?}"
        );
        let seen = charge(&store).inspect().await;
        assert!(matches!(seen, Err(Error::Incompatible { .. })), "{seen:?}");
        assert_eq!(effects.started(), 1, "{bytes:?}");
        assert_eq!(place.found(&key()), Some(bytes));
    }
}

/// A memory store with a result that no codec of ours wrote.
async fn planted(result: &[u8]) -> SharedStore {
    let memory = MemoryStore::new();
    let target = record(State::Done, result);
    Store::finish(&memory, &key(), &target)
        .await
        .expect("planted");
    SharedStore::new(memory)
}

/// What `T` makes of a recorded result; its body never runs.
async fn read<T>(result: &[u8]) -> Result<T, Error>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let store = planted(result).await;
    operation::<Result<T, Error>, _>(SCOPE, &[&"k"])
        .store(&store)
        .run(async { panic!("the body ran") })
        .await
}

async fn incompatible<T>(result: &[u8])
where
    T: Serialize + DeserializeOwned + Debug + Send + 'static,
{
    let answer = read::<T>(result).await;
    let error = answer.map(drop).expect_err("it cannot be read");
    assert!(
        matches!(error, Error::Incompatible { .. }),
        "{error:?} for {result:?}"
    );
}

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    id: String,
    amount: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Tree(Vec<Tree>);

#[tokio::test]
async fn results_that_do_not_decode_are_incompatible() {
    for result in [
        &b""[..],
        b"\xc1",
        b"\x92\x01",
        b"\xff\xff\xff\xff",
        b"\x81\xa2id\xa1x",
        b"{\"id\":\"x\"}",
    ] {
        incompatible::<Receipt>(result).await;
        incompatible::<Vec<u64>>(result).await;
        incompatible::<HashMap<String, Receipt>>(result).await;
        incompatible::<Option<String>>(result).await;
    }
    incompatible::<String>(b"\xa2\xff\xfe").await; // not UTF-8
    incompatible::<u8>(b"\xcd\x01\x00").await; // 256
    incompatible::<()>(b"").await;
    // A value, and something behind it: nobody wrote that.
    incompatible::<u32>(&[42, 0]).await;
    incompatible::<()>(b"\xc0\xc0").await;
    incompatible::<String>(b"\xa1x\xc1").await;
    assert_eq!(read::<u32>(&[42]).await.unwrap(), 42);
}

/// Nesting costs stack: it is bounded.
#[tokio::test]
async fn a_deep_result_is_incompatible() {
    incompatible::<Tree>(&vec![0x91; 1 << 20]).await;
}

#[tokio::test]
async fn a_reason_that_is_no_text_is_shown_all_the_same() {
    let memory = MemoryStore::new();
    let mut target = record(State::Done, &[]);
    target.outcome = Some(RecordedBytes::NotRecorded([0xff, 0xfe][..].into()));
    Store::finish(&memory, &key(), &target)
        .await
        .expect("planted");
    let effects = Effects::new();
    let answer = charge(&SharedStore::new(memory)).run(effects.body(0)).await;
    assert!(
        matches!(answer, Err(Error::NotRecorded { .. })),
        "{answer:?}"
    );
    assert_eq!(effects.started(), 0);
}

/// A store that mixes up its keys, or an operator who copies one: a result is of the key that it
/// was recorded for, in its namespace, and of no other.
#[tokio::test]
async fn another_keys_record_is_incompatible() {
    let (place, effects) = (Bytes::default(), Effects::new());
    let store = SharedStore::new(place.clone());
    let near = store.with_near_cache(&NearCache::new());
    let call = |store: &SharedStore, part: &'static str| {
        let operation = operation::<Answer, _>(SCOPE, &[&part]).store(store);
        operation.run(effects.body(0))
    };
    assert_eq!(call(&store, "theirs").await.unwrap(), 1);
    let theirs = Key::new(SCOPE, &[&"theirs"]).expect("a key");
    let bytes = place.found(&theirs).expect("recorded");
    for (store, at) in [
        (&store, key()),
        (&near, key()),
        (&store.with_namespace("n"), key().in_namespace("n")),
        (&store.with_namespace("n"), theirs.in_namespace("n")),
    ] {
        let part = if at.as_str().ends_with('k') {
            "k"
        } else {
            "theirs"
        };
        place.plant(&at, &bytes);
        let answer = call(store, part).await;
        let Err(Error::Incompatible { reason, .. }) = &answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains("recorded for another key"), "{reason}");
        assert_eq!(
            place.found(&at).as_ref(),
            Some(&bytes),
            "it is left as it is"
        );
        let operation = operation::<Answer, _>(SCOPE, &[&part]).store(store);
        assert!(matches!(
            operation.inspect().await,
            Err(Error::Incompatible { .. })
        ));
    }
    assert_eq!(near.near_cache_bytes(), 0);
    assert_eq!(effects.started(), 1);
    assert_eq!(
        call(&store, "theirs").await.unwrap(),
        1,
        "and its own key still has it"
    );
}

/// Each of these is a record of its own, to be found again.
#[tokio::test]
async fn any_text_is_a_key_of_its_own() {
    let mut texts: Vec<String> = [
        "a|b",
        "hostile|a",
        "hostile@a",
        "other@hostile|k",
        "%",
        "%7C",
        "~",
        "a\u{0}b",
        "a\r\nb",
        "*",
        "{a}",
    ]
    .map(str::to_owned)
    .into();
    // One of each general category that text has, and forms that look the same.
    texts.extend("aAǅʰª\u{301}\u{903}\u{20dd}1Ⅷ²_-(«)»!+$^©\u{a0}\u{2028}\u{2029}\u{7f}\u{85}\u{ad}\u{200b}\u{202e}\u{e000}\u{fdd0}\u{10ffff}🗝".chars().map(String::from));
    texts.extend((0..32_u8).map(|control| char::from(control).to_string()));
    texts.extend([
        "é".to_owned(),
        "e\u{301}".to_owned(),
        "x".repeat(1 << 20),
        "x".repeat((1 << 20) + 1),
    ]);
    let stores = [
        SharedStore::new(MemoryStore::new()),
        SharedStore::new(Bytes::default()),
    ];
    for store in stores {
        let effects = Effects::new();
        for scope in ["hostile", "hostile|a", "hos", "other"] {
            for text in &texts {
                let call = || {
                    let operation = operation::<Answer, _>(scope, &[text]).store(&store);
                    operation.run(effects.body(0))
                };
                let first = call().await.expect("a valid key");
                assert_eq!(first, effects.started(), "{text:?} was there already");
                assert_eq!(call().await.expect("a valid key"), first);
            }
        }
        let empty = operation::<Answer, _>(SCOPE, &[&""]).store(&store);
        let error = empty.run(effects.body(0)).await.unwrap_err();
        assert!(matches!(error, Error::InvalidKey { .. }), "{error:?}");
        assert_eq!(error.body_ran(), BodyRan::No);
    }
}

/// From nothing to the limit and over it: decided once, by the first call.
#[tokio::test]
async fn results_of_any_size_run_once() {
    const MIB: usize = 1024 * 1024;
    // A text of this length has five bytes before it, and the record's head.
    let sizes = BTreeMap::from([
        (0, true),
        (1, true),
        (MIB - 5 - DONE_HEADER, true),
        (MIB - 4 - DONE_HEADER, false),
        (8 * MIB, false),
    ]);
    for (size, recorded) in sizes {
        for store in [
            SharedStore::new(MemoryStore::new()),
            SharedStore::new(Bytes::default()),
        ] {
            let effects = Effects::new();
            let call = || {
                let effects = effects.clone();
                let operation = operation::<Result<String, Error>, _>(SCOPE, &[&"k"]).store(&store);
                operation.run(async move {
                    effects.start();
                    Ok("x".repeat(size))
                })
            };
            assert_eq!(call().await.expect("the owner gets it").len(), size);
            for _ in 0..2 {
                match call().await {
                    Ok(text) => assert!(recorded && text.len() == size),
                    Err(Error::NotRecorded { .. }) => assert!(!recorded, "{size}"),
                    Err(error) => panic!("{error:?}"),
                }
            }
            assert_eq!(effects.started(), 1);
        }
    }
}

/// A claim that is repeated finds what it wrote, also as bytes: the store of this file keeps the
/// contract.
#[tokio::test]
async fn the_store_of_bytes_is_a_store() {
    let place = Bytes::default();
    let mut request = ClaimRequest::new(Nonce::from_bytes([1; 16]));
    request.lease = TTL;
    request.ttl = TTL;
    for _ in 0..2 {
        let reply = place.claim(&key(), &request).await.expect("claimed");
        assert!(matches!(reply, ClaimReply::Granted { .. }));
    }
}
