//! Other transactions on the same rows.

use idempotent_runtime::{Store, StoreErrorKind, store::ClaimReply};

use crate::common::*;

/// An open transaction of another program holds the row, or has inserted it and not committed.
#[tokio::test]
async fn a_row_that_somebody_holds_is_refused_and_nothing_is_left_in_doubt() {
    let place = Place::new();
    let store = place.store();
    let owned = granted(store.claim(&key("held"), &request()).await.expect("claim"));
    let outsider = place.outsider().await;
    let table = place.table();
    outsider.batch_execute("BEGIN").await.expect("begun");
    outsider
        .batch_execute(&format!(
            "SELECT FROM {table} WHERE key = '{}' FOR UPDATE",
            key("held").as_str()
        ))
        .await
        .expect("held");
    outsider
        .batch_execute(&format!(
            "INSERT INTO {table} VALUES ('{}', '\\x00', 1, 9000000000000000)",
            key("new").as_str()
        ))
        .await
        .expect("inserted");
    let target = done(&owned, b"42");
    let (held_key, new_key, asked) = (key("held"), key("new"), request());
    let (finish, claim) = tokio::join!(
        store.finish(&held_key, &target),
        store.claim(&new_key, &asked)
    );
    for error in [finish.expect_err("held"), claim.expect_err("held")] {
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(error.is_transient());
        assert!(error.to_string().contains("55P03"), "{error}");
    }
    // A replay or a look waits for nobody.
    store.read(&key("held")).await.expect("read");
    outsider.batch_execute("ROLLBACK").await.expect("undone");
    store.finish(&key("held"), &target).await.expect("finish");
    granted(store.claim(&new_key, &asked).await.expect("claim"));
}

/// The row that won is newer than what the loser's statement sees: an empty answer is none.
#[tokio::test]
async fn a_claim_that_lost_against_a_row_it_cannot_see_asks_again() {
    let place = Place::new();
    let store = place.store();
    store.check().await.expect("fit");
    let mut outsider = place.outsider().await;
    let theirs = request().record();
    for round in 0..5 {
        let part = format!("{round}");
        let one = key(&part);
        let transaction = outsider.transaction().await.expect("begun");
        let insert = format!(
            "INSERT INTO {} VALUES ($1, $2, $3, $3 + 604800000000)",
            place.table()
        );
        let now: i64 = transaction
            .query_one(
                "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
                &[],
            )
            .await
            .expect("the time")
            .get(0);
        transaction
            .execute(&insert, &[&one.as_str(), &theirs.encode(), &now])
            .await
            .expect("inserted");
        let claiming = tokio::spawn({
            let (store, one) = (store.clone(), one.clone());
            async move { store.claim(&one, &request()).await }
        });
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND wait_event_type = 'Lock'",
            place.schema
        );
        idempotent_test_support::eventually("the claim waits", || SERVER.sql(&waiting) == "1")
            .await;
        transaction.commit().await.expect("committed");
        match claiming.await.expect("no panic").expect("answered") {
            ClaimReply::Held { record, .. } => assert_eq!(record.nonce, theirs.nonce),
            other => panic!("{other:?}"),
        }
    }
}

/// A transaction of a user's own pool that nobody ended, in which a claim would be granted that nobody sees: the store has
/// connections of its own.
#[tokio::test]
async fn a_table_that_is_locked_is_refused_and_replays_after() {
    let place = Place::new();
    let store = place.store();
    first_call(&store, &key("1"), b"42").await;
    let mut outsider = place.outsider().await;
    let transaction = outsider.transaction().await.expect("begun");
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", place.table());
    transaction.batch_execute(&lock).await.expect("locked");
    let error = store
        .claim(&key("1"), &request())
        .await
        .expect_err("locked");
    assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
    assert!(error.is_transient());
    transaction.rollback().await.expect("undone");
    let replayed = store.claim(&key("1"), &request()).await.expect("answered");
    assert!(matches!(replayed, ClaimReply::Held { .. }));
}

/// Those who come later are not held up by who holds a row.
#[tokio::test]
async fn a_sweep_passes_over_rows_that_are_held() {
    let place = Place::new();
    let store = place.store_with(place.options().with_sweep(false));
    for part in ["1", "2", "3"] {
        first_call(&store, &key(part), b"42").await;
    }
    SERVER.sql(&format!("UPDATE {} SET expires = 1", place.table()));
    let mut outsider = place.outsider().await;
    let transaction = outsider.transaction().await.expect("begun");
    let hold = format!(
        "SELECT FROM {} WHERE key = '{}' FOR UPDATE",
        place.table(),
        key("2").as_str()
    );
    transaction.batch_execute(&hold).await.expect("held");
    assert_eq!(store.sweep().await.expect("swept"), 2);
    transaction.rollback().await.expect("undone");
    assert_eq!(store.sweep().await.expect("swept"), 1);
}
