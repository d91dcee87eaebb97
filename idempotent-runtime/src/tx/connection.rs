//! What is asked of a database library: one statement at a time, on the caller's own connection.

use std::{error, fmt, future::Future, sync::Arc};

use super::Table;

/// The database behind a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// PostgreSQL 14 or later, and what speaks as it does.
    Postgres,
    /// SQLite 3.37 or later.
    Sqlite,
}

/// A value of a statement. A statement has them in the order of its numbers: `$1` or `?1` is the first.
#[derive(Clone, Copy, Debug)]
pub enum Param<'a> {
    /// `text`.
    Text(&'a str),
    /// `bytea`, or a `BLOB`.
    Bytes(&'a [u8]),
    /// `bigint`, or an `INTEGER`.
    Integer(i64),
}

/// The first four columns of a row, which every statement that answers has: one of bytes and three numbers, each of them
/// `NULL` or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub(super) record: Option<Vec<u8>>,
    pub(super) renewed: Option<i64>,
    pub(super) expires: Option<i64>,
    pub(super) now: Option<i64>,
}

impl Row {
    /// The row with these columns, in their order.
    #[must_use]
    pub const fn new(
        first: Option<Vec<u8>>,
        second: Option<i64>,
        third: Option<i64>,
        fourth: Option<i64>,
    ) -> Self {
        Self {
            record: first,
            renewed: second,
            expires: third,
            now: fourth,
        }
    }
}

/// Why a statement failed: the database's code, if it has answered, and the library's error.
///
/// The code decides what the failure means; no text is looked at.
#[derive(Clone)]
pub struct Failure {
    pub(super) code: Option<Arc<str>>,
    source: Arc<dyn error::Error + Send + Sync>,
}

impl Failure {
    /// A failure with this cause, to which the database gave no code: the connection is lost, say.
    pub fn new(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self {
            code: None,
            source: Arc::from(source.into()),
        }
    }

    /// Adds the database's code: PostgreSQL's SQLSTATE (`40001`), or SQLite's extended code (`517`).
    #[must_use]
    pub fn with_code(self, code: impl fmt::Display) -> Self {
        Self {
            code: Some(code.to_string().into()),
            ..self
        }
    }
}

/// Shows the code alone: a database's text may repeat what was sent.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "a statement failed with code {code}"),
            None => f.write_str("a statement had no answer"),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

impl error::Error for Failure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.source)
    }
}

/// A connection with a transaction begun on it, of any library: what `in_tx` names.
///
/// Implemented for sqlx's connections and `Transaction` (features `tx-sqlx-postgres` and
/// `tx-sqlx-sqlite`), tokio-postgres' `Transaction`
/// (`tx-tokio-postgres`), and rusqlite's `Transaction` and `Savepoint` (`tx-rusqlite`). Another library's is some fourteen
/// lines; the orphan rule wants a type of yours around it, which `in_tx = &mut Mine(tx)` then names:
///
/// ```
/// # mod library { pub struct Connection; #[derive(Debug, thiserror::Error)] #[error("…")] pub struct Error; pub type Value = ();
/// #   impl Connection { pub async fn query(&mut self, _: &str, _: &[()]) -> Result<Option<super::Row>, Error> { Ok(None) } }
/// #   impl Error { pub fn sqlstate(&self) -> &str { "40001" } } pub fn value(_: &super::Param<'_>) {} }
/// use idempotent_fn::tx::{Dialect, Failure, Param, Row, TxConnection};
///
/// struct Mine<'a>(&'a mut library::Connection);
///
/// impl TxConnection for Mine<'_> {
///     fn dialect(&self) -> Dialect {
///         Dialect::Postgres
///     }
///
///     fn in_transaction(&self) -> Option<bool> {
///         None // it does not know
///     }
///
///     async fn fetch(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<Option<Row>, Failure> {
///         // `Param::Text`, `Bytes` and `Integer` as the library binds them; the row's first four columns by `Row::new`.
///         let values: Vec<_> = params.iter().map(library::value).collect();
///         let row = self.0.query(sql, &values).await;
///         row.map_err(|error| Failure::new(library::Error).with_code(error.sqlstate()))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no connection with a transaction on it",
    label = "needs a connection or a transaction, by `&mut`",
    note = "a pool or a client gives each statement a transaction of its own: begin one, and pass it as `&mut`",
    note = "the features `tx-sqlx-postgres`, `tx-sqlx-sqlite`, `tx-tokio-postgres` and `tx-rusqlite` bring those libraries' types; for \
            another library, implement `idempotent_fn::tx::TxConnection` for a type of yours"
)]
pub trait TxConnection {
    /// Which database it is.
    fn dialect(&self) -> Dialect;

    /// Whether a transaction is begun; `None` where the library cannot tell, and the database is asked.
    fn in_transaction(&self) -> Option<bool>;

    /// Runs one statement, and answers with the first row, if there is one. Rows have the columns of [`Row`], or more,
    /// which do not matter. No statement is sent twice, and none begins or ends a transaction.
    fn fetch(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Option<Row>, Failure>> + Send;

    /// The table that has the records: `idempotent_records`, unless [`Table::on`] says another.
    fn table(&self) -> Table {
        Table::default()
    }
}
