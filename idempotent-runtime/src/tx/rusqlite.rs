//! rusqlite's transactions. Its calls block, as all of rusqlite's do; their answers are ready when the future is made.

use std::future::{Future, ready};

use rusqlite::{
    Connection, Error, OptionalExtension, Savepoint, ToSql, Transaction, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{Dialect, Failure, Param, Row, TxConnection};

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Integer(integer) => ValueRef::Integer(integer),
        }))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = error.sqlite_error().map(|error| error.extended_code);
        let failure = Self::new(error);
        match code {
            Some(code) => failure.with_code(code),
            None => failure,
        }
    }
}

fn fetch(
    connection: &Connection,
    sql: &str,
    params: &[Param<'_>],
) -> rusqlite::Result<Option<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    let row = statement.query_row(params_from_iter(params), |row| {
        Ok(Row::new(row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    });
    row.optional()
}

#[cfg_attr(docsrs, doc(cfg(feature = "tx-rusqlite")))]
impl TxConnection for Transaction<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn in_transaction(&self) -> Option<bool> {
        Some(!self.is_autocommit())
    }

    fn fetch(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Option<Row>, Failure>> + Send {
        ready(fetch(self, sql, params).map_err(Failure::from))
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "tx-rusqlite")))]
impl TxConnection for Savepoint<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn in_transaction(&self) -> Option<bool> {
        Some(!self.is_autocommit())
    }

    fn fetch(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Option<Row>, Failure>> + Send {
        ready(fetch(self, sql, params).map_err(Failure::from))
    }
}
