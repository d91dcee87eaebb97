//! Whole calls that find foreign values under their keys: a defined error, and no body runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use idempotent_runtime::{
    Error, OnCrash, Operation, SharedStore,
    codec::{Codec, MessagePack},
    key::Key,
    operation,
    operation::Resolution,
    record::{DONE_HEADER, Record, RecordedBytes, State},
};
use idempotent_test_support::RedisServer;

use crate::common::*;

type Answer = Result<u32, Error>;

/// A call on `key("1")`, whose body is counted.
struct Site {
    server: RedisServer,
    store: SharedStore,
    bodies: Arc<AtomicU32>,
}

impl Site {
    fn start() -> Self {
        let server = RedisServer::start();
        let store = SharedStore::new(store(&server));
        Self {
            server,
            store,
            bodies: Arc::default(),
        }
    }

    fn operation(&self) -> Operation<u32, Error> {
        let operation = operation::<Answer, _>("payments.charge", &[&"1"]);
        operation.store(&self.store).wait(Duration::ZERO)
    }

    async fn call(&self, on_crash: OnCrash) -> Answer {
        let bodies = Arc::clone(&self.bodies);
        let body = async move { Ok(bodies.fetch_add(1, Ordering::SeqCst) + 1) };
        self.operation().on_crash(on_crash).run(body).await
    }

    /// Every call is told that it cannot be read.
    async fn is_incompatible(&self, what: &str) {
        let mut answers = Vec::new();
        for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
            answers.push(self.call(on_crash).await.map(drop));
        }
        answers.push(self.operation().inspect().await.map(drop));
        answers.push(self.operation().resolve(Resolution::Done(1)).await);
        answers.push(self.operation().resolve(Resolution::Rerun).await);
        answers.push(self.operation().forget().await);
        for answer in answers {
            let error = answer.expect_err(what);
            assert!(
                matches!(error, Error::Incompatible { .. }),
                "{what}: {error:?}"
            );
        }
        assert_eq!(self.bodies.load(Ordering::SeqCst), 0, "{what}");
    }
}

fn planted(state: State, result: &[u8]) -> Record {
    let mut owned = request(1).record();
    owned.token = 5;
    // Its end is far away.
    let expires = 1 << 42;
    match state {
        State::Done => sealed({
            let mut record = done(&owned, result);
            record.codec = <MessagePack as Codec<u32>>::ID;
            record.expires = expires;
            record
        }),
        State::Failed => {
            let mut record = in_state(&owned, state);
            record.expires = expires;
            record
        }
        state => in_state(&owned, state),
    }
}

/// As whoever completes it leaves it, under `key("1")`.
fn sealed(mut record: Record) -> Record {
    record.seal(&key("1"));
    record
}

#[tokio::test]
async fn no_call_reads_what_no_release_of_this_version_wrote() {
    let site = Site::start();
    let mut values: Vec<Vec<u8>> = vec![
        vec![],
        vec![1],
        b"locked".to_vec(),
        vec![b'x'; 500],
        vec![0; 64],
    ];
    for state in [State::Running, State::Done, State::Failed, State::Lost] {
        let bytes = planted(state, &[42]).encode();
        for version in [0, 1, 3, 31, 200] {
            values.push([&[version], &bytes[1..]].concat());
        }
        values.push(bytes[..63].to_vec());
        values.push([&bytes[..30], &[0x80], &bytes[31..]].concat());
        values.push([&bytes[..1], b"X", &bytes[2..]].concat());
    }
    for bytes in values {
        put(&site.server, &key("1"), &bytes);
        site.is_incompatible(&format!("{bytes:?}")).await;
        assert_eq!(value(&site.server, &key("1")), Some(bytes));
    }
    let name = redis_key(&key("1"));
    let others: [(&str, &[&str]); 4] = [
        ("hash", &["HSET", &name, "status", "done"]),
        ("list", &["RPUSH", &name, "1"]),
        ("zset", &["ZADD", &name, "1", "a"]),
        ("stream", &["XADD", &name, "*", "a", "b"]),
    ];
    for (kind, plant) in others {
        site.server.cli(&["DEL", &name]);
        site.server.cli(plant);
        site.is_incompatible(kind).await;
        assert_eq!(site.server.cli(&["TYPE", &name]), kind);
    }
}

#[tokio::test]
async fn results_that_do_not_decode_never_run_the_body() {
    let site = Site::start();
    let huge = b"\xdd\xff\xff\xff\xff";
    for result in [
        &b""[..],
        b"\xc1",
        b"\xa1x",
        huge,
        b"\x2a\x00",
        &vec![0x91; 100_000],
    ] {
        put(
            &site.server,
            &key("1"),
            &planted(State::Done, result).encode(),
        );
        let answer = site.call(OnCrash::Rerun).await;
        assert!(
            matches!(answer, Err(Error::Incompatible { .. })),
            "{answer:?}"
        );
    }
    let other_codec = sealed({
        let mut record = planted(State::Done, &[42]);
        record.codec = 4711;
        record
    });
    put(&site.server, &key("1"), &other_codec.encode());
    let answer = site.call(OnCrash::Rerun).await;
    assert!(
        matches!(answer, Err(Error::Incompatible { .. })),
        "{answer:?}"
    );
    let no_text = sealed({
        let mut record = planted(State::Done, &[]);
        record.outcome = Some(RecordedBytes::NotRecorded([0xff, 0xfe][..].into()));
        record
    });
    put(&site.server, &key("1"), &no_text.encode());
    let answer = site.call(OnCrash::Rerun).await;
    assert!(
        matches!(answer, Err(Error::NotRecorded { .. })),
        "{answer:?}"
    );
    put(
        &site.server,
        &key("1"),
        &planted(State::Done, &[42]).encode(),
    );
    assert_eq!(site.call(OnCrash::Rerun).await.unwrap(), 42);
    assert_eq!(site.bodies.load(Ordering::SeqCst), 0);
}

/// From nothing to over the limit: what the first call decided stands, and no retry runs.
#[tokio::test]
async fn results_of_any_size_run_once() {
    const MIB: usize = 1024 * 1024;
    let site = Site::start();
    // A text of this length has five bytes before it, and the record's own: fingerprint and trace
    // always counted.
    let longest = MIB - 5 - DONE_HEADER;
    for (size, recorded) in [
        (0, true),
        (longest, true),
        (longest + 1, false),
        (8 * MIB, false),
    ] {
        let bodies = Arc::new(AtomicU32::new(0));
        let call = || {
            let bodies = Arc::clone(&bodies);
            let operation = operation::<Result<String, Error>, _>("sizes", &[&size]);
            operation.store(&site.store).run(async move {
                bodies.fetch_add(1, Ordering::SeqCst);
                Ok("x".repeat(size))
            })
        };
        assert_eq!(call().await.expect("the owner gets it").len(), size);
        let again = call().await;
        match again {
            Ok(text) => assert!(recorded && text.len() == size),
            Err(Error::NotRecorded { .. }) => assert!(!recorded),
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(bodies.load(Ordering::SeqCst), 1);
    }
}

/// Whatever a key is made of, its record is its own, and found again.
#[tokio::test]
async fn any_text_is_a_key_of_its_own() {
    let site = Site::start();
    let mut texts: Vec<String> = (0..=0x7f_u8)
        .map(|byte| char::from(byte).to_string())
        .collect();
    texts.extend(
        "é\u{85}\u{ad}\u{200b}\u{202e}\u{2028}\u{e000}\u{10ffff}🗝名"
            .chars()
            .map(String::from),
    );
    texts.extend(["e\u{301}", "a|b", "odd|a", "a*", "{a}b", "a\r\nDEL b"].map(str::to_owned));
    texts.push("x".repeat(1 << 20));
    let bodies = Arc::new(AtomicU32::new(0));
    for scope in ["odd", "odd|a", "other"] {
        for text in &texts {
            let before = bodies.load(Ordering::SeqCst);
            for _ in 0..2 {
                let bodies = Arc::clone(&bodies);
                let operation = operation::<Answer, _>(scope, &[text]).store(&site.store);
                let answer =
                    operation.run(async move { Ok(bodies.fetch_add(1, Ordering::SeqCst)) });
                assert_eq!(answer.await.expect("a key"), before, "{text:?}");
            }
            let key = Key::new(scope, &[text]).expect("a key");
            assert!(record(&site.server, &key).is_some(), "{text:?}");
        }
    }
}
