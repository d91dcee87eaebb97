//! A connection whose peer has vanished silently is replaced after the first timeout.

use std::{pin::pin, time::Duration};

use idempotent_runtime::{
    Error, SharedStore, Store, operation,
    store::{RedisOptions, RedisStore},
};
use idempotent_test_support::{Proxy, RedisServer};

use crate::common::*;

async fn proxied(server: &RedisServer, response_timeout: Duration) -> (Proxy, RedisStore) {
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    let options = RedisOptions::new().with_response_timeout(response_timeout);
    let store = options.open(&proxy.url()).expect("a valid URL");
    store.check().await.expect("fit");
    assert_eq!(proxy.counters().connections, 1);
    (proxy, store)
}

/// What was sent meanwhile was lost, and the connection that is open stays deaf.
fn vanish(proxy: &Proxy) {
    assert!(proxy.counters().lost_requests > 0);
    proxy.black_hole(false);
}

/// The library gives up sooner than the response timeout may be: then nobody is there to judge the
/// answer.
#[tokio::test]
async fn a_command_that_its_caller_gave_up_takes_a_silent_connection_with_it() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server, Duration::from_secs(12)).await;
    proxy.black_hole(true);
    let (one, first) = (key("1"), request(1));
    let given_up = tokio::time::timeout(Duration::from_millis(2_500), store.claim(&one, &first));
    given_up.await.expect_err("silence");
    vanish(&proxy);
    // The next is on a connection of its own, and needs no second try.
    granted(store.claim(&one, &first).await.expect("answered"));
    assert_eq!(proxy.counters().connections, 2);
}

#[tokio::test]
async fn without_waiting_one_silent_answer_is_enough() {
    type Answer = Result<u32, Error>;
    let server = RedisServer::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    let store = SharedStore::new(RedisStore::connect(&proxy.url()).await.expect("fit"));
    let call = async |part: &str| {
        let call = operation::<Answer, _>("silence", &[&part]).store(&store);
        call.wait(Duration::ZERO).run(async { Ok(1) }).await
    };
    proxy.black_hole(true);
    let error = call("1").await.expect_err("silence");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    vanish(&proxy);
    assert_eq!(call("2").await.expect("answered"), 1);
    assert_eq!(proxy.counters().connections, 2);
}

/// Nobody polls, so nobody's time runs out: whoever comes next sees that something is long
/// unanswered.
#[tokio::test]
async fn a_silence_that_nobody_watched_is_seen_by_who_comes_next() {
    let server = RedisServer::start();
    let timeout = Duration::from_millis(1_500);
    let (proxy, store) = proxied(&server, timeout).await;
    proxy.black_hole(true);
    let (one, first) = (key("1"), request(1));
    let mut held = pin!(store.claim(&one, &first));
    assert!(polled(held.as_mut(), 1).await);
    tokio::time::sleep(timeout * 2).await;
    vanish(&proxy);
    let two = store.claim(&key("2"), &request(2)).await;
    granted(two.expect("answered at once"));
    assert_eq!(proxy.counters().connections, 2);
}

#[tokio::test]
async fn callers_who_leave_at_once_cost_no_connection() {
    let server = RedisServer::start();
    // With this, only who has waited for two seconds has doubts.
    let (proxy, store) = proxied(&server, Duration::from_secs(60)).await;
    for number in 0..100 {
        let (part, first) = (key(&number.to_string()), request(1));
        let mut left = pin!(store.claim(&part, &first));
        polled(left.as_mut(), 1).await;
    }
    granted(
        store
            .claim(&key("stays"), &request(1))
            .await
            .expect("claim"),
    );
    assert_eq!(proxy.counters().connections, 1);
}

/// One answer that is slow says nothing of a connection on which others come.
#[tokio::test]
async fn a_connection_that_is_heard_is_kept_whoever_gives_up() {
    let server = RedisServer::start();
    let (proxy, store) = proxied(&server, Duration::from_secs(60)).await;
    // A server that is busy for a moment: late, but not silent.
    proxy.delay(
        idempotent_test_support::Direction::Replies,
        Duration::from_millis(150),
    );
    for number in 0..5 {
        let (part, first) = (key(&number.to_string()), request(1));
        let given_up = tokio::time::timeout(Duration::from_millis(20), store.claim(&part, &first));
        given_up.await.expect_err("late");
    }
    granted(store.claim(&key("stays"), &request(1)).await.expect("late"));
    assert_eq!(proxy.counters().connections, 1);
}
