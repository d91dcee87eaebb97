//! Transactions that are over before the call is.

use idempotent_fn::{Error, error::BodyRan, tx::Begun};
use rusqlite::Connection;

use super::{Database, PlaceError, begin, order, refusal, run};

#[tokio::test]
async fn without_a_transaction_nothing_runs() {
    let database = Database::new();
    let mut connection = database.connect();
    let mut tx = begin(&mut connection);
    tx.execute_batch("COMMIT").unwrap();
    let placed = run(order("1"), &mut tx, async |tx| database.write(tx, "tea")).await;
    let error = refusal(placed);
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert!(error.to_string().contains("begin one"), "{error}");
    assert_eq!(database.bodies(), 0);
}

#[tokio::test]
async fn a_body_that_commits_is_told_and_leaves_the_key_in_doubt() {
    let database = Database::new();
    let mut connection = database.connect();
    let mut tx = begin(&mut connection);
    let placed = run(order("1"), &mut tx, async |tx| {
        let placed = database.write(tx, "tea");
        tx.execute_batch("COMMIT")?;
        placed
    });
    let error = refusal(placed.await);
    assert!(matches!(error, Error::TransactionEnded { .. }), "{error}");
    assert_eq!(
        (error.body_ran(), error.is_retryable()),
        (BodyRan::Yes, false)
    );
    drop(tx);
    std::thread::sleep(std::time::Duration::from_millis(5));
    let error = refusal(database.place("1", "rum").await);
    assert!(matches!(error, Error::Indeterminate { .. }), "{error}");
    assert_eq!(database.orders(), 1);
}

#[tokio::test]
async fn a_body_that_rolls_back_is_told() {
    let database = Database::new();
    let mut connection = database.connect();
    let mut tx = begin(&mut connection);
    let placed = run(order("1"), &mut tx, async |tx| {
        let placed = database.write(tx, "tea");
        tx.execute_batch("ROLLBACK; BEGIN IMMEDIATE")?;
        placed
    });
    let error = refusal(placed.await);
    assert!(matches!(error, Error::TransactionEnded { .. }), "{error}");
    tx.commit().unwrap();
    // Its own error comes first.
    let mut tx = begin(&mut connection);
    let placed = run(order("1"), &mut tx, async |tx| {
        tx.execute_batch("ROLLBACK")?;
        Err(PlaceError::Declined)
    });
    assert!(matches!(placed.await, Err(PlaceError::Declined)));
    drop(tx);
    assert_eq!(database.place("1", "rum").await.unwrap(), "placed rum");
}

#[tokio::test]
async fn a_transaction_that_cannot_write_is_told_after_the_body_too() {
    let database = Database::new();
    let mut connection = database.connect();
    let mut tx = begin(&mut connection);
    let placed = run(order("1"), &mut tx, async |tx| {
        let placed = database.write(tx, "tea");
        tx.pragma_update(None, "query_only", true)?;
        placed
    });
    let error = refusal(placed.await);
    assert!(matches!(error, Error::Uncommitted { .. }), "{error}");
    assert_eq!(
        (error.body_ran(), error.is_retryable()),
        (BodyRan::No, true)
    );
}

#[tokio::test]
async fn one_that_began_to_read_before_another_wrote_begins_again() {
    let database = Database::new();
    let mut connection = database.connect();
    let mut tx = connection.transaction().unwrap(); // deferred
    let read = |tx: &Connection| {
        tx.query_row("SELECT count(*) FROM orders", [], |row| {
            row.get::<_, u32>(0)
        })
    };
    read(&tx).unwrap();
    database.place("1", "tea").await.unwrap();
    let placed = run(order("2"), &mut tx, async |tx| database.write(tx, "rum")).await;
    let error = refusal(placed);
    assert!(
        matches!(error, Error::Unavailable { .. }) && error.is_retryable(),
        "{error}"
    );
    assert!(error.to_string().contains("BEGIN IMMEDIATE"), "{error}");
    drop(tx);
    assert_eq!(database.place("2", "rum").await.unwrap(), "placed rum");
}

#[tokio::test]
async fn a_duplicate_waits_for_the_owners_end() {
    for commits in [true, false] {
        let database = std::sync::Arc::new(Database::new());
        let mut connection = database.connect();
        let mut tx = begin(&mut connection);
        let operation = order("1");
        let Begun::Running(running) = operation.begin(&mut tx).await else {
            panic!("it has a record");
        };
        let result = running.body(async { database.write(&tx, "tea") }).await;
        running.finish(&mut tx, result).await.unwrap();
        let (also, started) = (database.clone(), std::sync::mpsc::channel());
        let duplicate = std::thread::spawn(move || {
            started.0.send(()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(also.place("1", "rum"))
        });
        started.1.recv().unwrap();
        if commits { tx.commit() } else { tx.rollback() }.unwrap();
        let placed = duplicate.join().unwrap().unwrap();
        assert_eq!(placed, if commits { "placed tea" } else { "placed rum" });
        assert_eq!(database.orders(), 1);
    }
}
