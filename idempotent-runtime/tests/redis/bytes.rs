//! The scripts and the protocol's functions read the same bytes alike: records that no release writes, but that can be
//! read. One whose end was never set is shown as long as its key is there: better kept than run again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use idempotent_runtime::{
    Error, SharedStore, Store, StoreErrorKind,
    fingerprint::Fingerprint,
    operation,
    record::{Owner, Record, State},
    store::{
        ClaimReply, RedisStore, Settled,
        protocol::{self, Current},
    },
};
use idempotent_test_support::RedisServer;

use crate::common::*;

const STATES: [State; 4] = [State::Running, State::Done, State::Failed, State::Lost];

fn standing(state: State) -> Record {
    let mut owned = request(1).record();
    owned.token = 5;
    owned.fingerprint = Some(Fingerprint::from_bytes([7; 16]));
    owned.trace = Some([9; 16]);
    owned.owner = Owner::new("høst:17");
    if state == State::Done {
        done(&owned, b"42")
    } else {
        in_state(&owned, state)
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("1970");
    u64::try_from(now.as_micros()).expect("in range")
}

/// The server, a store on it, and a connection to put values.
struct Server {
    connection: redis::Connection,
    store: RedisStore,
    redis: RedisServer,
}

impl Server {
    fn start() -> Self {
        let server = RedisServer::start();
        let client = redis::Client::open(server.url()).expect("a URL");
        let connection = client.get_connection().expect("the server is there");
        let store = store(&server);
        Self {
            connection,
            store,
            redis: server,
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        redis::cmd("SET")
            .arg(redis_key(&key("1")))
            .arg(bytes)
            .exec(&mut self.connection)
            .expect("a string");
    }

    /// What each operation makes of these bytes, as the protocol's functions say it.
    async fn is_as_the_protocol_says(&mut self, bytes: &[u8], what: &str) {
        let Ok(record) = Record::decode(bytes) else {
            return self.is_left_alone(bytes, what).await;
        };
        let current = Some(Current {
            record: &record,
            age: Duration::ZERO,
        });

        self.put(bytes);
        let read = self.store.read(&key("1")).await.expect("readable");
        assert_eq!(read, protocol::read(current, now()).reply, "{what}: read");

        for number in [1, 2] {
            let mut request = request(number);
            request.fingerprint = Some(Fingerprint::from_bytes([7; 16]));
            self.put(bytes);
            let reply = self.store.claim(&key("1"), &request).await;
            let ideal = protocol::claim(current, &request, now()).reply;
            assert_eq!(
                without_token(reply.expect("readable")),
                without_token(ideal),
                "{what}: claim {number}"
            );
        }

        let replacement = in_state(&request(3).record(), State::Failed);
        for seen in [None, Some(&record)] {
            self.put(bytes);
            let settled = self.store.overrule(&key("1"), seen, &replacement).await;
            let ideal = protocol::overrule(current, seen, &replacement, now()).reply;
            assert_eq!(settled.expect("readable"), ideal, "{what}: overrule");
        }

        let owned = standing(State::Running);
        self.put(bytes);
        let renewed = self.store.renew(&key("1"), &owned).await.expect("readable");
        let ideal = protocol::renew(current, &owned, now()).reply;
        assert_eq!(renewed, ideal, "{what}: renew");

        self.put(bytes);
        let target = done(&owned, b"1");
        let settled = self.store.finish(&key("1"), &target).await;
        let ideal = protocol::finish(current, &target, now()).reply;
        assert_eq!(settled.expect("readable"), ideal, "{what}: finish");
    }

    async fn is_left_alone(&mut self, bytes: &[u8], what: &str) {
        self.put(bytes);
        let owned = standing(State::Running);
        let settled = [
            self.store.renew(&key("1"), &owned).await,
            self.store.finish(&key("1"), &done(&owned, b"1")).await,
        ];
        for settled in settled {
            let error = settled.expect_err(what);
            assert_eq!(error.kind(), StoreErrorKind::Incompatible, "{what}");
        }
        assert_eq!(
            value(&self.redis, &key("1")).as_deref(),
            Some(bytes),
            "{what}"
        );
    }
}

/// Tokens are times.
fn without_token(reply: ClaimReply) -> ClaimReply {
    match reply {
        ClaimReply::Granted {
            mut record,
            takeover,
        } => {
            record.token = 0;
            ClaimReply::Granted { record, takeover }
        }
        other => other,
    }
}

#[tokio::test]
async fn a_record_with_any_bit_flipped() {
    let mut server = Server::start();
    for state in STATES {
        let bytes = standing(state).encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let what = format!("{state:?}, bit {bit}");
            server.is_as_the_protocol_says(&flipped, &what).await;
        }
    }
}

/// A field of zeros guards itself: `expires` of 0.
#[tokio::test]
async fn a_record_with_a_field_of_zeros_or_ones() {
    let mut server = Server::start();
    let fields = [
        (18, 8),
        (26, 4),
        (30, 1),
        (31, 4),
        (35, 4),
        (39, 8),
        (41, 6),
        (47, 8),
        (55, 8),
        (63, 1),
        (64, 16),
    ];
    for state in STATES {
        let mut record = standing(state);
        if matches!(state, State::Done | State::Failed) {
            record.expires = now() / 1000 + 60_000;
        }
        for (at, length) in fields {
            for byte in [0, 0xff] {
                let mut changed = record.encode();
                changed[at..at + length].fill(byte);
                let what = format!("{state:?}, {length} bytes at {at} are {byte}");
                server.is_as_the_protocol_says(&changed, &what).await;
            }
        }
    }
}

/// Names of owners are UTF-8, also in the scripts.
#[tokio::test]
async fn a_record_whose_owner_is_no_text() {
    let mut server = Server::start();
    let names: [&[u8]; 16] = [
        b"h\xc3\xb8st",
        "名:7".as_bytes(),
        "\u{10ffff}".as_bytes(),
        "\u{d7ff}\u{e000}".as_bytes(),
        b"\x80",
        b"a\xc3",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\x80",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xf0\x80\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xff",
    ];
    let read = names.iter().filter(|name| str::from_utf8(name).is_ok());
    assert_eq!(read.count(), 4);
    for state in [State::Running, State::Lost] {
        let mut record = standing(state);
        record.owner = None;
        for name in names {
            let mut bytes = record.encode();
            bytes[63] = u8::try_from(name.len()).expect("short");
            bytes.extend_from_slice(name);
            let what = format!("{state:?}, {name:x?}");
            server.is_as_the_protocol_says(&bytes, &what).await;
        }
    }
}

/// Nobody runs it again, and an operator sees it.
#[tokio::test]
async fn a_result_whose_end_was_never_set_is_replayed_and_shown() {
    let mut server = Server::start();
    let mut record = standing(State::Done);
    record.owner = None;
    assert_eq!(record.expires, 0);
    server.put(&record.encode());
    let mut again = request(2);
    again.fingerprint = record.fingerprint;
    let (replayed, _) = held(server.store.claim(&key("1"), &again).await.expect("claim"));
    assert_eq!(replayed, record);
    let shown = server.store.read(&key("1")).await.expect("read");
    assert_eq!(shown.expect("a record").0, replayed);
    let replacement = in_state(&request(3).record(), State::Failed);
    let settled = server
        .store
        .overrule(&key("1"), Some(&record), &replacement)
        .await;
    assert_eq!(settled.expect("overrule"), Settled::Applied);

    record.seal(&key("1"));
    server.put(&record.encode());
    let shared = SharedStore::new(server.store.clone());
    let operation = operation::<Result<u8, Error>, _>("payments.charge", &[&"1"]).store(&shared);
    let inspected = operation.inspect().await.expect("inspected");
    assert_eq!(inspected.expect("a record").expires, None);
}
