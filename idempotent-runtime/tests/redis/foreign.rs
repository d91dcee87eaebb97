//! Bytes that are not a record of this version are left as they are.

use std::time::Duration;

use idempotent_runtime::{
    Store, StoreError, StoreErrorKind,
    fingerprint::Fingerprint,
    record::{Owner, Record, State},
};
use idempotent_test_support::RedisServer;

use crate::common::*;

#[track_caller]
fn incompatible<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.expect_err("incompatible");
    assert_eq!(error.kind(), StoreErrorKind::Incompatible, "{error}");
    assert!(!error.to_string().contains("charge"), "{error}");
}

/// Every operation that could change the record of attempt 1.
async fn nothing_reads_it(server: &RedisServer, what: &str) {
    let store = store(server);
    let owned = request(1).record();
    for number in [1, 2] {
        incompatible(store.claim(&key("1"), &request(number)).await);
    }
    incompatible(store.read(&key("1")).await);
    incompatible(store.renew(&key("1"), &owned).await);
    for target in [
        done(&owned, b"1"),
        in_state(&owned, State::Failed),
        in_state(&owned, State::Lost),
    ] {
        incompatible(store.finish(&key("1"), &target).await);
    }
    let replacement = in_state(&request(3).record(), State::Failed);
    incompatible(store.overrule(&key("1"), None, &replacement).await);
    for state in [State::Running, State::Failed, State::Done, State::Lost] {
        let seen = if state == State::Done {
            done(&owned, b"")
        } else {
            in_state(&owned, state)
        };
        incompatible(store.overrule(&key("1"), Some(&seen), &replacement).await);
    }
    assert!(!what.is_empty());
}

/// A record of attempt 1, with some bytes changed.
fn changed(state: State, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut owned = request(1).record();
    owned.token = 5;
    let record = if state == State::Done {
        done(&owned, b"42")
    } else {
        in_state(&owned, state)
    };
    let mut bytes = record.encode();
    change(&mut bytes);
    bytes
}

#[tokio::test]
async fn values_that_no_release_wrote() {
    let server = RedisServer::start();
    let values: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("text", b"locked by worker 7".to_vec()),
        ("a long text", vec![b'x'; 200]),
        (
            "a record cut short",
            changed(State::Running, |bytes| bytes.truncate(40)),
        ),
        (
            "the next version",
            changed(State::Running, |bytes| bytes[0] = 3),
        ),
        (
            "a lost one of the first version",
            changed(State::Lost, |bytes| bytes[0] = 1),
        ),
        (
            "an unknown state",
            changed(State::Running, |bytes| bytes[1] = b'X'),
        ),
        (
            "an unknown flag",
            changed(State::Running, |bytes| bytes[30] = 32),
        ),
        (
            "an outcome flag without an outcome",
            changed(State::Running, |bytes| bytes[30] = 4),
        ),
        (
            "two outcome flags",
            changed(State::Done, |bytes| bytes[30] = 12),
        ),
        (
            "a running result",
            changed(State::Running, |bytes| bytes.push(1)),
        ),
        (
            "a released result",
            changed(State::Failed, |bytes| bytes.push(1)),
        ),
        (
            "an impossible token",
            changed(State::Running, |bytes| bytes[18] = 0xff),
        ),
        (
            "a token just too large",
            changed(State::Lost, |bytes| {
                bytes[18..26].copy_from_slice(&(1u64 << 53).to_be_bytes());
            }),
        ),
    ];
    for (what, bytes) in values {
        put(&server, &key("1"), &bytes);
        nothing_reads_it(&server, what).await;
        assert_eq!(value(&server, &key("1")), Some(bytes), "{what} was changed");
        // Nor is its end changed: it has none.
        assert_eq!(pttl(&server, &key("1")), -1, "{what}");
    }
}

/// Whatever cannot be read is left alone by every script, and whatever a script takes for a record
/// can be read.
#[tokio::test]
async fn no_script_changes_what_a_flipped_bit_makes_unreadable() {
    let server = RedisServer::start();
    let store = store(&server);
    let mut full = request(1).record();
    full.token = 5;
    full.fingerprint = Some(Fingerprint::from_bytes([7; 16]));
    full.trace = Some([9; 16]);
    full.owner = Owner::new("host:17");
    let mut flipped = 0;
    for state in [State::Running, State::Done, State::Failed, State::Lost] {
        let standing = if state == State::Done {
            done(&full, b"42")
        } else {
            in_state(&full, state)
        };
        let bytes = standing.encode();
        // Behind the fixed part is text.
        for bit in 0..64 * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if Record::decode(&damaged).is_ok() {
                continue;
            }
            flipped += 1;
            put(&server, &key("1"), &damaged);
            incompatible(store.renew(&key("1"), &full).await);
            incompatible(store.finish(&key("1"), &done(&full, b"1")).await);
            let replacement = in_state(&request(3).record(), State::Failed);
            incompatible(
                store
                    .overrule(&key("1"), Some(&standing), &replacement)
                    .await,
            );
            assert_eq!(value(&server, &key("1")), Some(damaged), "{state:?} {bit}");
        }
    }
    assert!(flipped > 500, "{flipped}");
}

#[tokio::test]
async fn values_of_another_type() {
    let server = RedisServer::start();
    server.cli(&["HSET", &redis_key(&key("1")), "status", "locked"]);
    nothing_reads_it(&server, "a hash").await;
    assert_eq!(
        server.cli(&["HGET", &redis_key(&key("1")), "status"]),
        "locked"
    );
}

#[tokio::test]
async fn a_foreign_value_that_appears_during_a_claim() {
    let server = RedisServer::start();
    let store = store(&server);
    // A takeover that was sent to a record is told what stands now, and leaves it.
    granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    elapse(&server, &key("1"), Duration::from_secs(60));
    let newer = changed(State::Running, |bytes| bytes[0] = 3);
    put(&server, &key("1"), &newer);
    incompatible(store.claim(&key("1"), &request(2)).await);
    assert_eq!(value(&server, &key("1")), Some(newer));
}
