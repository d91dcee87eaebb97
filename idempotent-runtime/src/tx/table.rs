//! A table of another name.

use super::{Dialect, Failure, Param, Row, TxConnection};
use crate::store::sql::table::TABLE;

/// The table that has the records, where it is not `idempotent_records`.
///
/// ```
/// # #[cfg(feature = "tx-rusqlite")] {
/// # use idempotent_fn::{Error, idempotent, tx::Table};
/// # use rusqlite::Transaction;
/// const BILLING: Table = Table::new("billing_records");
///
/// #[idempotent(scope = "invoices.write", key = invoice, in_tx = &mut BILLING.on(tx))]
/// async fn write(tx: &mut Transaction<'_>, invoice: u64) -> Result<u64, Error> {
///     Ok(invoice)
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    pub(super) name: &'static str,
}

impl Table {
    /// The table of this name: up to 48 letters, digits and `_`, on PostgreSQL with a schema before a dot where the search
    /// path does not find it. Another name is refused when it is used ([`Error::Config`](crate::Error::Config)).
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// The connection, with this table in place of the usual one.
    #[must_use = "it is what `in_tx` names"]
    pub fn on<C: TxConnection + ?Sized>(self, connection: &mut C) -> OnTable<'_, C> {
        OnTable {
            table: self,
            connection,
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new(TABLE)
    }
}

/// A connection whose records are in another [`Table`].
#[derive(Debug)]
pub struct OnTable<'a, C: ?Sized> {
    table: Table,
    connection: &'a mut C,
}

impl<C: TxConnection + ?Sized> TxConnection for OnTable<'_, C> {
    fn dialect(&self) -> Dialect {
        self.connection.dialect()
    }

    fn in_transaction(&self) -> Option<bool> {
        self.connection.in_transaction()
    }

    fn fetch(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Option<Row>, Failure>> + Send {
        self.connection.fetch(sql, params)
    }

    fn table(&self) -> Table {
        self.table
    }
}
