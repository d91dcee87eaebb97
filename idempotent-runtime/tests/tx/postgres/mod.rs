//! On a real `PostgreSQL`, by sqlx and by tokio-postgres.

mod duplicates;
mod ended;
mod libraries;
mod records;

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use idempotent_fn::{Error, idempotent};
use idempotent_test_support::PostgresServer;
use sqlx::{
    ConnectOptions, Connection, PgConnection, Postgres, Transaction, postgres::PgConnectOptions,
};

/// The server of all tests, which do it no harm.
pub(crate) static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);

const TABLE: &str = r#"
    CREATE TABLE idempotent_records (
        key text COLLATE "C" PRIMARY KEY,
        record bytea NOT NULL,
        renewed bigint NOT NULL,
        expires bigint NOT NULL,
        waited boolean NOT NULL DEFAULT false
    );
    COMMENT ON TABLE idempotent_records IS 'idempotent-fn 1';
"#;

/// A schema of its own, with orders and the table of records.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) schema: String,
}

#[derive(Debug)]
pub(crate) enum PlaceError {
    Declined,
    Database(#[expect(dead_code, reason = "shown where a test fails")] sqlx::Error),
    Library(Error),
}

impl From<Error> for PlaceError {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<sqlx::Error> for PlaceError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

pub(crate) type Placed = Result<String, PlaceError>;

/// The library's own error, which the call must have ended with.
#[track_caller]
pub(crate) fn refusal(placed: Placed) -> Error {
    match placed {
        Err(PlaceError::Library(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Places an order.
#[idempotent(scope = "orders.place", key = key, in_tx = tx)]
pub(crate) async fn place(tx: &mut PgConnection, key: &str, text: &str) -> Placed {
    write(tx, text).await
}

/// The same, for those that do not wait.
#[idempotent(scope = "orders.place_at_once", key = key, wait = "0s", in_tx = tx)]
pub(crate) async fn place_at_once(tx: &mut PgConnection, key: &str, text: &str) -> Placed {
    write(tx, text).await
}

/// What a body does.
pub(crate) async fn write(tx: &mut PgConnection, text: &str) -> Placed {
    let insert = sqlx::query("INSERT INTO orders VALUES ($1)").bind(text);
    insert.execute(tx).await?;
    Ok(format!("placed {text}"))
}

pub(crate) async fn run(tx: &mut PgConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sql).execute(tx).await.map(drop)
}

impl Shop {
    pub(crate) fn new() -> Self {
        let shop = Self::without_records();
        shop.sql(TABLE);
        shop
    }

    pub(crate) fn without_records() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let schema = format!("shop_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        SERVER.sql(&format!("CREATE SCHEMA {schema}"));
        let shop = Self { schema };
        shop.sql("CREATE TABLE orders (text text NOT NULL)");
        shop
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        let text = SERVER.sql(&format!("SET search_path = {}; {sql}", self.schema));
        text.trim_start().to_owned()
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        self.connect_with("").await
    }

    /// With another setting.
    pub(crate) async fn connect_with(&self, setting: &str) -> PgConnection {
        let options: PgConnectOptions = SERVER.url().parse().expect("a URL");
        let mut options = options
            .options([("search_path", &*self.schema), ("deadlock_timeout", "50ms")])
            .application_name(&self.schema);
        if let Some((name, value)) = setting.split_once('=') {
            options = options.options([(name, value)]);
        }
        options.connect().await.expect("the server answers")
    }

    pub(crate) fn orders(&self) -> u32 {
        self.sql("SELECT count(*) FROM orders")
            .parse()
            .expect("a count")
    }

    /// The letters of the records' states.
    pub(crate) fn states(&self) -> String {
        self.sql("SELECT coalesce(string_agg(chr(get_byte(record, 1)), '' ORDER BY key), '') FROM idempotent_records")
    }

    /// Places an order in a transaction that is then committed.
    pub(crate) async fn place(&self, key: &str, text: &str) -> Placed {
        let mut connection = self.connect().await;
        let mut tx = connection.begin().await?;
        let placed = place(&mut tx, key, text).await;
        tx.commit().await?;
        placed
    }

    /// Waits until a connection of this shop waits for a lock.
    pub(crate) async fn until_one_waits(&self) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND wait_event_type = 'Lock'",
            self.schema
        );
        idempotent_test_support::eventually("a call waits", || SERVER.sql(&sql) != "0").await;
    }
}

pub(crate) async fn begin(connection: &mut PgConnection) -> Transaction<'_, Postgres> {
    connection.begin().await.expect("a transaction")
}
