//! Records in the table of an SQL database: each is a row. This module has what such stores share.

// Calls in a caller's transaction (`tx`) need some of it without any of these stores.
#[cfg_attr(
    not(any(feature = "postgres", feature = "sqlite-system")),
    allow(dead_code)
)]
pub(crate) mod command;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite-system")]
pub(crate) mod sqlite;
#[cfg_attr(
    not(any(feature = "postgres", feature = "sqlite-system")),
    allow(dead_code)
)]
pub(crate) mod table;

#[cfg(feature = "postgres")]
pub use postgres::{POSTGRES_SCHEMA, PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite-system")]
pub use sqlite::{SQLITE_SCHEMA, SqliteOptions, SqliteStore, SqliteSynchronous};
