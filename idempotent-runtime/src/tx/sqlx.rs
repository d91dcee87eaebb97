//! sqlx's connections, pooled connections and transactions.

use std::borrow::Cow;

use sqlx::{Connection, Error, Row as _, Transaction, error::DatabaseError, pool::PoolConnection};

use super::{Dialect, Failure, Param, Row, TxConnection};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = error.as_database_error().and_then(DatabaseError::code);
        let code = code.map(Cow::into_owned);
        let failure = Self::new(error);
        match code {
            Some(code) => failure.with_code(code),
            None => failure,
        }
    }
}

/// Implements the trait for what a database has: its connection, and what stands for one.
macro_rules! connections {
    ($feature:literal, $database:ty, $connection:ty, $dialect:ident) => {
        #[cfg_attr(docsrs, doc(cfg(feature = $feature)))]
        impl TxConnection for $connection {
            fn dialect(&self) -> Dialect {
                Dialect::$dialect
            }

            /// It knows of the transactions that its own methods have begun, and of no others.
            fn in_transaction(&self) -> Option<bool> {
                self.is_in_transaction().then_some(true)
            }

            async fn fetch(
                &mut self,
                sql: &'static str,
                params: &[Param<'_>],
            ) -> Result<Option<Row>, Failure> {
                let mut query = sqlx::query::<$database>(sql);
                for param in params {
                    query = match *param {
                        Param::Text(text) => query.bind(text.to_owned()),
                        Param::Bytes(bytes) => query.bind(bytes.to_owned()),
                        Param::Integer(integer) => query.bind(integer),
                    };
                }
                let Some(row) = query.fetch_optional(self).await? else {
                    return Ok(None);
                };
                Ok(Some(Row::new(
                    row.try_get_unchecked(0)?,
                    row.try_get_unchecked(1)?,
                    row.try_get_unchecked(2)?,
                    row.try_get_unchecked(3)?,
                )))
            }
        }

        connections!(@stands_for $feature, $connection, Transaction<'_, $database>);
        connections!(@stands_for $feature, $connection, PoolConnection<$database>);
    };
    (@stands_for $feature:literal, $connection:ty, $type:ty) => {
        #[cfg_attr(docsrs, doc(cfg(feature = $feature)))]
        impl TxConnection for $type {
            fn dialect(&self) -> Dialect {
                <$connection as TxConnection>::dialect(self)
            }

            fn in_transaction(&self) -> Option<bool> {
                <$connection as TxConnection>::in_transaction(self)
            }

            async fn fetch(
                &mut self,
                sql: &'static str,
                params: &[Param<'_>],
            ) -> Result<Option<Row>, Failure> {
                <$connection as TxConnection>::fetch(self, sql, params).await
            }
        }
    };
}

#[cfg(feature = "tx-sqlx-postgres")]
connections!(
    "tx-sqlx-postgres",
    sqlx::Postgres,
    sqlx::PgConnection,
    Postgres
);
#[cfg(feature = "tx-sqlx-sqlite")]
connections!(
    "tx-sqlx-sqlite",
    sqlx::Sqlite,
    sqlx::SqliteConnection,
    Sqlite
);
