//! Records in the table of an SQL database: each is a row. This module has what such stores share.

mod command;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite-system")]
pub(crate) mod sqlite;
mod table;

#[cfg(feature = "postgres")]
pub use postgres::{POSTGRES_SCHEMA, PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite-system")]
pub use sqlite::{SQLITE_SCHEMA, SqliteOptions, SqliteStore, SqliteSynchronous};
