//! Records in the table of an SQL database: what the stores over one share.

#[cfg(feature = "sqlite-system")]
mod command;
#[cfg(feature = "sqlite-system")]
pub(crate) mod sqlite;
pub(crate) mod table;

#[cfg(feature = "sqlite-system")]
pub use sqlite::{SQLITE_SCHEMA, SqliteOptions, SqliteStore, SqliteSynchronous};
