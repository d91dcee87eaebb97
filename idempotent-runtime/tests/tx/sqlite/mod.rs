//! By rusqlite.

mod ended;
mod errors;
mod records;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use idempotent_fn::{
    Error, Operation, SharedStore, operation,
    store::{SQLITE_SCHEMA, SqliteStore},
    tx::Begun,
};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tempfile::TempDir;

/// A database with orders, and the table of records.
pub(crate) struct Database {
    folder: TempDir,
    /// How many bodies have run.
    bodies: AtomicU32,
}

pub(crate) type Placed = Result<String, PlaceError>;

#[derive(Debug)]
pub(crate) enum PlaceError {
    Declined,
    Database(#[expect(dead_code, reason = "shown where a test fails")] rusqlite::Error),
    Library(Error),
}

impl From<Error> for PlaceError {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<rusqlite::Error> for PlaceError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// The library's own error, which the call must have ended with.
#[track_caller]
pub(crate) fn refusal(placed: Placed) -> Error {
    match placed {
        Err(PlaceError::Library(error)) => error,
        other => panic!("{other:?}"),
    }
}

impl Database {
    pub(crate) fn new() -> Self {
        let database = Self::without_records();
        let connection = database.connect();
        connection.execute_batch(SQLITE_SCHEMA).expect("the schema");
        database
    }

    pub(crate) fn without_records() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let database = Self {
            folder,
            bodies: AtomicU32::new(0),
        };
        let connection = database.connect();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE orders (text TEXT NOT NULL) STRICT;",
            )
            .expect("a table");
        database
    }

    pub(crate) fn connect(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("shop.db")).expect("a file");
        connection
            .busy_timeout(Duration::from_secs(10))
            .expect("a setting");
        connection
    }

    /// The store on the same table.
    pub(crate) fn store(&self) -> SharedStore {
        SharedStore::new(self.sqlite_store())
    }

    pub(crate) fn sqlite_store(&self) -> SqliteStore {
        let path = self.folder.path().join("shop.db");
        SqliteStore::new(path).expect("a path")
    }

    pub(crate) fn orders(&self) -> u32 {
        let count = "SELECT count(*) FROM orders";
        self.connect()
            .query_row(count, [], |row| row.get(0))
            .expect("a count")
    }

    pub(crate) fn bodies(&self) -> u32 {
        self.bodies.load(Ordering::Relaxed)
    }

    /// What a body does.
    pub(crate) fn write(&self, tx: &Transaction<'_>, text: &str) -> Placed {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        tx.execute("INSERT INTO orders VALUES (?1)", [text])?;
        Ok(format!("placed {text}"))
    }

    /// Places an order in a transaction that is then committed.
    pub(crate) async fn place(&self, key: &str, text: &str) -> Placed {
        let mut connection = self.connect();
        let mut tx = begin(&mut connection);
        let placed = run(order(key), &mut tx, async |tx| self.write(tx, text)).await;
        tx.commit().expect("a commit");
        placed
    }
}

pub(crate) fn begin(connection: &mut Connection) -> Transaction<'_> {
    let immediate = TransactionBehavior::Immediate;
    let transaction = connection.transaction_with_behavior(immediate);
    transaction.expect("a transaction")
}

pub(crate) fn order(key: &str) -> Operation<String, PlaceError> {
    operation::<Placed, _>("orders.place", &[&key])
}

/// The expansion, by hand.
pub(crate) async fn run<'c>(
    operation: Operation<String, PlaceError>,
    tx: &mut Transaction<'c>,
    body: impl AsyncFnOnce(&mut Transaction<'c>) -> Placed,
) -> Placed {
    match operation.begin(&mut *tx).await {
        Begun::Answered(result) => result,
        Begun::Running(running) => {
            let result = running.body(async { body(&mut *tx).await }).await;
            running.finish(&mut *tx, result).await
        }
    }
}
