//! Leases, takeovers, and duplicate or late messages.

use std::time::Duration;

use idempotent_runtime::{
    OnCrash, Store,
    record::{Nonce, State},
    store::{ClaimReply, Settled},
};
use idempotent_test_support::RedisServer;

use crate::common::*;

const TAKEOVER: &str = include_str!("../../src/store/redis/scripts/takeover.lua");
const COMMON: &str = include_str!("../../src/store/redis/scripts/common.lua");

#[tokio::test]
async fn a_running_owner_is_left_alone_until_its_lease_lapses() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));

    elapse(&server, &key("1"), Duration::from_secs(10));
    let (record, left) = held(store.claim(&key("1"), &request(2)).await.expect("claim"));
    assert_eq!(record, owned);
    assert!(
        left > Duration::ZERO && left <= Duration::from_secs(20),
        "{left:?}"
    );

    elapse(&server, &key("1"), Duration::from_secs(20));
    let reply = store.claim(&key("1"), &request(2)).await.expect("claim");
    let ClaimReply::Granted {
        record,
        takeover: true,
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!(
        (record.nonce, record.attempts, record.state),
        (request(2).nonce, 2, State::Running)
    );
    assert_eq!(record.lease, 2 * LEASE);
    assert!(record.token > owned.token);
}

#[tokio::test]
async fn a_heartbeat_makes_the_lease_young_again() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    elapse(&server, &key("1"), PAST_LEASE);
    assert_eq!(
        store.renew(&key("1"), &owned).await.expect("renew"),
        Settled::Applied
    );
    let (record, left) = held(store.claim(&key("1"), &request(2)).await.expect("claim"));
    assert_eq!(record, owned);
    assert!(left > Duration::from_secs(10), "{left:?}");
}

#[tokio::test]
async fn leases_of_silent_owners_grow_to_eight_times_the_option() {
    let server = RedisServer::start();
    let store = store(&server);
    granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    for (number, factor) in [(2, 2), (3, 4), (4, 8), (5, 8)] {
        elapse(&server, &key("1"), LEASE * 8);
        let record = granted(
            store
                .claim(&key("1"), &request(number))
                .await
                .expect("claim"),
        );
        assert_eq!(record.lease, LEASE * factor);
    }
}

#[tokio::test]
async fn a_lapsed_lease_under_fail_is_lost_and_its_owner_may_come_back() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &failing(1)).await.expect("claim"));
    elapse(&server, &key("1"), PAST_LEASE);
    // The record's policy counts, not the later caller's.
    let (record, _) = held(store.claim(&key("1"), &request(2)).await.expect("claim"));
    assert_eq!((record.state, record.nonce), (State::Lost, owned.nonce));
    assert!(pttl(&server, &key("1")) > hold() - 60_000);

    assert_eq!(
        store.renew(&key("1"), &owned).await.expect("renew"),
        Settled::Applied
    );
    assert_eq!(record_state(&server), State::Running);
    let finished = store
        .finish(&key("1"), &done(&owned, b"42"))
        .await
        .expect("finish");
    assert_eq!(finished, Settled::Applied);
}

#[tokio::test]
async fn a_claim_that_asks_again_gets_the_same_grant() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    assert_eq!(
        granted(store.claim(&key("1"), &request(1)).await.expect("claim")),
        owned
    );

    elapse(&server, &key("1"), PAST_LEASE);
    let second = granted(store.claim(&key("1"), &request(2)).await.expect("claim"));
    assert_eq!(
        granted(store.claim(&key("1"), &request(2)).await.expect("claim")),
        second
    );
    assert_eq!(record(&server, &key("1")).expect("there"), second);
}

#[tokio::test]
async fn an_owner_declared_lost_that_still_asks_has_not_run() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &failing(1)).await.expect("claim"));
    elapse(&server, &key("1"), PAST_LEASE);
    held(store.claim(&key("1"), &failing(2)).await.expect("claim"));
    assert_eq!(
        granted(store.claim(&key("1"), &failing(1)).await.expect("claim")),
        owned
    );
    assert_eq!(record_state(&server), State::Running);
}

#[tokio::test]
async fn a_claim_that_comes_after_its_own_release_gets_nothing() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    let released = in_state(&owned, State::Failed);
    assert_eq!(
        store.finish(&key("1"), &released).await.expect("finish"),
        Settled::Applied
    );
    let (record, _) = held(store.claim(&key("1"), &request(1)).await.expect("claim"));
    assert_eq!(
        {
            let mut record = record;
            record.expires = 0;
            record
        },
        released
    );
    // Kept for its ttl and its grace.
    assert!((3_600_000..=3_660_000).contains(&pttl(&server, &key("1"))));
}

#[tokio::test]
async fn a_released_record_goes_to_the_next_with_a_larger_token() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    store
        .finish(&key("1"), &in_state(&owned, State::Failed))
        .await
        .expect("finish");
    let reply = store.claim(&key("1"), &request(2)).await.expect("claim");
    let ClaimReply::Granted {
        record,
        takeover: false,
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!((record.attempts, record.lease), (2, LEASE));
    assert!(record.token > owned.token);
}

/// Sends the takeover script as a message that was under way for long.
fn late_takeover(server: &RedisServer, number: u8, seen_state: u8, seen: Nonce) -> Vec<u8> {
    let mut named = vec![seen_state];
    named.extend(seen.as_bytes());
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_connection().expect("the server is there");
    let answer: (u64, Vec<u8>, Vec<u8>, u64) = redis::cmd("EVAL")
        .arg(TAKEOVER.replace("-- common.lua\n", COMMON))
        .arg(1)
        .arg(redis_key(&key("1")))
        .arg(named)
        .arg(request(number).record().encode())
        .arg(86_400_000)
        .arg(8)
        .query(&mut connection)
        .expect("an answer");
    answer.1
}

#[tokio::test]
async fn a_late_takeover_applies_to_nothing_but_the_record_it_saw() {
    let server = RedisServer::start();
    let store = store(&server);
    // Nothing there.
    assert_eq!(late_takeover(&server, 9, b'F', request(1).nonce), b"A");
    assert_eq!(value(&server, &key("1")), None);

    let first = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    elapse(&server, &key("1"), PAST_LEASE);
    let second = granted(store.claim(&key("1"), &request(2)).await.expect("claim"));
    elapse(&server, &key("1"), 3 * PAST_LEASE);
    // Lapsed, but another attempt's.
    assert_eq!(late_takeover(&server, 9, b'R', first.nonce), b"C");
    // The same attempt's, in another state.
    store
        .finish(&key("1"), &in_state(&second, State::Failed))
        .await
        .expect("finish");
    let before = value(&server, &key("1"));
    assert_eq!(late_takeover(&server, 9, b'R', second.nonce), b"C");
    assert_eq!(value(&server, &key("1")), before);
    // And it does apply to the very record.
    assert_eq!(late_takeover(&server, 9, b'F', second.nonce), b"G");
    assert_eq!(
        record(&server, &key("1")).expect("there").nonce,
        request(9).nonce
    );
}

/// Its claim has been let through: it must not be stuck halfway.
#[tokio::test]
async fn a_takeover_needs_no_room() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    elapse(&server, &key("1"), PAST_LEASE);
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(server.try_cli(&["SET", "other", "data"]).is_err());
    assert_eq!(late_takeover(&server, 9, b'R', owned.nonce), b"G");
}

#[tokio::test]
async fn a_running_record_whose_expiry_was_taken_away_counts_as_just_renewed() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    elapse(&server, &key("1"), PAST_LEASE);
    server.cli(&["PERSIST", &redis_key(&key("1"))]);
    let read = store.read(&key("1")).await.expect("read").expect("there");
    assert_eq!(read, (owned.clone(), LEASE));

    let (record, left) = held(store.claim(&key("1"), &request(2)).await.expect("claim"));
    assert_eq!((record, left), (owned, LEASE));
    assert!(pttl(&server, &key("1")) > hold() - 60_000);
    elapse(&server, &key("1"), PAST_LEASE);
    granted(store.claim(&key("1"), &request(2)).await.expect("claim"));
}

#[tokio::test]
async fn a_fingerprint_conflict_takes_nothing() {
    let server = RedisServer::start();
    let store = store(&server);
    let print = |byte| {
        Some(idempotent_runtime::fingerprint::Fingerprint::from_bytes(
            [byte; 16],
        ))
    };
    let mut one = request(1);
    one.fingerprint = print(1);
    one.on_crash = OnCrash::Fail;
    let mut two = request(2);
    two.fingerprint = print(2);
    let owned = granted(store.claim(&key("1"), &one).await.expect("claim"));
    let (record, left) = held(store.claim(&key("1"), &two).await.expect("claim"));
    assert_eq!(record, owned);
    assert!(left > Duration::ZERO && left <= LEASE);
    // Not even a lapsed one: it is neither taken nor declared lost.
    elapse(&server, &key("1"), PAST_LEASE);
    let (record, left) = held(store.claim(&key("1"), &two).await.expect("claim"));
    assert_eq!((record, left), (owned.clone(), Duration::ZERO));
    // A released record pins nothing.
    store
        .finish(&key("1"), &in_state(&owned, State::Failed))
        .await
        .expect("finish");
    assert_eq!(
        granted(store.claim(&key("1"), &two).await.expect("claim")).fingerprint,
        print(2)
    );
}
