//! Options of a store in an SQLite file.

use std::path::Path;

use super::SqliteStore;
#[cfg(doc)]
use crate::StoreErrorKind;
use crate::{
    StoreError,
    store::sql::table::{TABLE, TableName},
};

/// Options for a [`SqliteStore`] whose defaults do not fit.
///
/// ```no_run
/// # fn main() -> Result<(), idempotent_fn::StoreError> {
/// use idempotent_fn::store::SqliteOptions;
///
/// let store = SqliteOptions::new().with_table("billing_idempotency").open("billing.db")?;
/// # Ok(()) }
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
#[derive(Clone, Debug)]
#[must_use]
pub struct SqliteOptions {
    pub(super) table: String,
    pub(super) synchronous: SqliteSynchronous,
    pub(super) creates_file: bool,
    pub(super) creates_table: bool,
    pub(super) sweeps: bool,
}

/// When a commit counts as done: SQLite's `synchronous`.
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SqliteSynchronous {
    /// When the disk has it. An acknowledged write survives a power cut.
    #[default]
    Full,
    /// When the operating system has it. It is faster, and safe if the process dies. **A power cut
    /// loses the last writes**: a body that has run may run again.
    Normal,
}

impl SqliteOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            table: TABLE.to_owned(),
            synchronous: SqliteSynchronous::Full,
            creates_file: true,
            creates_table: true,
            sweeps: true,
        }
    }

    /// The table's name: `idempotent_records` by default. Letters, digits and `_`.
    pub fn with_table(mut self, name: &str) -> Self {
        name.clone_into(&mut self.table);
        self
    }

    /// When a commit counts as done: [`Full`](SqliteSynchronous::Full) by default.
    pub fn with_synchronous(mut self, synchronous: SqliteSynchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Whether the store creates the file if there is none: by default, yes. If not, a missing file
    /// is [`Config`](StoreErrorKind::Config), also for [`SqliteStore::migrate`]. An operator's tool
    /// says no: a typing error in the path would show it an empty store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), idempotent_fn::StoreError> {
    /// use idempotent_fn::{Store, store::SqliteOptions};
    ///
    /// let tool = SqliteOptions::new().with_file_creation(false).open("typo.db")?;
    /// assert!(tool.check().await.is_err());
    /// # Ok(()) }
    /// ```
    pub fn with_file_creation(mut self, create: bool) -> Self {
        self.creates_file = create;
        self
    }

    /// Whether the store creates its table if there is none: by default, yes. If not, a missing
    /// table is [`Config`](StoreErrorKind::Config), and [`SqliteStore::migrate`] or your own
    /// migrations create it, with the text in [`SQLITE_SCHEMA`](super::SQLITE_SCHEMA).
    pub fn with_table_creation(mut self, create: bool) -> Self {
        self.creates_table = create;
        self
    }

    /// Whether the store deletes records whose time is over by itself: by default, yes. If not,
    /// call [`SqliteStore::sweep`].
    pub fn with_sweep(mut self, sweep: bool) -> Self {
        self.sweeps = sweep;
        self
    }

    /// A store in the file at `path`, as [`SqliteStore::new`] with these options.
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) if the table's name or the path is not valid.
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
        let table = TableName::parse(&self.table)?;
        SqliteStore::assemble(path.as_ref(), table, &self)
    }
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}
