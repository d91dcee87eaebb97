//! Waiters are woken.

use std::time::Duration;

use idempotent_runtime::{
    Store,
    key::Key,
    record::State,
    store::{RedisOptions, RedisStore, Subscription},
};
use idempotent_test_support::{Proxy, RedisServer, wait_until};

use crate::common::*;

/// How many connections of the server listen to the key's channel.
fn listeners(server: &RedisServer, key: &Key) -> usize {
    let answer = server.cli(&["PUBSUB", "NUMSUB", &redis_key(key)]);
    answer
        .lines()
        .nth(1)
        .expect("a count")
        .parse()
        .expect("a number")
}

async fn subscribed(store: &RedisStore, part: &str) -> Subscription {
    let subscription = store.subscribe(&key(part)).await.expect("subscribe");
    assert!(subscription.is_push());
    subscription
}

/// Whether a change is told already.
async fn is_told(subscription: &mut Subscription) -> bool {
    tokio::time::timeout(Duration::from_millis(50), subscription.changed())
        .await
        .is_ok()
}

#[tokio::test]
async fn a_finish_elsewhere_wakes_the_waiter() {
    let server = RedisServer::start();
    let (owner, waiter) = (store(&server), store(&server));
    for (part, state) in [
        ("done", State::Done),
        ("failed", State::Failed),
        ("lost", State::Lost),
    ] {
        let owned = granted(owner.claim(&key(part), &request(1)).await.expect("claim"));
        let mut subscription = subscribed(&waiter, part).await;
        // In force when it is handed out.
        assert_eq!(listeners(&server, &key(part)), 1);
        owner.renew(&key(part), &owned).await.expect("renew");
        assert!(
            !is_told(&mut subscription).await,
            "a heartbeat wakes nobody"
        );
        let target = if state == State::Done {
            done(&owned, b"42")
        } else {
            in_state(&owned, state)
        };
        owner.finish(&key(part), &target).await.expect("finish");
        told(&mut subscription).await;
        assert!(!is_told(&mut subscription).await, "once is enough");
    }
}

#[tokio::test]
async fn a_decision_wakes_the_waiter_and_other_keys_do_not() {
    let server = RedisServer::start();
    let store = store(&server);
    let mut other = subscribed(&store, "2").await;
    let mut subscription = subscribed(&store, "1").await;
    let replacement = in_state(&request(1).record(), State::Failed);
    store
        .overrule(&key("1"), None, &replacement)
        .await
        .expect("overrule");
    told(&mut subscription).await;
    assert!(!is_told(&mut other).await);
}

#[tokio::test]
async fn all_waiters_share_one_connection_and_leave_nothing_behind() {
    let server = RedisServer::start();
    let store = store(&server);
    let mut subscriptions = Vec::new();
    for part in 0..300 {
        subscriptions.push(subscribed(&store, &part.to_string()).await);
        subscriptions.push(subscribed(&store, &part.to_string()).await);
    }
    let channels = || server.cli(&["PUBSUB", "CHANNELS", "idempotent:*"]);
    assert_eq!(channels().lines().count(), 300);
    let clients = server.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]);
    assert_eq!(clients.lines().count(), 1, "{clients}");

    subscriptions.truncate(1);
    for _ in 0..2000 {
        if channels().lines().count() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(channels(), "idempotent:payments.charge|0");
    first_call(&store, &key("0"), 1, b"42").await;
    told(&mut subscriptions[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_who_comes_as_the_last_one_leaves_is_told() {
    let server = RedisServer::start();
    let (owner, waiter) = (store(&server), store(&server));
    for round in 0..1000 {
        let part = "contended";
        let leaving = subscribed(&waiter, part).await;
        drop(leaving);
        for _ in 0..round % 50 {
            // Let the keeper get ahead by more or less.
            std::hint::spin_loop();
        }
        let mut subscription = subscribed(&waiter, part).await;
        let owned = granted(owner.claim(&key(part), &request(1)).await.expect("claim"));
        owner
            .finish(&key(part), &done(&owned, b"42"))
            .await
            .expect("finish");
        let told = tokio::time::timeout(Duration::from_secs(10), subscription.changed()).await;
        assert!(told.is_ok(), "round {round}");
        server.cli(&["DEL", &redis_key(&key(part))]);
    }
}

#[tokio::test]
async fn a_loss_wakes_everybody_and_then_they_are_told_again() {
    let server = RedisServer::start();
    let owner = store(&server);
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    let waiter = RedisStore::new(&proxy.url()).expect("a valid URL");
    let mut subscriptions = vec![
        subscribed(&waiter, "1").await,
        subscribed(&waiter, "2").await,
    ];
    for round in 1..=2 {
        proxy.cut();
        assert!(proxy.counters().cut >= round);
        for subscription in &mut subscriptions {
            told(subscription).await;
        }
        // It listens again by itself.
        for _ in 0..1000 {
            if listeners(&server, &key("1")) + listeners(&server, &key("2")) == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(listeners(&server, &key("1")), 1);
        for subscription in &mut subscriptions {
            while is_told(subscription).await {}
        }
    }
    first_call(&owner, &key("2"), 1, b"42").await;
    told(&mut subscriptions[1]).await;
    assert!(!is_told(&mut subscriptions[0]).await);
}

#[tokio::test]
async fn a_listener_whose_peer_vanished_is_replaced_when_somebody_comes() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    let options = RedisOptions::new().with_response_timeout(Duration::from_millis(300));
    let store = options.open(&proxy.url()).expect("a valid URL");
    let mut early = subscribed(&store, "1").await;
    proxy.black_hole(true);
    // Nobody is kept from waiting because there is no push.
    let polling = store.subscribe(&key("2")).await.expect("subscribe");
    assert!(!polling.is_push());
    proxy.black_hole(false);
    told(&mut early).await;
    for _ in 0..1000 {
        if listeners(&server, &key("1")) == 1
            && store
                .subscribe(&key("3"))
                .await
                .expect("subscribe")
                .is_push()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first_call(&store, &key("1"), 1, b"42").await;
    told(&mut early).await;
}

#[test]
fn nothing_is_left_of_a_store_that_was_dropped() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let store = store(&server);
    let subscription = runtime.block_on(subscribed(&store, "1"));
    runtime
        .block_on(store.claim(&key("1"), &request(1)))
        .expect("claim");
    drop(subscription);
    drop(store);
    // The runtime goes on.
    wait_until("its connections are closed", || {
        let clients = server.cli(&["CLIENT", "LIST"]);
        clients
            .lines()
            .filter(|client| !client.contains("user=test-support"))
            .count()
            == 0
    });
}
