//! sqlx 0.8, on PostgreSQL.

use idempotent_fn::tx::{Dialect, Failure, Param, Row, TxConnection};
use idempotent_fn::{Error, idempotent};
use sqlx::{Connection, PgConnection, Row as _};

/// sqlx's connection, and so its transactions.
pub struct Sqlx<'a>(pub &'a mut PgConnection);

impl TxConnection for Sqlx<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn in_transaction(&self) -> Option<bool> {
        None // the server is asked
    }

    async fn fetch(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, Failure> {
        let query = params
            .iter()
            .fold(sqlx::query(sql), |query, param| match *param {
                Param::Text(text) => query.bind(text.to_owned()),
                Param::Bytes(bytes) => query.bind(bytes.to_owned()),
                Param::Integer(integer) => query.bind(integer),
            });
        let row = query.fetch_optional(&mut *self.0).await.map_err(failure)?;
        Ok(row.map(|row| Row::new(row.get(0), row.get(1), row.get(2), row.get(3))))
    }
}

fn failure(error: sqlx::Error) -> Failure {
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .map(|code| code.into_owned());
    let failure = Failure::new(error);
    code.into_iter().fold(failure, Failure::with_code)
}

/// What the body and the database may fail with.
#[derive(Debug)]
pub enum PlaceError {
    /// The call was refused.
    Refused(Error),
    /// The database failed.
    Database(sqlx::Error),
}

impl From<Error> for PlaceError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<sqlx::Error> for PlaceError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Places an order, once.
#[idempotent(scope = "orders.place", key = order, in_tx = &mut Sqlx(tx))]
pub async fn place(tx: &mut PgConnection, order: i64) -> Result<u64, PlaceError> {
    let insert = sqlx::query("INSERT INTO orders VALUES ($1)").bind(order);
    Ok(insert.execute(&mut *tx).await?.rows_affected())
}

/// A handler that owns the transaction.
pub async fn handle(connection: &mut PgConnection, order: i64) -> Result<u64, PlaceError> {
    let mut tx = connection.begin().await?;
    let placed = place(&mut tx, order).await?;
    tx.commit().await?;
    Ok(placed)
}
