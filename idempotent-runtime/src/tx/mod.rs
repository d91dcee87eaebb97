//! Exactly once in the caller's own SQL transaction: the record is committed with the effect, or neither is.
//!
//! `#[idempotent(…, in_tx = tx)]` writes the calls of this module; by hand they are [`Operation::begin`](crate::Operation::begin),
//! [`Running::body`] and [`Running::finish`]. All that is asked of a database library is [`TxConnection`].
//!
//! ```
//! # #[cfg(all(feature = "tx-rusqlite", feature = "sqlite-system"))] {
//! use idempotent_fn::{Error, idempotent, store::SQLITE_SCHEMA};
//! use rusqlite::{Connection, Transaction, TransactionBehavior::Immediate};
//!
//! #[derive(Debug, thiserror::Error)]
//! enum PlaceError {
//!     #[error(transparent)]
//!     Library(#[from] Error),
//!     #[error(transparent)]
//!     Database(#[from] rusqlite::Error),
//! }
//!
//! #[idempotent(scope = "orders.place", key = number, in_tx = tx)]
//! async fn place(tx: &mut Transaction<'_>, number: u64, item: &str) -> Result<String, PlaceError> {
//!     tx.execute("INSERT INTO orders VALUES (?1)", [item])?;
//!     Ok(format!("{item} is ordered"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), PlaceError> {
//! let mut connection = Connection::open_in_memory()?;
//! connection.execute_batch(SQLITE_SCHEMA)?; // in your migrations
//! connection.execute_batch("CREATE TABLE orders (item TEXT)")?;
//! for item in ["tea", "rum"] {
//!     let mut tx = connection.transaction_with_behavior(Immediate)?;
//!     assert_eq!(place(&mut tx, 42, item).await?, "tea is ordered"); // runs the first time only
//!     tx.commit()?;
//! }
//! # Ok(())
//! # }
//! # main().unwrap();
//! # }
//! ```
//!
//! The table is that of `SqliteStore` and `PostgresStore`, and so are the records: those stores' `inspect`, `resolve`, `forget`
//! and `list` see what was written here.

mod acquire;
mod begin;
mod connection;
mod error;
mod execution;
mod outcome;
mod running;
#[cfg(feature = "tx-rusqlite")]
mod rusqlite;
mod session;
#[cfg(any(feature = "tx-sqlx-postgres", feature = "tx-sqlx-sqlite"))]
mod sqlx;
mod statements;
mod table;
#[cfg(feature = "tx-tokio-postgres")]
mod tokio_postgres;

pub use begin::Begun;
pub use connection::{Dialect, Failure, Param, Row, TxConnection};
pub use running::Running;
pub use table::{OnTable, Table};

pub use crate::store::sql::schema::{POSTGRES_SCHEMA, SQLITE_SCHEMA};
