//! Waiters are woken, and nobody else is disturbed.

use std::time::Duration;

use idempotent_runtime::{
    Error, SharedStore, Store, operation,
    record::State,
    store::{PostgresStore, Subscription},
};
use idempotent_test_support::{PostgresServer, eventually};
use tokio_postgres::AsyncMessage;

use crate::common::*;

async fn subscribed(store: &PostgresStore, part: &str) -> Subscription {
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
async fn a_finish_elsewhere_wakes_the_waiter_and_a_heartbeat_does_not() {
    let place = Place::new();
    let (owner, waiter) = (place.store(), place.store());
    for state in [State::Done, State::Failed, State::Lost] {
        // Keys of other tables are notified of on the same channel.
        let part = format!("{} {state:?}", place.schema);
        let owned = granted(owner.claim(&key(&part), &request()).await.expect("claim"));
        let mut subscription = subscribed(&waiter, &part).await;
        owner.renew(&key(&part), &owned).await.expect("renew");
        assert!(
            !is_told(&mut subscription).await,
            "a heartbeat wakes nobody"
        );
        let mut target = done(&owned, b"42");
        if state != State::Done {
            target = owned.clone();
            target.state = state;
        }
        owner.finish(&key(&part), &target).await.expect("finish");
        told(&mut subscription).await;
        assert!(!is_told(&mut subscription).await, "once is enough");
    }
}

/// NOTIFY takes a lock that all committing transactions of a server share.
#[tokio::test]
async fn only_rows_that_are_waited_for_are_notified_of() {
    let place = Place::new();
    let (client, mut connection) = tokio_postgres::connect(&place.url(), tokio_postgres::NoTls)
        .await
        .expect("the server answers");
    let (heard, mut hear) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(std::future::poll_fn(move |cx| {
        loop {
            match std::task::ready!(connection.poll_message(cx)) {
                Some(Ok(AsyncMessage::Notification(message))) => {
                    // The test may have ended.
                    let _ = heard.send(message.payload().to_owned());
                }
                Some(Ok(_)) => {}
                _ => return std::task::Poll::Ready(()),
            }
        }
    }));
    client
        .batch_execute("LISTEN idempotent_records")
        .await
        .expect("listens");
    let store = place.store();
    let part = |number: usize| format!("{} {number}", place.schema);
    for number in 0..20 {
        first_call(&store, &key(&part(number)), b"42").await;
    }
    let waited = part(20);
    let owned = granted(store.claim(&key(&waited), &request()).await.expect("claim"));
    let _subscription = subscribed(&place.store(), &waited).await;
    store
        .finish(&key(&waited), &done(&owned, b"42"))
        .await
        .expect("finish");
    let ours = loop {
        let payload = hear.recv().await.expect("a notification");
        if payload.contains(&place.schema) {
            break payload;
        }
    };
    // Nothing of the others was notified of before it.
    assert_eq!(ours, key(&waited).as_str());
}

/// As a call waits: it learns of the result by push, and from nobody who polls.
#[tokio::test]
async fn a_duplicate_in_another_process_is_woken() {
    let place = Place::new();
    let store = SharedStore::new(place.store());
    let other = SharedStore::new(place.store());
    let call =
        |store: &SharedStore| operation::<Result<u32, Error>, _>("waiting", &[&"1"]).store(store);
    let (begun, begin) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel();
    let first = tokio::spawn(call(&store).run(async move {
        let _ = begun.send(());
        ended.await.expect("told to end");
        Ok(42)
    }));
    begin.await.expect("it runs");
    let duplicate = tokio::spawn(call(&other).run(async { Ok(43) }));
    let marked = format!("SELECT count(*) FROM {} WHERE waited", place.table());
    eventually("it waits", || SERVER.sql(&marked) == "1").await;
    end.send(()).expect("it waits for it");
    assert_eq!(duplicate.await.expect("no panic").expect("answered"), 42);
    assert_eq!(first.await.expect("no panic").expect("answered"), 42);
}

#[tokio::test]
async fn a_key_without_a_row_is_polled() {
    let place = Place::new();
    let subscription = place.store().subscribe(&key("1")).await.expect("subscribe");
    assert!(!subscription.is_push());
}

/// As behind some proxies: LISTEN succeeds, and nothing ever arrives.
#[tokio::test]
async fn where_notifications_do_not_arrive_waiters_poll() {
    let mut place = Place::new();
    let schema = place.schema.clone();
    SERVER.sql(&format!(
        "CREATE ROLE {schema} LOGIN SUPERUSER;
         CREATE FUNCTION {schema}.pg_notify(text, text) RETURNS void LANGUAGE sql AS '';
         ALTER ROLE {schema} SET search_path = {schema}, pg_catalog"
    ));
    place.user.clone_from(&schema);
    let store = place.store();
    let owned = granted(store.claim(&key("1"), &request()).await.expect("claim"));
    for _ in 0..3 {
        let subscription = store.subscribe(&key("1")).await.expect("subscribe");
        assert!(!subscription.is_push());
    }
    assert!(place.sent("SELECT pg_notify") > 0);
    let finished = store.finish(&key("1"), &done(&owned, b"42")).await;
    finished.expect("finish");
}

/// The listening connection is lost, with all others: everybody is woken, and asks again.
#[tokio::test]
async fn waiters_outlast_a_crash_of_the_server() {
    let mut server = PostgresServer::start();
    let place = Place::on(&server);
    let (owner, waiter) = (place.store(), place.store());
    let owned = granted(owner.claim(&key("1"), &request()).await.expect("claim"));
    let mut subscription = subscribed(&waiter, "1").await;
    server.kill();
    let error = owner
        .claim(&key("2"), &request())
        .await
        .expect_err("nobody is there");
    assert!(!error.to_string().contains("payments"), "{error}");
    server.restart();
    told(&mut subscription).await;
    // It listens again.
    answered_at_last(async || owner.finish(&key("1"), &done(&owned, b"42")).await).await;
    told(&mut subscription).await;
    let kept = waiter
        .read(&key("1"))
        .await
        .expect("read")
        .expect("a record");
    assert_eq!(kept.0.state, State::Done);
}
