//! Durations, ages and tokens at their limits.

use std::time::Duration;

use idempotent_runtime::{
    Store,
    record::{MAX_TOKEN, State},
    store::{RedisOptions, Settled},
};
use idempotent_test_support::RedisServer;

use crate::common::*;

#[tokio::test]
async fn tokens_grow_up_to_the_largest_and_no_further() {
    let server = RedisServer::start();
    let store = store(&server);
    for (last, next) in [(MAX_TOKEN - 1, MAX_TOKEN), (MAX_TOKEN, MAX_TOKEN)] {
        let mut failed = in_state(&request(1).record(), State::Failed);
        failed.token = last;
        put(&server, &key("1"), &failed.encode());
        let claimed = granted(store.claim(&key("1"), &request(2)).await.expect("claim"));
        assert_eq!(claimed.token, next);
    }
}

/// Somebody has made the key live longer, or the server's clock went back.
#[tokio::test]
async fn an_age_below_zero_is_zero_and_blocks_nobody() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    for beyond in [1, 3_600_000, 315_360_000_000] {
        let longer = (hold() + beyond).to_string();
        server.cli(&["PEXPIRE", &redis_key(&key("1")), &longer]);
        let read = store.read(&key("1")).await.expect("read");
        assert_eq!(read, Some((owned.clone(), LEASE)));
        let (_, left) = held(store.claim(&key("1"), &request(2)).await.expect("claim"));
        assert_eq!(left, LEASE);
        assert!(pttl(&server, &key("1")) <= hold(), "{beyond}");
    }
    elapse(&server, &key("1"), PAST_LEASE);
    granted(store.claim(&key("1"), &request(2)).await.expect("claim"));
}

#[tokio::test]
async fn odd_durations_stay_within_the_format() {
    let server = RedisServer::start();
    let store = store(&server);
    // A lease of nothing lapses at once.
    let mut none = request(1);
    none.lease = Duration::from_micros(900);
    let owned = granted(store.claim(&key("1"), &none).await.expect("claim"));
    assert_eq!(owned.lease, Duration::ZERO);
    granted(store.claim(&key("1"), &request(2)).await.expect("claim"));

    // Retention of nothing is a millisecond, of centuries the longest there is.
    for (part, retain) in [("short", Duration::ZERO), ("long", Duration::MAX)] {
        let owned = granted(store.claim(&key(part), &request(3)).await.expect("claim"));
        let mut target = done(&owned, b"42");
        target.ttl = retain;
        let settled = store.finish(&key(part), &target).await.expect("finish");
        assert_eq!(settled, Settled::Applied);
    }
    let century = 100 * 365 * 24 * 3_600_000_i64;
    // And its grace, of twice the lease.
    let kept = pttl(&server, &key("long")) - 60_000;
    assert!((century - 60_000..=century).contains(&kept), "{kept}");
    let kept = record(&server, &key("long")).expect("done");
    assert!(kept.expires > u64::try_from(century).expect("positive"));

    // The longest lease does not grow any more.
    let day = Duration::from_secs(86_400);
    let mut longest = request(4);
    longest.lease = day;
    granted(store.claim(&key("day"), &longest).await.expect("claim"));
    elapse(&server, &key("day"), day);
    let mut next = request(5);
    next.lease = day;
    assert_eq!(
        granted(store.claim(&key("day"), &next).await.expect("claim")).lease,
        day
    );
}

/// A server whose clock went back, or a failover to one that is behind.
#[tokio::test]
async fn tokens_grow_past_a_clock_that_went_back() {
    let server = RedisServer::start();
    let store = store(&server);
    let ahead = 1 << 52;
    for (state, token, expected) in [
        (State::Running, ahead, ahead + 1),
        (State::Failed, ahead, ahead + 1),
        (State::Failed, (1 << 53) - 1, (1 << 53) - 1),
    ] {
        let mut standing = request(1).record();
        standing.token = token;
        standing.state = state;
        standing.expires = if state == State::Failed { 1 << 42 } else { 0 };
        put(&server, &key("1"), &standing.encode());
        server.cli(&["PEXPIRE", &redis_key(&key("1")), "1000000"]);
        let taken = granted(store.claim(&key("1"), &request(2)).await.expect("claim"));
        assert_eq!(taken.token, expected, "{state:?}");

        put(&server, &key("1"), &standing.encode());
        let replacement = in_state(&request(3).record(), State::Failed);
        let settled = store
            .overrule(&key("1"), Some(&standing), &replacement)
            .await;
        assert_eq!(settled.expect("overrule"), Settled::Applied);
        assert_eq!(record(&server, &key("1")).expect("there").token, expected);
    }
}

#[tokio::test]
async fn a_store_without_a_limit_of_time_connects() {
    let server = RedisServer::start();
    let options = RedisOptions::new()
        .with_response_timeout(Duration::MAX)
        .with_connection_timeout(Duration::MAX);
    let store = options.open(&server.url()).expect("a store");
    granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
}
