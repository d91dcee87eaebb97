//! The statements on the table, with its name in them.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    record::DecodeError,
    store::{
        protocol::Write,
        sql::table::{Row, TableName, signed},
    },
};

/// The texts of the statements on one table. Each connection caches them prepared.
pub(super) struct Statements {
    read: String,
    insert: String,
    update: String,
    pub(super) peek: String,
    pub(super) sweep_window: String,
    pub(super) sweep: String,
    pub(super) list: String,
}

/// A row as it was found: its id, and its content if that is a record.
pub(super) struct Stored {
    id: i64,
    pub(super) row: Result<Row, DecodeError>,
}

impl Statements {
    pub(super) fn new(table: &TableName) -> Self {
        let table = &table.name;
        Self {
            read: format!("SELECT rowid, record, renewed, expires FROM {table} WHERE key = ?1"),
            insert: format!(
                "INSERT INTO {table} (key, renewed, expires, record) VALUES (?1, ?2, ?3, ?4)"
            ),
            update: format!(
                "UPDATE {table} SET renewed = ?2, expires = ?3, record = ?4 WHERE rowid = ?1"
            ),
            // State and nonce, which a heartbeat does not change.
            peek: format!("SELECT substr(record, 1, 18) FROM {table} WHERE key = ?1"),
            sweep_window: format!(
                "SELECT max(rowid), min(expires) FROM (SELECT rowid, expires FROM {table} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2)"
            ),
            sweep: format!(
                "DELETE FROM {table} WHERE rowid > ?1 AND rowid <= ?2 AND expires <= ?3"
            ),
            list: format!(
                "SELECT key, record, renewed, expires FROM {table} WHERE key > ?1 AND key >= ?2 ORDER BY key LIMIT ?3"
            ),
        }
    }

    pub(super) fn read(
        &self,
        connection: &Connection,
        key: &str,
    ) -> rusqlite::Result<Option<Stored>> {
        let mut read = connection.prepare_cached(&self.read)?;
        read.query_row([key], |row| {
            let record = row.get_ref(1)?.as_blob()?;
            Ok(Stored {
                id: row.get(0)?,
                row: Row::read(record, row.get(2)?, row.get(3)?),
            })
        })
        .optional()
    }

    /// Replaces the row that is `stored`, or inserts a new one.
    pub(super) fn write(
        &self,
        connection: &Connection,
        key: &str,
        stored: Option<&Stored>,
        write: &Write,
        now: u64,
    ) -> rusqlite::Result<()> {
        let (renewed, expires) = (signed(now), signed(write.delete_at(now)));
        let record = write.bytes();
        match stored {
            Some(stored) => connection
                .prepare_cached(&self.update)?
                .execute(params![stored.id, renewed, expires, record])?,
            None => connection
                .prepare_cached(&self.insert)?
                .execute(params![key, renewed, expires, record])?,
        };
        Ok(())
    }
}

/// This machine's clock, in µs since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO).as_micros();
    u64::try_from(since).unwrap_or(u64::MAX)
}
