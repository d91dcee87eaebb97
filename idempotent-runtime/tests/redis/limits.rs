//! A server that refuses writes, and servers that are not suitable.

use std::time::Duration;

use idempotent_runtime::{
    Store, StoreErrorKind,
    record::State,
    store::{RedisOptions, RedisStore, Settled},
};
use idempotent_test_support::RedisServer;

use crate::common::*;

/// Fills the server up to its limit.
fn fill(server: &RedisServer) {
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(
        server.try_cli(&["SET", "other", "data"]).is_err(),
        "the server has room"
    );
}

async fn a_server_without_room(
    server: &RedisServer,
    close: impl FnOnce(&RedisServer),
    code: &str,
    finishes: bool,
) {
    let store = store(server);
    let replayed = first_call(&store, &key("done"), 1, b"42").await;
    let running = granted(
        store
            .claim(&key("running"), &request(2))
            .await
            .expect("claim"),
    );
    let released = granted(
        store
            .claim(&key("released"), &request(3))
            .await
            .expect("claim"),
    );
    store
        .finish(&key("released"), &in_state(&released, State::Failed))
        .await
        .expect("finish");
    let lost = granted(store.claim(&key("lost"), &failing(4)).await.expect("claim"));
    store
        .finish(&key("lost"), &in_state(&lost, State::Lost))
        .await
        .expect("finish");
    granted(
        store
            .claim(&key("lapsed"), &request(5))
            .await
            .expect("claim"),
    );
    elapse(server, &key("lapsed"), LEASE);
    close(server);

    let error = store
        .claim(&key("new"), &request(9))
        .await
        .expect_err("no room");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.to_string().contains(code), "{error}");
    assert_eq!(value(server, &key("new")), None);

    let (record, _) = held(store.claim(&key("done"), &request(9)).await.expect("claim"));
    assert_eq!(record.outcome, replayed.outcome);
    let (record, left) = held(
        store
            .claim(&key("running"), &request(9))
            .await
            .expect("claim"),
    );
    assert_eq!(record, running);
    assert!(left > Duration::ZERO);
    assert_eq!(
        granted(
            store
                .claim(&key("running"), &request(2))
                .await
                .expect("claim")
        ),
        running
    );
    let (record, _) = held(store.claim(&key("lost"), &request(9)).await.expect("claim"));
    assert_eq!(record.state, State::Lost);
    // What has to be written is refused.
    for part in ["released", "lapsed"] {
        let before = value(server, &key(part));
        let error = store
            .claim(&key(part), &request(9))
            .await
            .expect_err("no room");
        assert_eq!(error.kind(), StoreErrorKind::Refused);
        assert_eq!(value(server, &key(part)), before);
    }

    // An owner that has run gets its result in where the server allows it at all.
    let finished = store.finish(&key("running"), &done(&running, b"43")).await;
    if finishes {
        assert_eq!(finished.expect("finish"), Settled::Applied);
        assert_eq!(record_of(server).outcome, done(&running, b"43").outcome);
    } else {
        assert_eq!(
            finished.expect_err("refused").kind(),
            StoreErrorKind::Refused
        );
        assert_eq!(record_of(server).state, State::Running);
    }
}

fn record_of(server: &RedisServer) -> idempotent_runtime::record::Record {
    record(server, &key("running")).expect("there")
}

#[tokio::test]
async fn out_of_memory_replays_and_refuses_new_keys() {
    let server = RedisServer::start();
    a_server_without_room(&server, fill, "OOM", true).await;
}

#[tokio::test]
async fn without_replicas_it_replays_and_refuses_new_keys() {
    let server = RedisServer::start();
    let close = |server: &RedisServer| {
        server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    };
    a_server_without_room(&server, close, "NOREPLICAS", false).await;
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_unless_allowed() {
    let server = RedisServer::builder()
        .arg("maxmemory", "100mb")
        .arg("maxmemory-policy", "volatile-lru")
        .start();
    let error = RedisStore::connect(&server.url())
        .await
        .expect_err("evicts");
    assert_eq!(error.kind(), StoreErrorKind::Config);
    assert!(error.to_string().contains("volatile-lru"), "{error}");
    // So does the first use of a store that was not asked before.
    let error = store(&server)
        .claim(&key("1"), &request(1))
        .await
        .expect_err("evicts");
    assert_eq!(error.kind(), StoreErrorKind::Config);
    assert_eq!(value(&server, &key("1")), None);

    let allowed = RedisOptions::new()
        .with_allow_eviction(true)
        .open(&server.url())
        .expect("a valid URL");
    first_call(&allowed, &key("1"), 1, b"42").await;

    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    RedisStore::connect(&server.url()).await.expect("fit");
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    RedisStore::connect(&server.url())
        .await
        .expect("without a limit nothing is evicted");
}

#[tokio::test]
async fn a_replica_is_refused() {
    let primary = RedisServer::start();
    let replica = RedisServer::builder()
        .arg("replicaof", format!("127.0.0.1 {}", primary.port()))
        .start();
    let error = store(&replica)
        .claim(&key("1"), &request(1))
        .await
        .expect_err("a replica");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.to_string().contains("READONLY"), "{error}");
    assert_eq!(value(&primary, &key("1")), None);
}
