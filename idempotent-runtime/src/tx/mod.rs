//! Exactly once in the caller's own SQL transaction: the record is committed with the effect, or neither is.
//!
//! `#[idempotent(…, in_tx = tx)]` writes the calls of this module; by hand they are [`Operation::begin`](crate::Operation::begin),
//! [`Running::body`] and [`Running::finish`]. All that is asked of a database library is [`TxConnection`].
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
