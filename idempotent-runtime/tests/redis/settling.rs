//! What a current or a former owner's finish does.

use idempotent_runtime::{
    Store,
    record::{Record, State},
    store::Settled,
};
use idempotent_test_support::RedisServer;

use crate::common::*;

#[tokio::test]
async fn an_overtaken_owner_changes_nothing() {
    let server = RedisServer::start();
    let store = store(&server);
    let first = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    elapse(&server, &key("1"), PAST_LEASE);
    let second = granted(store.claim(&key("1"), &request(2)).await.expect("claim"));

    assert_eq!(
        stale(store.renew(&key("1"), &first).await.expect("renew")),
        second
    );
    for target in [
        done(&first, b"1"),
        in_state(&first, State::Failed),
        in_state(&first, State::Lost),
    ] {
        let Settled::Stale { record, lease_left } =
            store.finish(&key("1"), &target).await.expect("finish")
        else {
            panic!("{target:?} was applied")
        };
        assert_eq!(record, second);
        assert!(lease_left > LEASE && lease_left <= 2 * LEASE);
    }
    assert_eq!(record(&server, &key("1")).expect("there"), second);
}

#[tokio::test]
async fn what_is_done_stays_done_and_a_repeated_finish_is_applied() {
    let server = RedisServer::start();
    let store = store(&server);
    let target = first_call(&store, &key("1"), 1, b"42").await;
    let before = value(&server, &key("1"));
    assert_eq!(
        store.finish(&key("1"), &target).await.expect("finish"),
        Settled::Applied
    );
    let other = done(&target, b"another result");
    assert_eq!(
        store.finish(&key("1"), &other).await.expect("finish"),
        Settled::Applied
    );
    assert_eq!(
        stale(store.renew(&key("1"), &target).await.expect("renew")).state,
        State::Done
    );
    let failed = store
        .finish(&key("1"), &in_state(&granted_again(&target), State::Failed))
        .await;
    assert_eq!(stale(failed.expect("finish")).state, State::Done);
    assert_eq!(value(&server, &key("1")), before);
}

fn granted_again(done: &Record) -> Record {
    let mut record = done.clone();
    record.outcome = None;
    record.codec = 0;
    record
}

#[tokio::test]
async fn a_record_that_vanished_is_put_back() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    server.cli(&["FLUSHALL"]);
    assert_eq!(
        store.renew(&key("1"), &owned).await.expect("renew"),
        Settled::PutBack
    );
    assert_eq!(record(&server, &key("1")).expect("back"), owned);
    server.cli(&["FLUSHALL"]);
    assert_eq!(
        store
            .finish(&key("1"), &done(&owned, b"42"))
            .await
            .expect("finish"),
        Settled::PutBack
    );
    assert_eq!(record_state(&server), State::Done);
}
