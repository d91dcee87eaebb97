//! What is recorded, and what meets it.

use std::time::Duration;

use idempotent_fn::{Error, current, idempotent};
use sqlx::PgConnection;

use super::{PlaceError, Placed, Shop, begin, place, refusal, write};

#[tokio::test]
async fn a_committed_order_is_placed_once_and_one_rolled_back_never() {
    let shop = Shop::new();
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    place(&mut tx, "1", "tea").await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!((shop.orders(), &*shop.states()), (0, ""));
    assert_eq!(shop.place("1", "rum").await.unwrap(), "placed rum");
    assert_eq!(shop.place("1", "gin").await.unwrap(), "placed rum");
    assert_eq!((shop.orders(), &*shop.states()), (1, "D"));
}

#[tokio::test]
async fn an_error_is_what_on_err_says_also_where_the_caller_commits() {
    #[idempotent(scope = "orders.rerun", key = order, on_err = rerun, in_tx = tx)]
    async fn rerun(tx: &mut PgConnection, order: u8) -> Placed {
        write(tx, "tea").await?;
        Err(PlaceError::Declined)
    }
    #[idempotent(scope = "orders.fail", key = order, on_err = fail, in_tx = tx)]
    async fn fail(tx: &mut PgConnection, order: u8) -> Placed {
        write(tx, "tea").await?;
        Err(PlaceError::Declined)
    }
    #[idempotent(scope = "orders.record", key = order, on_err = record, map_err = |error| error.to_string(), in_tx = tx)]
    async fn record(tx: &mut PgConnection, order: u8, why: &str) -> Result<(), String> {
        write(tx, "tea")
            .await
            .map_err(|error| format!("{error:?}"))?;
        Err(why.to_owned())
    }
    let shop = Shop::new();
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    rerun(&mut tx, 1).await.unwrap_err();
    fail(&mut tx, 1).await.unwrap_err();
    record(&mut tx, 1, "declined").await.unwrap_err();
    tx.commit().await.unwrap();
    assert_eq!((shop.orders(), &*shop.states()), (3, "LD")); // by key: fail, record
    let mut tx = begin(&mut connection).await;
    let error = refusal(fail(&mut tx, 1).await);
    assert!(matches!(error, Error::Indeterminate { .. }), "{error}");
    let replayed = record(&mut tx, 1, "accepted").await;
    assert_eq!(replayed, Err("declined".to_owned()));
}

#[tokio::test]
async fn a_body_dropped_midway_and_committed_is_in_doubt() {
    #[idempotent(scope = "orders.stuck", key = order, in_tx = tx)]
    async fn stuck(tx: &mut PgConnection, order: u8) -> Placed {
        write(tx, "tea").await?;
        std::future::pending().await
    }
    let shop = Shop::new();
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    let dropped = tokio::time::timeout(Duration::from_millis(200), stuck(&mut tx, 1)).await;
    dropped.unwrap_err();
    tx.commit().await.unwrap();
    assert_eq!((shop.orders(), &*shop.states()), (1, "R"));
    let mut tx = begin(&mut connection).await;
    let error = refusal(stuck(&mut tx, 1).await);
    assert!(matches!(error, Error::Indeterminate { .. }), "{error}");
}

#[tokio::test]
async fn a_result_past_its_time_is_placed_again_with_a_larger_token() {
    #[idempotent(scope = "orders.brief", key = order, ttl = "1ms", in_tx = tx)]
    async fn brief(tx: &mut PgConnection, order: u8) -> Result<(u64, u32), PlaceError> {
        write(tx, "tea").await?;
        Ok((current().fencing_token(), current().attempt()))
    }
    let shop = Shop::new();
    let mut connection = shop.connect().await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut tx = begin(&mut connection).await;
        seen.push(brief(&mut tx, 1).await.unwrap());
        tx.commit().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let [(first, 1), (second, 2)] = seen[..] else {
        panic!("{seen:?}");
    };
    assert!(second > first && first > 0);
    assert_eq!(shop.orders(), 2);
}

/// The server writes the end into the bytes: it is `ttl` after the row's own time.
#[tokio::test]
async fn the_end_in_the_bytes_is_the_servers() {
    let shop = Shop::new();
    shop.place("1", "tea").await.unwrap();
    let end = "SELECT ('x' || encode(substr(record, 42, 6), 'hex'))::bit(48)::bigint * 1000 - renewed, expires - renewed FROM idempotent_records";
    let row = shop.sql(end);
    let (shown, kept) = row.split_once('|').unwrap();
    let day = 24 * 60 * 60 * 1_000_000;
    let shown: i64 = shown.parse().unwrap();
    assert!((day - 1000..=day).contains(&shown), "{row}");
    assert_eq!(kept.parse::<i64>().unwrap(), day + 30_000_000, "{row}");
}

#[tokio::test]
async fn what_is_set_up_wrongly_says_what_to_do() {
    let shop = Shop::without_records();
    let error = refusal(shop.place("1", "tea").await);
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert!(error.to_string().contains("POSTGRES_SCHEMA"), "{error}");

    let shop = Shop::new();
    let schema = &shop.schema;
    shop.sql(&format!(
        "CREATE ROLE clerk_{schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO clerk_{schema}; \
         GRANT SELECT ON idempotent_records TO clerk_{schema}"
    ));
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    let become_clerk = sqlx::AssertSqlSafe(format!("SET LOCAL ROLE clerk_{schema}"));
    sqlx::raw_sql(become_clerk).execute(&mut *tx).await.unwrap();
    let error = refusal(place(&mut tx, "1", "tea").await);
    assert!(matches!(error, Error::Config { .. }), "{error}");
    assert!(error.to_string().contains("INSERT"), "{error}");
}

#[tokio::test]
async fn rights_to_the_four_statements_are_enough() {
    let shop = Shop::new();
    let schema = &shop.schema;
    shop.sql(&format!(
        "CREATE ROLE clerk_{schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO clerk_{schema}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON idempotent_records TO clerk_{schema}; GRANT INSERT ON orders TO clerk_{schema}"
    ));
    let mut connection = shop.connect().await;
    for expected in ["placed tea", "placed tea"] {
        let mut tx = begin(&mut connection).await;
        let become_clerk = sqlx::AssertSqlSafe(format!("SET LOCAL ROLE clerk_{schema}"));
        sqlx::raw_sql(become_clerk).execute(&mut *tx).await.unwrap();
        assert_eq!(place(&mut tx, "1", "tea").await.unwrap(), expected);
        tx.commit().await.unwrap();
    }
}
