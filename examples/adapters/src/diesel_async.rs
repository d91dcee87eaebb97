//! diesel-async 0.9, on PostgreSQL.

use diesel::OptionalExtension;
use diesel::deserialize::QueryableByName;
use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::row::NamedRow;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use idempotent_fn::tx::{Dialect, Failure, Param, Row, TxConnection};
use idempotent_fn::{Error, idempotent};

/// diesel-async's connection, within `transaction(…)`.
pub struct Diesel<'a>(pub &'a mut AsyncPgConnection);

struct Columns(Row);

impl QueryableByName<Pg> for Columns {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> diesel::deserialize::Result<Self> {
        Ok(Self(Row::new(
            NamedRow::get::<Nullable<Binary>, _>(row, "record")?,
            NamedRow::get::<Nullable<BigInt>, _>(row, "renewed")?,
            NamedRow::get::<Nullable<BigInt>, _>(row, "expires")?,
            NamedRow::get::<Nullable<BigInt>, _>(row, "now")?,
        )))
    }
}

impl TxConnection for Diesel<'_> {
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
        let query =
            params
                .iter()
                .fold(
                    diesel::sql_query(sql).into_boxed::<Pg>(),
                    |query, param| match *param {
                        Param::Text(text) => query.bind::<Text, _>(text.to_owned()),
                        Param::Bytes(bytes) => query.bind::<Binary, _>(bytes.to_vec()),
                        Param::Integer(integer) => query.bind::<BigInt, _>(integer),
                    },
                );
        let row = query.get_result::<Columns>(&mut *self.0).await.optional();
        Ok(row.map_err(failure)?.map(|columns| columns.0))
    }
}

/// diesel has kinds instead of most codes. What it has no kind for is a failure all the same.
fn failure(error: DieselError) -> Failure {
    let code = match &error {
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => Some("40001"),
        DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _) => Some("25006"),
        DieselError::DatabaseError(_, about) => match about.message() {
            message if message.contains("lock timeout") => Some("55P03"),
            message if message.contains("deadlock detected") => Some("40P01"),
            message if message.contains("can only be used in transaction blocks") => Some("25P01"),
            message if message.contains("current transaction is aborted") => Some("25P02"),
            message if message.contains("does not exist") => Some("42P01"),
            _ => Some("XX000"),
        },
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
    Database(DieselError),
}

impl From<Error> for PlaceError {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<DieselError> for PlaceError {
    fn from(error: DieselError) -> Self {
        Self::Database(error)
    }
}

/// Places an order, once.
#[idempotent(scope = "orders.place", key = order, in_tx = &mut Diesel(tx))]
pub async fn place(tx: &mut AsyncPgConnection, order: i64) -> Result<u64, PlaceError> {
    let insert = diesel::sql_query("INSERT INTO orders VALUES ($1)").bind::<BigInt, _>(order);
    Ok(u64::try_from(insert.execute(&mut *tx).await?).unwrap_or_default())
}
