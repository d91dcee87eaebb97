//! Servers that crash, stand still or end connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use idempotent_runtime::{
    Error, SharedStore, Store, StoreErrorKind, operation, record::State, store::Settled,
};
use idempotent_test_support::{PostgresServer, Proxy, eventually};

use crate::common::*;

type Answer = Result<u32, Error>;

#[tokio::test]
async fn a_backend_that_is_terminated_costs_nobody_a_result() {
    let place = Arc::new(Place::new());
    let store = SharedStore::new(place.store());
    let ended = Arc::new(AtomicUsize::new(0));
    for number in 0..30 {
        let call = operation::<Answer, _>("faults", &[&number]).store(&store);
        let (place, ended) = (place.clone(), ended.clone());
        let body = async move {
            ended.fetch_add(place.terminate(&SERVER), Ordering::Relaxed);
            Ok(number)
        };
        assert_eq!(call.run(body).await.expect("answered"), number);
    }
    assert!(ended.load(Ordering::Relaxed) >= 30);
    // A finish whose connection was gone is sent again in the background.
    eventually("all are recorded", || done_at_once(&place) == "30").await;
}

/// How many bodies have a result, after one attempt.
fn done_at_once(place: &Place) -> String {
    let done = format!(
        "SELECT count(*) FROM {}_view WHERE state = 'done' AND attempts = 1",
        place.table()
    );
    SERVER.sql(&done)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let mut server = PostgresServer::start();
    let place = Place::on(&server);
    let store = place.store();
    let owned = granted(
        store
            .claim(&key("running"), &request())
            .await
            .expect("claim"),
    );
    first_call(&store, &key("done"), b"42").await;
    server.kill();
    let error = store
        .claim(&key("down"), &request())
        .await
        .expect_err("it is down");
    assert_ne!(error.kind(), StoreErrorKind::Config, "{error}");
    server.restart();
    let (record, _) = answered_at_last(async || store.read(&key("done")).await)
        .await
        .expect("kept");
    assert_eq!(record.state, State::Done);
    let finished = store.finish(&key("running"), &done(&owned, b"43")).await;
    assert_eq!(finished.expect("finish"), Settled::Applied);
}

/// What is under way is in doubt after the time for an answer, what comes later has not been sent; and when it goes on, all
/// is as before.
#[tokio::test]
async fn a_server_that_stands_still_is_given_up_and_found_again() {
    let server = PostgresServer::start();
    let place = Place::on(&server);
    let options = place
        .options()
        .with_response_timeout(Duration::from_millis(300));
    let store = place.store_with(options.with_connections(1));
    let claimed = store.claim(&key("1"), &request()).await.expect("claim");
    let owned = granted(claimed);
    server.pause();
    let error = store
        .finish(&key("1"), &done(&owned, b"42"))
        .await
        .expect_err("silence");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous, "{error}");
    let error = store
        .claim(&key("2"), &request())
        .await
        .expect_err("silence");
    assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");
    server.resume();
    let finished =
        answered_at_last(async || store.finish(&key("1"), &done(&owned, b"42")).await).await;
    // The first may have been carried out since.
    assert_eq!(finished, Settled::Applied);
}

/// Statements whose answers are lost are asked again by the same attempt, and nothing is done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_change_nothing_twice() {
    let place = Place::new();
    let proxy = Arc::new(Proxy::start(&format!("127.0.0.1:{}", place.port)));
    let proxied = Place {
        port: proxy.address().port(),
        user: place.user.clone(),
        schema: place.schema.clone(),
    };
    let options = proxied
        .options()
        .with_response_timeout(Duration::from_millis(300));
    let store = SharedStore::new(proxied.store_with(options));
    let runs = Arc::new(AtomicUsize::new(0));
    for number in 0..2 {
        let (proxy, link, ran) = (proxy.clone(), proxy.clone(), runs.clone());
        // The claim is carried out, and its answer is lost; and so is that of the finish.
        proxy.drop_replies(number > 0);
        let healing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            link.drop_replies(false);
        });
        let call = operation::<Answer, _>("faults", &[&number]).store(&store);
        let body = async move {
            ran.fetch_add(1, Ordering::Relaxed);
            proxy.drop_replies(true);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(400)).await;
                proxy.drop_replies(false);
            });
            Ok(number)
        };
        assert_eq!(call.run(body).await.expect("answered"), number);
        healing.await.expect("no panic");
    }
    eventually("all are recorded", || done_at_once(&place) == "2").await;
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert!(proxy.counters().lost_replies > 0);
}

/// Each runtime has connections of its own, and the end of one affects no other.
#[test]
fn a_runtime_that_ends_takes_only_its_own_connections_with_it() {
    let place = Place::new();
    let store = place.store();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let lasting = runtime();
    lasting.block_on(first_call(&store, &key("lasting"), b"1"));
    for number in 0..3 {
        let part = format!("{number}");
        runtime().block_on(first_call(&store, &key(&part), b"2"));
        let again = lasting.block_on(store.read(&key("lasting")));
        assert!(again.expect("read").is_some());
    }
}

/// As load asks, up to what the options say; and one alone uses one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_opened_as_load_asks() {
    let place = Place::new();
    let store = place.store_with(place.options().with_connections(3));
    let open = || {
        let open = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'",
            place.schema
        );
        SERVER.sql(&open).parse::<usize>().expect("a number")
    };
    for number in 0..20 {
        first_call(&store, &key(&number.to_string()), b"1").await;
    }
    assert_eq!(open(), 1);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..2000 {
        let store = store.clone();
        calls.spawn(async move { first_call(&store, &key(&format!("many {number}")), b"1").await });
    }
    calls.join_all().await;
    assert_eq!(open(), 3);
}
