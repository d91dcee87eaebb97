//! Transactions that are over before the call is.

use idempotent_fn::{Error, error::BodyRan, idempotent};
use sqlx::{Acquire, PgConnection};

use super::{PlaceError, Placed, Shop, begin, place, refusal, run, write};

#[idempotent(scope = "orders.place_then", key = then, in_tx = tx)]
async fn place_then(tx: &mut PgConnection, then: &'static str, is_declined: bool) -> Placed {
    let placed = write(tx, "tea").await;
    let _ = run(tx, then).await;
    if is_declined {
        Err(PlaceError::Declined)
    } else {
        placed
    }
}

#[tokio::test]
async fn a_swallowed_failure_is_not_taken_for_success() {
    let shop = Shop::new();
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    let error = refusal(place_then(&mut tx, "SELECT 1 / 0", false).await);
    assert!(matches!(error, Error::Uncommitted { .. }), "{error}");
    assert_eq!(
        (error.body_ran(), error.is_retryable()),
        (BodyRan::No, true)
    );
    assert!(error.to_string().contains("25P02"), "{error}");
    let _ = tx.commit().await;
    assert_eq!((shop.orders(), &*shop.states()), (0, ""));
}

#[tokio::test]
async fn a_body_that_ends_the_transaction_is_told() {
    for (then, orders) in [
        ("COMMIT", 1),
        ("COMMIT; BEGIN", 1),
        ("ROLLBACK", 0),
        ("ROLLBACK; BEGIN", 0),
    ] {
        let shop = Shop::new();
        let mut connection = shop.connect().await;
        let mut tx = begin(&mut connection).await;
        let error = refusal(place_then(&mut tx, then, false).await);
        assert!(
            matches!(error, Error::TransactionEnded { .. }),
            "{then}: {error}"
        );
        assert_eq!(
            (error.body_ran(), error.is_retryable()),
            (BodyRan::Yes, false)
        );
        let _ = tx.commit().await;
        assert_eq!(shop.orders(), orders, "{then}");
        // What was committed halfway is in doubt.
        let mut tx = begin(&mut connection).await;
        let again = place_then(&mut tx, then, true).await;
        match (orders, again) {
            (1, Err(PlaceError::Library(Error::Indeterminate { .. })))
            | (0, Err(PlaceError::Declined)) => {}
            (_, again) => panic!("{then}: {again:?}"),
        }
    }
}

#[tokio::test]
async fn the_bodys_own_error_comes_first() {
    for then in ["SELECT 1 / 0", "COMMIT", "ROLLBACK", "SELECT 1"] {
        let shop = Shop::new();
        let mut connection = shop.connect().await;
        let mut tx = begin(&mut connection).await;
        let placed = place_then(&mut tx, then, true).await;
        assert!(
            matches!(placed, Err(PlaceError::Declined)),
            "{then}: {placed:?}"
        );
        // What the body has committed halfway stays in doubt.
        if then == "COMMIT" {
            assert_eq!((shop.orders(), &*shop.states()), (1, "R"));
        }
    }
}

#[tokio::test]
async fn without_a_transaction_nothing_is_written() {
    let shop = Shop::new();
    let mut connection = shop.connect().await;
    let error = refusal(place(&mut connection, "1", "tea").await);
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert_eq!((shop.orders(), &*shop.states()), (0, ""));
    // One that the library has not begun is seen by the server.
    run(&mut connection, "BEGIN").await.unwrap();
    place(&mut connection, "1", "tea").await.unwrap();
    run(&mut connection, "COMMIT").await.unwrap();
    assert_eq!((shop.orders(), &*shop.states()), (1, "D"));
}

#[tokio::test]
async fn a_failed_transaction_is_told_before_the_body() {
    let shop = Shop::new();
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    run(&mut tx, "SELECT 1 / 0").await.unwrap_err();
    let error = refusal(place(&mut tx, "1", "tea").await);
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("roll back"), "{error}");
}

#[tokio::test]
async fn a_savepoint_that_is_rolled_back_takes_the_record_with_it() {
    let shop = Shop::new();
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    let mut savepoint = tx.begin().await.unwrap();
    place(&mut savepoint, "1", "tea").await.unwrap();
    savepoint.rollback().await.unwrap();
    assert_eq!(place(&mut tx, "1", "rum").await.unwrap(), "placed rum");
    tx.commit().await.unwrap();
    assert_eq!((shop.orders(), &*shop.states()), (1, "D"));
}
