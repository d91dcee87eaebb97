//! Records in the table of an SQL database: each is a row. This module has what such stores share.

mod command;
pub(crate) mod sqlite;
mod table;

pub use sqlite::{SQLITE_SCHEMA, SqliteOptions, SqliteStore, SqliteSynchronous};
