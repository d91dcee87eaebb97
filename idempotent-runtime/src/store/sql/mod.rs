//! Records in the table of an SQL database: what the stores over one share.

mod command;
pub(crate) mod sqlite;
mod table;

pub use sqlite::{SQLITE_SCHEMA, SqliteOptions, SqliteStore, SqliteSynchronous};
