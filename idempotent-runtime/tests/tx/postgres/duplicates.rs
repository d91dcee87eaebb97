//! Calls with one key at one time.

use idempotent_fn::Error;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

use super::{Placed, Shop, begin, place, place_at_once, refusal, run};

/// A duplicate in a transaction of its own, which waits.
async fn waiting(shop: &Shop, isolation: &'static str) -> JoinHandle<Placed> {
    let mut connection = shop.connect_with(isolation).await;
    let duplicate = tokio::spawn(async move {
        let mut tx = begin(&mut connection).await;
        let placed = place(&mut tx, "1", "rum").await;
        tx.commit().await?;
        placed
    });
    shop.until_one_waits().await;
    duplicate
}

async fn duplicate(isolation: &'static str, commits: bool) -> (Shop, Placed) {
    let shop = Shop::new();
    let mut connection = shop.connect_with(isolation).await;
    let mut tx = begin(&mut connection).await;
    let placed = place(&mut tx, "1", "tea").await;
    assert_eq!(placed.unwrap(), "placed tea");
    let duplicate = waiting(&shop, isolation).await;
    if commits {
        tx.commit().await
    } else {
        tx.rollback().await
    }
    .unwrap();
    let placed = duplicate.await.unwrap();
    (shop, placed)
}

const READ_COMMITTED: &str = "default_transaction_isolation=read committed";
const SNAPSHOTS: [&str; 2] = [
    "default_transaction_isolation=repeatable read",
    "default_transaction_isolation=serializable",
];

#[tokio::test]
async fn a_duplicate_replays_what_was_committed_while_it_waited() {
    let (shop, placed) = duplicate(READ_COMMITTED, true).await;
    assert_eq!(placed.unwrap(), "placed tea");
    assert_eq!(shop.orders(), 1);
}

/// Its snapshot is older than the result, so its transaction is over.
#[tokio::test]
async fn with_a_snapshot_it_begins_again_and_replays() {
    for isolation in SNAPSHOTS {
        let (shop, placed) = duplicate(isolation, true).await;
        let error = refusal(placed);
        let is_refused = matches!(error, Error::Unavailable { .. }) && error.is_retryable();
        assert!(is_refused, "{error}");
        assert!(error.to_string().contains("begin again"), "{error}");
        assert_eq!(shop.place("1", "rum").await.unwrap(), "placed tea");
        assert_eq!(shop.orders(), 1);
    }
}

#[tokio::test]
async fn a_duplicate_runs_once_the_owner_has_rolled_back() {
    for isolation in [&[READ_COMMITTED], &SNAPSHOTS[..]].concat() {
        let (shop, placed) = duplicate(isolation, false).await;
        assert_eq!(placed.unwrap(), "placed rum", "{isolation}");
        assert_eq!(shop.orders(), 1);
    }
}

#[tokio::test]
async fn of_many_at_once_one_runs_and_all_are_answered() {
    let shop = Shop::new();
    let calls: Vec<_> = (0..16)
        .map(|number| {
            let shop = shop.clone();
            tokio::spawn(async move { shop.place("1", &number.to_string()).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    answers.dedup();
    assert_eq!((answers.len(), shop.orders()), (1, 1), "{answers:?}");
}

/// They lock the row that is there, and look again.
#[tokio::test]
async fn of_many_that_find_an_old_record_one_runs() {
    let shop = Shop::new();
    shop.place("1", "tea").await.unwrap();
    shop.sql("UPDATE idempotent_records SET expires = 1, renewed = 1");
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let shop = shop.clone();
            tokio::spawn(async move { shop.place("1", &number.to_string()).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    answers.dedup();
    assert_eq!((answers.len(), shop.orders()), (1, 2), "{answers:?}");
}

#[tokio::test]
async fn without_waiting_the_transaction_goes_on() {
    let shop = Shop::new();
    let (mut one, mut other) = (shop.connect().await, shop.connect().await);
    let mut owner = begin(&mut one).await;
    place_at_once(&mut owner, "1", "tea").await.unwrap();
    let mut tx = begin(&mut other).await;
    let error = refusal(place_at_once(&mut tx, "1", "rum").await);
    assert!(matches!(error, Error::InFlight { .. }), "{error}");
    place_at_once(&mut tx, "2", "gin").await.unwrap();
    tx.commit().await.unwrap();
    owner.commit().await.unwrap();
    assert_eq!(shop.orders(), 2);
}

/// Each of them takes the advisory lock, and only one can have it; the result is there for all.
#[tokio::test]
async fn without_waiting_a_result_is_replayed_by_many() {
    let shop = Shop::new();
    let (mut one, mut other) = (shop.connect().await, shop.connect().await);
    let mut first = begin(&mut one).await;
    place_at_once(&mut first, "1", "tea").await.unwrap();
    first.commit().await.unwrap();
    let (mut first, mut second) = (begin(&mut one).await, begin(&mut other).await);
    for tx in [&mut first, &mut second] {
        let placed = place_at_once(tx, "1", "rum").await;
        assert_eq!(placed.unwrap(), "placed tea");
    }
    // What is past its time needs the lock.
    shop.sql("UPDATE idempotent_records SET expires = 1, renewed = 1");
    let (mut one, mut other) = (shop.connect().await, shop.connect().await);
    let mut third = begin(&mut one).await;
    let error = refusal(place_at_once(&mut third, "1", "rum").await);
    assert!(matches!(error, Error::InFlight { .. }), "{error}");
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    let mut fourth = begin(&mut other).await;
    let placed = place_at_once(&mut fourth, "1", "rum").await;
    assert_eq!(placed.unwrap(), "placed rum");
}

/// `wait` on one side, the caller's `lock_timeout` on the other: whichever is shorter ends a wait that the other would not.
#[tokio::test]
async fn the_shorter_of_two_limits_ends_the_wait() {
    let shop = Shop::new();
    let mut one = shop.connect().await;
    let mut owner = begin(&mut one).await;
    bounded(&mut owner, "1", 1).await.unwrap();
    for (setting, wait_ms) in [
        ("", 20),
        ("lock_timeout=1h", 20),
        ("lock_timeout=20", 600_000),
    ] {
        let mut other = shop.connect_with(setting).await;
        let mut tx = begin(&mut other).await;
        let error = refusal(bounded(&mut tx, "1", wait_ms).await);
        assert!(
            matches!(error, Error::InFlight { .. }),
            "{setting}: {error}"
        );
        tx.rollback().await.unwrap();
    }
}

#[idempotent_fn::idempotent(
    scope = "orders.place_bounded",
    key = key,
    wait = std::time::Duration::from_millis(wait_ms),
    in_tx = tx
)]
async fn bounded(tx: &mut PgConnection, key: &str, wait_ms: u64) -> Placed {
    super::write(tx, "gin").await
}

#[tokio::test]
async fn the_callers_lock_timeout_is_as_it_was() {
    let shop = Shop::new();
    for (setting, shown) in [
        ("", "0"),
        ("lock_timeout=7s", "7s"),
        ("lock_timeout=20min", "20min"),
    ] {
        let mut connection = shop.connect_with(setting).await;
        let mut tx = begin(&mut connection).await;
        place(&mut tx, shown, "tea").await.unwrap();
        place_at_once(&mut tx, shown, "tea").await.unwrap();
        assert_eq!(lock_timeout(&mut tx).await, shown);
        tx.commit().await.unwrap();
        shop.sql("UPDATE idempotent_records SET expires = 1, renewed = 1");
        let mut tx = begin(&mut connection).await;
        place(&mut tx, shown, "tea").await.unwrap();
        assert_eq!(lock_timeout(&mut tx).await, shown);
        tx.commit().await.unwrap();
        assert_eq!(lock_timeout(&mut connection).await, shown);
    }
}

async fn lock_timeout(connection: &mut PgConnection) -> String {
    let show = sqlx::query_scalar("SHOW lock_timeout");
    show.fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn of_two_that_wait_for_each_other_one_begins_again() {
    let shop = Shop::new();
    let (mut one, mut other) = (shop.connect().await, shop.connect().await);
    let (mut first, mut second) = (begin(&mut one).await, begin(&mut other).await);
    place(&mut first, "1", "tea").await.unwrap();
    place(&mut second, "2", "rum").await.unwrap();
    let cross = async |tx: &mut PgConnection, key| {
        let placed = place(tx, key, "gin").await;
        if placed.is_err() {
            run(tx, "ROLLBACK; BEGIN").await.unwrap();
        } else {
            run(tx, "COMMIT; BEGIN").await.unwrap();
        }
        placed
    };
    let (mut one, mut other) = (first, second);
    let (one, other) = tokio::join!(cross(&mut one, "2"), cross(&mut other, "1"));
    let (lost, won) = if one.is_err() {
        (one, other)
    } else {
        (other, one)
    };
    let error = refusal(lost);
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("40P01"), "{error}");
    assert_eq!(won.unwrap(), "placed gin");
    assert_eq!(shop.orders(), 2);
}

#[tokio::test]
async fn a_connection_that_is_lost_is_told_so() {
    let shop = Shop::new();
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = current_schema()";
    assert_eq!(shop.sql(kill), "1");
    let error = refusal(place(&mut tx, "1", "tea").await);
    assert!(error.is_retryable(), "{error}");
    drop(tx);
    connection.close().await.ok();
    assert_eq!(shop.place("1", "tea").await.unwrap(), "placed tea");
}
