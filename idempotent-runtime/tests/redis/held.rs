//! A call that is polled a few times and then held without a poll blocks no other call.

use std::{pin::pin, time::Duration};

use idempotent_runtime::{
    Error, SharedStore, Store, operation,
    store::{RedisOptions, RedisStore},
};
use idempotent_test_support::{RedisCluster, RedisServer, Sentinel};

use crate::common::*;

/// More polls than any call takes here.
const ENOUGH: usize = 40;

type Answer = Result<u32, Error>;

async fn call(store: &SharedStore, part: &str) -> Answer {
    let call = operation::<Answer, _>("held", &[&part]).store(store);
    call.wait(Duration::ZERO).run(async { Ok(1) }).await
}

/// Calls until there is a connection: to make one takes a busy machine longer than a call waits for
/// it.
async fn connected_call(store: &SharedStore, part: &str) -> Answer {
    for _ in 0..20 {
        match call(store, part).await {
            Err(Error::Unavailable { source, .. }) if source.is_transient() => {}
            answer => return answer,
        }
    }
    call(store, part).await
}

/// Holds a call at each of its await points, at the first connect and after `lose` has taken all
/// connections, and looks whether others are answered meanwhile.
async fn held_calls_stop_nobody(name: &str, store: impl Fn() -> RedisStore, lose: impl Fn()) {
    for is_lost in [false, true] {
        let mut was_pending = true;
        for polls in 1..ENOUGH {
            let redis = store();
            if is_lost {
                redis.check().await.expect("fit");
                let mut listening = redis.subscribe(&key("listening")).await.expect("subscribe");
                lose();
                // The loss has been noticed.
                told(&mut listening).await;
            }
            let shared = SharedStore::new(redis);
            let own = format!("{name} {is_lost} {polls}");
            let mut held = pin!(call(&shared, &own));
            was_pending = polled(held.as_mut(), polls).await;
            let other = format!("{own} other");
            let unrelated = answered("an unrelated key", connected_call(&shared, &other));
            assert_eq!(unrelated.await.expect(&own), 1);
            match answered("the same key", connected_call(&shared, &own)).await {
                Ok(1) | Err(Error::InFlight { .. }) => {}
                other => panic!("{own}: {other:?}"),
            }
            let look = operation::<Answer, _>("held", &[&own]).store(&shared);
            answered("`inspect`", look.inspect()).await.expect(&own);
            if !was_pending {
                break;
            }
        }
        assert!(!was_pending, "it was held at every await point");
    }
}

#[tokio::test]
async fn a_held_call_stops_nobody_on_one_server() {
    let server = RedisServer::start();
    held_calls_stop_nobody("one", || store(&server), || server.drop_clients()).await;
}

#[tokio::test]
async fn a_held_call_stops_nobody_on_a_cluster() {
    let cluster = RedisCluster::start();
    let store = || RedisStore::cluster(cluster.urls()).expect("valid URLs");
    let lose = || cluster.nodes().iter().for_each(RedisServer::drop_clients);
    held_calls_stop_nobody("cluster", store, lose).await;
}

#[tokio::test]
async fn a_held_call_stops_nobody_by_sentinel() {
    let sentinel = Sentinel::start();
    let name = sentinel.master_name();
    let store = || RedisStore::sentinel(sentinel.urls(), name).expect("valid URLs");
    held_calls_stop_nobody("sentinel", store, || sentinel.master().drop_clients()).await;
}

/// A takeover, a heartbeat, a finish, reading, and scripts that the server has forgotten: each is
/// held at each point.
#[tokio::test]
async fn whatever_else_is_held_stops_nobody() {
    let server = RedisServer::start();
    let patient = RedisOptions::new();
    let store = patient.open(&server.url()).expect("a valid URL");
    for polls in 1..ENOUGH {
        server.cli(&["SCRIPT", "FLUSH"]);
        let part = |kind: &str| key(&format!("{kind} {polls}"));
        let owned = granted(store.claim(&part("own"), &request(1)).await.expect("claim"));
        let lapsed = granted(store.claim(&part("old"), &request(1)).await.expect("claim"));
        elapse(&server, &part("old"), LEASE);
        let (own, old, target, second) =
            (part("own"), part("old"), done(&owned, b"42"), request(2));
        let mut renew = pin!(store.renew(&own, &owned));
        let mut finish = pin!(store.finish(&own, &target));
        let mut takeover = pin!(store.claim(&old, &second));
        let mut read = pin!(store.read(&old));
        let mut is_pending = polled(renew.as_mut(), polls).await;
        is_pending |= polled(finish.as_mut(), polls).await;
        is_pending |= polled(takeover.as_mut(), polls).await;
        is_pending |= polled(read.as_mut(), polls).await;

        let free = part("free");
        let claim = answered("a claim", store.claim(&free, &request(3))).await;
        let claim = granted(claim.expect("claim"));
        let end = done(&claim, b"43");
        let finish = answered("a finish", store.finish(&free, &end)).await;
        finish.expect("finish");
        for key in [&own, &old] {
            let third = request(3);
            let claim = answered("the same key", store.claim(key, &third)).await;
            claim.expect("claim");
        }
        drop(lapsed);
        if !is_pending {
            return;
        }
    }
    panic!("it was held at every await point");
}

#[tokio::test]
async fn a_held_waiter_keeps_nobody_from_listening() {
    let server = RedisServer::start();
    for is_lost in [false, true] {
        let mut was_pending = true;
        for polls in 1..ENOUGH {
            let store = store(&server);
            if is_lost {
                let mut listening = store.subscribe(&key("listening")).await.expect("subscribe");
                server.drop_clients();
                told(&mut listening).await;
            }
            let part = format!("{is_lost} {polls}");
            let held_key = key(&part);
            let mut held = pin!(store.subscribe(&held_key));
            was_pending = polled(held.as_mut(), polls).await;
            for part in [&part, &format!("{part} other")] {
                let waiter = answered("a waiter", store.subscribe(&key(part))).await;
                let mut waiter = waiter.expect("subscribe");
                assert!(waiter.is_push(), "{part}");
                first_call(&store, &key(part), 1, b"42").await;
                told(&mut waiter).await;
            }
            if !was_pending {
                break;
            }
        }
        assert!(!was_pending, "it was held at every await point");
    }
}
