//! A primary that sentinels name.

use std::time::Duration;

use idempotent_runtime::{
    Store, StoreErrorKind,
    store::{RedisOptions, RedisStore},
};
use idempotent_test_support::{RedisServer, Sentinel, wait_until};

use crate::common::*;

#[tokio::test]
async fn a_failover_is_followed() {
    let sentinel = Sentinel::start();
    let options = RedisOptions::new().with_response_timeout(Duration::from_secs(1));
    let store = options
        .open_sentinel(sentinel.urls(), sentinel.master_name())
        .expect("valid URLs");
    let target = first_call(&store, &key("1"), 1, b"42").await;
    let mut subscription = store.subscribe(&key("2")).await.expect("subscribe");
    assert!(subscription.is_push());
    // Acknowledged writes that no replica has yet would be lost with the primary.
    let replicas = || {
        sentinel
            .servers()
            .iter()
            .filter(|server| server.port() != sentinel.master().port())
    };
    wait_until("the replicas have everything", || {
        replicas().all(|replica| replica.cli(&["DBSIZE"]) == "1")
    });

    let killed = sentinel.kill_master();
    let error = store.claim(&key("1"), &request(2)).await.expect_err("down");
    assert!(
        matches!(
            error.kind(),
            StoreErrorKind::NotSent | StoreErrorKind::Ambiguous
        ),
        "{error}"
    );
    sentinel.wait_for_failover();
    assert_ne!(sentinel.master().port(), killed);
    let mut answer = None;
    for _ in 0..200 {
        if let Ok(reply) = store.claim(&key("1"), &request(2)).await {
            answer = Some(reply);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (record, _) = held(answer.expect("the new primary answers"));
    assert_eq!(record.outcome, target.outcome);

    // Waiters were told of the loss, and listen to the new primary.
    told(&mut subscription).await;
    let new: &RedisServer = sentinel.master();
    for _ in 0..1000 {
        if new
            .cli(&["PUBSUB", "NUMSUB", &redis_key(&key("2"))])
            .ends_with('1')
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        new.cli(&["PUBSUB", "NUMSUB", &redis_key(&key("2"))])
            .ends_with('1')
    );
    first_call(&store, &key("2"), 3, b"43").await;
    told(&mut subscription).await;
}

/// A primary that was demoted still answers, on connections that are still open.
#[tokio::test]
async fn a_demoted_primary_is_left() {
    let sentinel = Sentinel::start();
    let store = RedisStore::sentinel(sentinel.urls(), sentinel.master_name()).expect("valid URLs");
    first_call(&store, &key("1"), 1, b"42").await;
    let before = sentinel.master().port();
    let other = sentinel
        .servers()
        .iter()
        .find(|server| server.port() != before)
        .expect("a replica");
    // The connection outlives the change: only the role is another.
    let port = other.port().to_string();
    sentinel.master().cli(&["REPLICAOF", "127.0.0.1", &port]);
    let error = store
        .claim(&key("2"), &request(2))
        .await
        .expect_err("a replica now");
    assert!(error.to_string().contains("READONLY"), "{error}");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    // The next one asks the sentinels again; they may still name the one that is no primary, which
    // is then refused.
    let next = store.claim(&key("2"), &request(2)).await;
    if let Err(error) = next {
        assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");
    }
}

#[tokio::test]
async fn sentinels_that_do_not_know_the_name_are_named() {
    let sentinel = Sentinel::start();
    let store = RedisStore::sentinel(sentinel.urls(), "somebody-else").expect("valid URLs");
    let error = store.check().await.expect_err("unknown");
    assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");
    assert!(error.to_string().contains("somebody-else"), "{error}");
}
