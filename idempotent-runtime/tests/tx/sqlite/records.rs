//! What is recorded, and what meets it.

use std::time::Duration;

use idempotent_fn::{
    Error, OnCrash, OnErr, Store,
    error::BodyRan,
    key::Key,
    operation::Resolution,
    record::{Nonce, State},
    store::ClaimRequest,
    tx::Begun,
};

use super::{Database, PlaceError, begin, order, refusal, run};

#[tokio::test]
async fn a_committed_order_is_placed_once() {
    let database = Database::new();
    assert_eq!(database.place("1", "tea").await.unwrap(), "placed tea");
    assert_eq!(database.place("1", "rum").await.unwrap(), "placed tea");
    assert_eq!((database.orders(), database.bodies()), (1, 1));
    let seen = order("1").store(database.store()).inspect().await.unwrap();
    let seen = seen.expect("a record");
    assert_eq!((seen.state, seen.attempts), (State::Done, 1));
    assert!(seen.fencing_token > 0);
}

#[tokio::test]
async fn what_is_rolled_back_has_never_been() {
    let database = Database::new();
    let mut connection = database.connect();
    let mut tx = begin(&mut connection);
    let placed = run(order("1"), &mut tx, async |tx| database.write(tx, "tea")).await;
    assert_eq!(placed.unwrap(), "placed tea");
    tx.rollback().unwrap();
    assert_eq!(database.orders(), 0);
    let seen = order("1").store(database.store()).inspect().await.unwrap();
    assert!(seen.is_none());
    assert_eq!(database.place("1", "rum").await.unwrap(), "placed rum");
    assert_eq!((database.orders(), database.bodies()), (1, 2));
}

#[tokio::test]
async fn it_replays_within_its_own_transaction() {
    let database = Database::new();
    let mut connection = database.connect();
    let mut tx = begin(&mut connection);
    for _ in 0..2 {
        let placed = run(order("1"), &mut tx, async |tx| database.write(tx, "tea")).await;
        assert_eq!(placed.unwrap(), "placed tea");
    }
    tx.commit().unwrap();
    assert_eq!((database.orders(), database.bodies()), (1, 1));
}

#[tokio::test]
async fn a_savepoint_that_is_rolled_back_takes_the_record_with_it() {
    let database = Database::new();
    let mut connection = database.connect();
    let mut tx = begin(&mut connection);
    let mut savepoint = tx.savepoint().unwrap();
    let operation = order("1");
    let Begun::Running(running) = operation.begin(&mut savepoint).await else {
        panic!("it has a record");
    };
    let result = running
        .body(async { Ok("in a savepoint".to_owned()) })
        .await;
    running.finish(&mut savepoint, result).await.unwrap();
    savepoint.rollback().unwrap();
    drop(savepoint);
    let placed = run(order("1"), &mut tx, async |tx| database.write(tx, "tea")).await;
    assert_eq!(placed.unwrap(), "placed tea");
    tx.commit().unwrap();
    assert_eq!(database.orders(), 1);
}

#[tokio::test]
async fn another_payload_is_refused() {
    let database = Database::new();
    let mut connection = database.connect();
    for (amount, is_refused) in [(1, false), (1, false), (2, true)] {
        let mut tx = begin(&mut connection);
        let operation = order("1").fingerprint(&amount);
        let placed = run(operation, &mut tx, async |tx| database.write(tx, "tea")).await;
        assert_eq!(
            matches!(placed, Err(PlaceError::Library(Error::KeyReused { .. }))),
            is_refused
        );
        tx.commit().unwrap();
    }
    assert_eq!(database.bodies(), 1);
}

#[tokio::test]
async fn an_error_is_what_on_err_says_also_where_the_caller_commits() {
    let database = Database::new();
    let state = async |key: &str| {
        let seen = order(key).store(database.store()).inspect().await.unwrap();
        seen.map(|seen| seen.state)
    };
    let policies = [(OnErr::Rerun, None), (OnErr::Fail, Some(State::Lost))];
    for (number, (on_err, then)) in policies.into_iter().enumerate() {
        let key = number.to_string();
        let mut connection = database.connect();
        let mut tx = begin(&mut connection);
        let operation = order(&key).on_err(on_err);
        let declined = run(operation, &mut tx, async |tx| {
            database.write(tx, "tea")?;
            Err(PlaceError::Declined)
        });
        assert!(matches!(declined.await, Err(PlaceError::Declined)));
        tx.commit().unwrap();
        assert_eq!(state(&key).await, then, "{on_err:?}");
    }
    assert_eq!(database.orders(), 2);
}

#[tokio::test]
async fn a_recorded_error_is_replayed() {
    let database = Database::new();
    let mut connection = database.connect();
    let order = || {
        let order = idempotent_fn::operation::<Result<u64, String>, _>("orders.decline", &[&1]);
        order.map_err(|error| error.to_string()).record_err()
    };
    for (answer, expected) in [("declined", "declined"), ("accepted", "declined")] {
        let mut tx = begin(&mut connection);
        let result = match order().begin(&mut tx).await {
            Begun::Answered(result) => result,
            Begun::Running(running) => {
                let result = running.body(async { Err(answer.to_owned()) }).await;
                running.finish(&mut tx, result).await
            }
        };
        assert_eq!(result, Err(expected.to_owned()));
        tx.commit().unwrap();
    }
}

#[tokio::test]
async fn a_body_dropped_midway_and_committed_is_in_doubt_until_resolved() {
    let database = Database::new();
    let mut connection = database.connect();
    let mut tx = begin(&mut connection);
    let Begun::Running(running) = order("1").begin(&mut tx).await else {
        panic!("it has a record");
    };
    database.write(&tx, "tea").unwrap();
    drop(running);
    tx.commit().unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await; // its lease
    let error = refusal(database.place("1", "rum").await);
    assert!(matches!(error, Error::Indeterminate { .. }), "{error}");
    assert_eq!(error.body_ran(), BodyRan::Unknown);
    // For the store as well.
    let claimed = order("1").store(database.store());
    let error = refusal(claimed.run(async { Ok(String::new()) }).await);
    assert!(matches!(error, Error::Indeterminate { .. }), "{error}");
    let done = Resolution::Done("placed by hand".to_owned());
    let resolved = order("1").store(database.store()).resolve(done).await;
    resolved.unwrap();
    let placed = database.place("1", "rum").await;
    assert_eq!(placed.unwrap(), "placed by hand");
    assert_eq!((database.orders(), database.bodies()), (1, 1));
}

#[tokio::test]
async fn a_result_past_its_time_is_placed_again_with_a_larger_token() {
    let database = Database::new();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut connection = database.connect();
        let mut tx = begin(&mut connection);
        let operation = order("1").ttl(Duration::from_millis(1));
        let placed = run(operation, &mut tx, async |tx| {
            let execution = idempotent_fn::current();
            seen.push((execution.fencing_token(), execution.attempt()));
            database.write(tx, "tea")
        });
        placed.await.unwrap();
        tx.commit().unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let [(first, 1), (second, 2)] = seen[..] else {
        panic!("{seen:?}");
    };
    assert!(second > first);
    assert_eq!(database.orders(), 2);
}

#[tokio::test]
async fn what_a_store_has_recorded_is_replayed_or_run_again() {
    let database = Database::new();
    let store = database.store();
    let done = order("1").store(&store);
    done.run(async { Ok("by the store".to_owned()) })
        .await
        .unwrap();
    let placed = database.place("1", "tea").await;
    assert_eq!(placed.unwrap(), "by the store");
    let failed = order("2").store(&store);
    failed
        .run(async { Err(PlaceError::Declined) })
        .await
        .unwrap_err();
    let placed = database.place("2", "tea").await;
    assert_eq!(placed.unwrap(), "placed tea");
    // And the other way round.
    let placed = order("2")
        .store(&store)
        .run(async { Ok(String::new()) })
        .await;
    assert_eq!(placed.unwrap(), "placed tea");
}

#[tokio::test]
async fn an_owner_in_a_store_has_its_lease_and_its_own_policy() {
    let database = Database::new();
    let store = database.sqlite_store();
    let claim = async |key: &str, lease, on_crash| {
        let mut request = ClaimRequest::new(Nonce::random().unwrap());
        (request.lease, request.on_crash) = (lease, on_crash);
        let key = Key::new("orders.place", &[&key]).unwrap();
        store.claim(&key, &request).await.unwrap();
    };
    let (long, short) = (Duration::from_secs(60), Duration::from_millis(1));
    claim("alive", long, OnCrash::Rerun).await;
    claim("gone", short, OnCrash::Rerun).await;
    claim("unknown", short, OnCrash::Fail).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let alive = refusal(database.place("alive", "tea").await);
    assert!(alive.lease_left().unwrap() > short, "{alive}");
    let unknown = refusal(database.place("unknown", "tea").await);
    assert!(matches!(unknown, Error::Indeterminate { .. }), "{unknown}");
    assert_eq!(database.place("gone", "tea").await.unwrap(), "placed tea");
    assert_eq!(database.orders(), 1);
}

/// A record of several attempts is released, and not deleted: a waiter in another process must not take it for lost.
#[tokio::test]
async fn an_error_after_other_attempts_leaves_them_counted() {
    let database = Database::new();
    let store = database.store();
    let failed = order("1").store(&store);
    failed
        .run(async { Err(PlaceError::Declined) })
        .await
        .unwrap_err();
    let mut connection = database.connect();
    let mut tx = begin(&mut connection);
    let declined = run(order("1"), &mut tx, async |_| Err(PlaceError::Declined)).await;
    declined.unwrap_err();
    tx.commit().unwrap();
    let seen = order("1").store(&store).inspect().await.unwrap().unwrap();
    assert_eq!((seen.state, seen.attempts), (State::Failed, 2));
}

#[tokio::test]
async fn a_damaged_record_is_left_alone() {
    let database = Database::new();
    database.place("1", "tea").await.unwrap();
    let copy = "INSERT INTO idempotent_records SELECT 'orders.place|2', renewed, expires, record FROM idempotent_records";
    database.connect().execute_batch(copy).unwrap();
    let error = refusal(database.place("2", "rum").await);
    assert!(matches!(error, Error::Incompatible { .. }), "{error}");
    let garble = "UPDATE idempotent_records SET record = x'ff' WHERE key = 'orders.place|1'";
    database.connect().execute_batch(garble).unwrap();
    let error = refusal(database.place("1", "rum").await);
    assert!(matches!(error, Error::Incompatible { .. }), "{error}");
    assert_eq!(database.bodies(), 1);
}
