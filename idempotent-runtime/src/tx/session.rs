//! One key's row on the caller's connection: sends the statements, and reads their answers.

use std::{borrow::Cow, time::Duration};

use super::{Dialect, Failure, Param, Row, TxConnection, statements::Statements};
use crate::{
    StoreError,
    key::Key,
    record::{HOLD, Record},
    store::{
        protocol::{Write, retention},
        sql::{
            table,
            table::{row_key, signed},
        },
    },
};

/// The longest `lock_timeout`, in ms: PostgreSQL keeps it in 32 bits.
const LONGEST_LOCK: i64 = i32::MAX as i64;

/// A key's row, and the connection that reaches it.
pub(super) struct Session<'a, C: ?Sized> {
    connection: &'a mut C,
    dialect: Dialect,
    statements: &'static Statements,
    key: Cow<'a, str>,
}

/// What an insert found.
pub(super) enum Found {
    /// Nothing: the record is written. The time at which it was, and the transaction, where it has a number.
    Free { now: u64, transaction: Option<i64> },
    /// A record that was there before.
    Row(Existing),
    /// A record that was written meanwhile, and must be read.
    Unseen,
    /// Another transaction that has the key.
    Taken,
}

/// A row as it was read.
pub(super) struct Existing {
    pub(super) bytes: Vec<u8>,
    renewed: i64,
    expires: i64,
    pub(super) now: u64,
    /// Whether another transaction has the key, which only those learn that do not wait for it.
    pub(super) is_taken: bool,
}

impl Existing {
    pub(super) fn row(&self) -> Result<table::Row, StoreError> {
        Ok(table::Row::read(&self.bytes, self.renewed, self.expires)?)
    }
}

impl<'a, C: TxConnection + ?Sized> Session<'a, C> {
    pub(super) fn new(connection: &'a mut C, key: &'a Key) -> Result<Self, StoreError> {
        let dialect = connection.dialect();
        Ok(Self {
            statements: Statements::of(dialect, connection.table())?,
            connection,
            dialect,
            key: row_key(key),
        })
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether a transaction is begun. Where the library does not know, the database is asked, by a statement that works
    /// only then, or only otherwise.
    pub(super) async fn is_in_transaction(&mut self) -> Result<bool, Failure> {
        if let Some(known) = self.connection.in_transaction() {
            return Ok(known);
        }
        let asked = self.connection.fetch(self.statements.probe, &[]).await;
        match (self.dialect, asked) {
            (Dialect::Postgres, Ok(_)) => Ok(true),
            (Dialect::Postgres, Err(failure)) if failure.is("25P01") => Ok(false),
            (Dialect::Sqlite, Ok(_)) => {
                self.connection.fetch("ROLLBACK", &[]).await?;
                Ok(false)
            }
            (Dialect::Sqlite, Err(failure)) if failure.is("1") => Ok(true),
            (_, Err(failure)) => Err(failure),
        }
    }

    /// Whether the library knows that there is no transaction any more.
    pub(super) fn has_no_transaction(&self) -> bool {
        self.connection.in_transaction() == Some(false)
    }

    /// Writes `record` if the key has none, waiting for another transaction that writes one for as long as `wait`.
    pub(super) async fn insert(
        &mut self,
        record: &Record,
        wait: Duration,
    ) -> Result<Found, Failure> {
        let bytes = record.encode();
        let (key, statements) = (Param::Text(&self.key), self.statements);
        match self.dialect {
            Dialect::Sqlite => {
                let (now, expires) = written_at(clock(), HOLD);
                let params = [
                    key,
                    Param::Bytes(&bytes),
                    Param::Integer(now),
                    Param::Integer(expires),
                ];
                let row = self.connection.fetch(statements.insert, &params).await?;
                // The statement may have waited for the file's lock. Its time is that at which it had it.
                Ok(row.map_or(Found::Unseen, |_| Found::Free {
                    now: clock(),
                    transaction: None,
                }))
            }
            Dialect::Postgres => {
                let params = [key, Param::Bytes(&bytes), Param::Integer(lock_ms(wait))];
                let statement = if wait.is_zero() {
                    statements.insert_at_once
                } else {
                    statements.insert
                };
                let row = self.connection.fetch(statement, &params).await?;
                Ok(row.map_or(Found::Unseen, found))
            }
        }
    }

    pub(super) async fn read(&mut self) -> Result<Option<Existing>, Failure> {
        let params = [Param::Text(&self.key)];
        let row = self.connection.fetch(self.statements.read, &params).await?;
        Ok(row.and_then(existing))
    }

    /// Replaces the record that was `seen` by a running one. `None`: it is not there any more. Else the transaction's number,
    /// where it has one.
    pub(super) async fn swap(
        &mut self,
        record: &Record,
        seen: &Existing,
        wait: Duration,
    ) -> Result<Option<Option<i64>>, Failure> {
        let bytes = record.encode();
        let (key, new) = (Param::Text(&self.key), Param::Bytes(&bytes));
        let (seen, renewed) = (Param::Bytes(&seen.bytes), Param::Integer(seen.renewed));
        let row = match self.dialect {
            Dialect::Sqlite => {
                let (now, expires) = written_at(clock(), HOLD);
                let (now, expires) = (Param::Integer(now), Param::Integer(expires));
                let params = [key, new, seen, now, expires, renewed];
                self.connection.fetch(self.statements.swap, &params).await?
            }
            Dialect::Postgres => {
                let params = [key, new, Param::Integer(lock_ms(wait)), seen, renewed];
                self.connection.fetch(self.statements.swap, &params).await?
            }
        };
        let written = row.filter(|row| row.renewed.is_some());
        Ok(written.map(|row| match self.dialect {
            Dialect::Sqlite => None,
            Dialect::Postgres => row.now,
        }))
    }

    /// Writes how the attempt ends over the record that it has `written`. Answers whether that is still there, written by
    /// the same transaction.
    pub(super) async fn finish(
        &mut self,
        target: &Record,
        written: &[u8],
        transaction: Option<i64>,
    ) -> Result<bool, Failure> {
        let key = Param::Text(&self.key);
        let row = match self.dialect {
            Dialect::Sqlite => {
                let now = clock();
                let write = Write::new(target.clone(), now);
                let bytes = write.bytes();
                let (now, expires) = written_at(now, write.keep);
                let params = [
                    key,
                    Param::Bytes(&bytes),
                    Param::Bytes(written),
                    Param::Integer(now),
                    Param::Integer(expires),
                ];
                self.connection
                    .fetch(self.statements.finish, &params)
                    .await?
            }
            Dialect::Postgres => {
                let write = Write::undated(target.clone());
                let bytes = write.bytes();
                let params = [
                    key,
                    Param::Bytes(&bytes),
                    Param::Integer(micros(write.keep)),
                    Param::Integer(micros(retention(target.state, target.ttl))),
                    Param::Bytes(written),
                    Param::Integer(transaction.unwrap_or_default()),
                ];
                self.connection
                    .fetch(self.statements.finish, &params)
                    .await?
            }
        };
        Ok(row.is_some())
    }

    /// Deletes the record that was `written`: as if the call had never been.
    pub(super) async fn delete(
        &mut self,
        written: &[u8],
        transaction: Option<i64>,
    ) -> Result<bool, Failure> {
        let (key, written) = (Param::Text(&self.key), Param::Bytes(written));
        let transaction = Param::Integer(transaction.unwrap_or_default());
        let params: &[Param<'_>] = match self.dialect {
            Dialect::Sqlite => &[key, written],
            Dialect::Postgres => &[key, written, transaction],
        };
        let deleted = self.connection.fetch(self.statements.delete, params).await;
        deleted.map(|row| row.is_some())
    }
}

/// What a row of PostgreSQL's insert says.
fn found(row: Row) -> Found {
    match (&row.record, row.renewed, row.now) {
        (Some(_), ..) => existing(row).map_or(Found::Unseen, Found::Row),
        (None, Some(renewed), transaction) => Found::Free {
            now: unsigned(renewed),
            transaction,
        },
        (None, None, Some(..0)) => Found::Taken,
        (None, None, _) => Found::Unseen,
    }
}

fn existing(row: Row) -> Option<Existing> {
    let now = row.now.unwrap_or_else(|| signed(clock()));
    Some(Existing {
        bytes: row.record?,
        renewed: row.renewed?,
        expires: row.expires?,
        now: now.unsigned_abs(),
        is_taken: now < 0,
    })
}

/// This machine's clock, in µs since 1970: SQLite's is no other.
fn clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO).as_micros();
    u64::try_from(since).unwrap_or(u64::MAX)
}

/// When a row is written, and when it has done its time.
fn written_at(now: u64, keep: Duration) -> (i64, i64) {
    let now = signed(now);
    (now, now.saturating_add(micros(keep)))
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// A wait as a `lock_timeout`, where 0 would be none.
fn lock_ms(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis())
        .unwrap_or(LONGEST_LOCK)
        .clamp(1, LONGEST_LOCK)
}

fn unsigned(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0)
}
