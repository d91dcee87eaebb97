//! tokio-postgres' transactions. Statements are unnamed, and each is one round trip: nothing is left on the connection, which
//! may be behind a pooler.

use tokio_postgres::{
    Error, Transaction,
    types::{ToSql, Type},
};

use super::{Dialect, Failure, Param, Row, TxConnection};

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = error.code().cloned();
        let failure = Self::new(error);
        match code {
            Some(code) => failure.with_code(code.code()),
            None => failure,
        }
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "tx-tokio-postgres")))]
impl TxConnection for Transaction<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    /// It begins when it is made, and cannot be used after its end.
    fn in_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn fetch(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, Failure> {
        let typed = params.iter().map(typed).collect::<Vec<_>>();
        let Some(row) = self.query_typed_opt(sql, &typed).await? else {
            return Ok(None);
        };
        Ok(Some(Row::new(
            row.try_get(0)?,
            row.try_get(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
        )))
    }
}

fn typed<'a>(param: &'a Param<'_>) -> (&'a (dyn ToSql + Sync), Type) {
    match param {
        Param::Text(text) => (text, Type::TEXT),
        Param::Bytes(bytes) => (bytes, Type::BYTEA),
        Param::Integer(integer) => (integer, Type::INT8),
    }
}
