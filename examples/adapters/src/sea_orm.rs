//! sea-orm 2, on PostgreSQL.

use idempotent_fn::tx::{Dialect, Failure, Param, Row, TxConnection};
use idempotent_fn::{Error, idempotent};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, RuntimeErr, SqlxError, Statement, Value,
};

/// sea-orm's transaction.
pub struct SeaOrm<'a>(pub &'a mut DatabaseTransaction);

impl TxConnection for SeaOrm<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn in_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn fetch(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, Failure> {
        let values = params.iter().map(|param| match *param {
            Param::Text(text) => Value::from(text),
            Param::Bytes(bytes) => Value::from(bytes.to_vec()),
            Param::Integer(integer) => Value::from(integer),
        });
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
        let Some(row) = self.0.query_one_raw(statement).await.map_err(failure)? else {
            return Ok(None);
        };
        let column = |index| row.try_get_by_index(index).map_err(failure);
        let first = row.try_get_by_index(0).map_err(failure)?;
        Ok(Some(Row::new(first, column(1)?, column(2)?, column(3)?)))
    }
}

fn failure(error: DbErr) -> Failure {
    let code = match &error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            match &**error {
                SqlxError::Database(error) => error.code().map(|code| code.into_owned()),
                _ => None,
            }
        }
        _ => None,
    };
    let failure = Failure::new(error);
    code.into_iter().fold(failure, Failure::with_code)
}

/// What the body and the database may fail with.
#[derive(Debug)]
pub enum PlaceError {
    /// The call was refused.
    Refused(Error),
    /// The database failed.
    Database(DbErr),
}

impl From<Error> for PlaceError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<DbErr> for PlaceError {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

/// Places an order, once.
#[idempotent(scope = "orders.place", key = order, in_tx = &mut SeaOrm(tx))]
pub async fn place(tx: &mut DatabaseTransaction, order: i64) -> Result<u64, PlaceError> {
    let insert = Statement::from_sql_and_values(
        DbBackend::Postgres,
        "INSERT INTO orders VALUES ($1)",
        [order.into()],
    );
    Ok(tx.execute_raw(insert).await?.rows_affected())
}
