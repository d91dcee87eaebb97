//! Other programs that hold the lock for writing.

use std::time::{Duration, SystemTime};

use idempotent_runtime::{
    Store, StoreErrorKind,
    store::{ClaimReply, Settled},
};

use tokio::task::JoinSet;

use crate::common::{File, done, first_call, granted, key, request};

/// Replays wait for nobody; what writes waits, and is carried out once the lock is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outsiders_transaction_holds_up_writers_only() {
    let file = File::new();
    let store = file.store();
    first_call(&store, &key("done"), b"1").await;
    let owned = granted(store.claim(&key("runs"), &request()).await.expect("claim"));

    let outsider = file.outsider();
    outsider.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move {
            let claim = store.claim(&key("new"), &request()).await;
            let finish = store.finish(&key("runs"), &done(&owned, b"2")).await;
            (claim, finish)
        })
    };
    for part in ["done", "runs"] {
        let claim = store.claim(&key(part), &request()).await.expect("a replay");
        assert!(matches!(claim, ClaimReply::Held { .. }), "{claim:?}");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished(), "it has written through the lock");
    let freed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    outsider.execute_batch("COMMIT").expect("no lock");
    let (claim, finish) = waiting.await.expect("no panic");
    // Its lease counts from then: a first token is the time of the grant.
    let granted = granted(claim.expect("claim"));
    let freed = freed.expect("after 1970").as_micros();
    assert!(u128::from(granted.token) >= freed, "{granted:?}");
    assert_eq!(finish.expect("finish"), Settled::Applied);
}

/// It is told before a caller takes the command for lost, and nothing of it is carried out later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_for_too_long_is_a_refusal() {
    let file = File::new();
    let store = file.store();
    store.check().await.expect("a file");
    let outsider = file.outsider();
    outsider.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let mut claims = JoinSet::new();
    for number in 0..3 {
        let store = store.clone();
        claims.spawn(async move { store.claim(&key(&number.to_string()), &request()).await });
        // The first one begins to wait for the lock, so that the others queue behind it.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // All of them with the first, though the others have queued behind it.
    while let Some(claim) = claims.join_next().await {
        if !outsider.is_autocommit() {
            outsider.execute_batch("COMMIT").expect("no lock");
        }
        let error = claim.expect("no panic").expect_err("it is locked");
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("locked"), "{error}");
    }
    for number in 0..3 {
        let found = store.read(&key(&number.to_string())).await;
        assert!(found.expect("read").is_none());
    }
    first_call(&store, &key("0"), b"1").await;
}
