//! What each library's types give.

use idempotent_fn::{Error, idempotent, tx::Table};
use sqlx::{
    Connection, Postgres, SqliteConnection, Transaction, pool::PoolConnection,
    postgres::PgPoolOptions,
};
use tokio_postgres::NoTls;

use super::{PlaceError, Placed, SERVER, Shop, write};

/// A call's future can go to another thread.
fn is_send<T: Send>(future: T) -> T {
    future
}

#[tokio::test]
async fn sqlx_by_its_transaction_and_its_pooled_connection() {
    #[idempotent(scope = "orders.by_transaction", key = text, in_tx = tx)]
    async fn by_transaction(tx: &mut Transaction<'_, Postgres>, text: &str) -> Placed {
        write(tx, text).await
    }
    #[idempotent(scope = "orders.by_pooled", key = text, in_tx = connection)]
    async fn by_pooled(connection: &mut PoolConnection<Postgres>, text: &str) -> Placed {
        write(connection, text).await
    }
    let shop = Shop::new();
    let options = SERVER.url().parse::<sqlx::postgres::PgConnectOptions>();
    let options = options.unwrap().options([("search_path", &*shop.schema)]);
    let pool = PgPoolOptions::new().connect_with(options).await.unwrap();
    for _ in 0..2 {
        let mut tx = pool.begin().await.unwrap();
        let placed = is_send(by_transaction(&mut tx, "tea")).await;
        assert_eq!(placed.unwrap(), "placed tea");
        tx.commit().await.unwrap();
        let mut connection = pool.acquire().await.unwrap();
        super::run(&mut connection, "BEGIN").await.unwrap();
        let placed = is_send(by_pooled(&mut connection, "rum")).await;
        assert_eq!(placed.unwrap(), "placed rum");
        super::run(&mut connection, "COMMIT").await.unwrap();
    }
    assert_eq!((shop.orders(), &*shop.states()), (2, "DD"));
}

#[tokio::test]
async fn tokio_postgres_by_its_transaction() {
    #[derive(Debug)]
    enum Refused {
        Library(Error),
        #[expect(dead_code, reason = "shown where a test fails")]
        Database(tokio_postgres::Error),
    }
    impl From<Error> for Refused {
        fn from(error: Error) -> Self {
            Self::Library(error)
        }
    }
    #[idempotent(scope = "orders.by_client", key = text, fingerprint = amount, in_tx = tx)]
    async fn place(
        tx: &mut tokio_postgres::Transaction<'_>,
        text: &str,
        amount: i64,
    ) -> Result<u64, Refused> {
        let insert = tx.execute("INSERT INTO orders VALUES ($1)", &[&text]).await;
        insert.map_err(Refused::Database)
    }
    let shop = Shop::new();
    let (mut client, connection) = tokio_postgres::connect(&SERVER.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute(&format!("SET search_path = {}", shop.schema))
        .await
        .unwrap();
    let tx = client.transaction().await.unwrap();
    drop(tx);
    for commits in [false, true, true] {
        let mut tx = client.transaction().await.unwrap();
        assert_eq!(is_send(place(&mut tx, "tea", 1)).await.unwrap(), 1);
        if commits {
            tx.commit().await.unwrap();
        }
    }
    let mut tx = client.transaction().await.unwrap();
    let reused = place(&mut tx, "tea", 2).await.unwrap_err();
    assert!(matches!(reused, Refused::Library(Error::KeyReused { .. })));
    tx.batch_execute("SELECT 1 / 0").await.unwrap_err();
    let failed = place(&mut tx, "rum", 1).await.unwrap_err();
    let Refused::Library(failed) = failed else {
        panic!("{failed:?}");
    };
    assert!(failed.to_string().contains("25P02"), "{failed}");
    drop(tx);
    assert_eq!((shop.orders(), &*shop.states()), (1, "D"));
}

#[tokio::test]
async fn sqlx_on_sqlite() {
    const RECORDS: Table = Table::new("records");
    #[idempotent(scope = "orders.by_sqlite", key = text, in_tx = &mut RECORDS.on(tx))]
    async fn place(tx: &mut SqliteConnection, text: &str) -> Result<i64, PlaceError> {
        let insert = sqlx::query("INSERT INTO orders VALUES ($1)").bind(text);
        Ok(insert.execute(&mut *tx).await?.last_insert_rowid())
    }
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    let schema = idempotent_fn::store::SQLITE_SCHEMA.replace("idempotent_records", "records");
    let tables = sqlx::AssertSqlSafe(format!(
        "{schema} CREATE TABLE orders (text TEXT NOT NULL) STRICT"
    ));
    sqlx::raw_sql(tables)
        .execute(&mut connection)
        .await
        .unwrap();
    for (commits, expected) in [(false, 1), (true, 1), (true, 1)] {
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        assert_eq!(is_send(place(&mut tx, "tea")).await.unwrap(), expected);
        if commits {
            tx.commit().await
        } else {
            tx.rollback().await
        }
        .unwrap();
    }
    let error = place(&mut connection, "rum").await.unwrap_err();
    let PlaceError::Library(error @ Error::Config { .. }) = error else {
        panic!("{error:?}");
    };
    assert!(error.to_string().contains("begin one"), "{error}");
    // One that the library has not begun is seen by SQLite.
    sqlx::raw_sql("BEGIN")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(place(&mut connection, "rum").await.unwrap(), 2);
    sqlx::raw_sql("COMMIT")
        .execute(&mut connection)
        .await
        .unwrap();
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM orders");
    assert_eq!(count.fetch_one(&mut connection).await.unwrap(), 2);
}
