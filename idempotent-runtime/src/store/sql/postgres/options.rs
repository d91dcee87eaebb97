//! Options of a PostgreSQL store: how it reaches its server, and which table it uses.

use std::{fmt, time::Duration};

use super::{PostgresStore, connection::url};
#[cfg(doc)]
use crate::StoreErrorKind;
#[cfg(feature = "postgres-tls")]
use crate::store::connection::tls::Certificates;
use crate::{
    StoreError,
    store::sql::table::{TABLE, TableName},
};

/// Options for a [`PostgresStore`] whose defaults do not fit.
///
/// ```no_run
/// # fn main() -> Result<(), idempotent_fn::StoreError> {
/// use idempotent_fn::store::PostgresOptions;
///
/// let store = PostgresOptions::new().with_table("billing.idempotency").open("postgres://db.internal/shop")?;
/// # Ok(()) }
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
#[derive(Clone)]
#[must_use]
pub struct PostgresOptions {
    pub(super) table: String,
    pub(super) connections: usize,
    pub(super) pooled: bool,
    pub(super) sweeps: bool,
    pub(super) response_timeout: Duration,
    pub(super) connection_timeout: Duration,
    #[cfg(feature = "postgres-tls")]
    pub(super) tls: Certificates,
}

impl PostgresOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            table: TABLE.to_owned(),
            connections: 4,
            pooled: false,
            sweeps: true,
            response_timeout: Duration::from_secs(2),
            connection_timeout: Duration::from_secs(2),
            #[cfg(feature = "postgres-tls")]
            tls: Certificates::default(),
        }
    }

    /// The table's name: `idempotent_records` by default, found by the user's `search_path`. Letters, digits and `_`, and a
    /// schema before a dot: `billing.idempotency`.
    pub fn with_table(mut self, name: &str) -> Self {
        name.clone_into(&mut self.table);
        self
    }

    /// How many connections each Tokio runtime opens at most, beside the one that listens: 4 by default, at least 1. They
    /// are opened as load asks. Many tasks' statements are under way on each, so more of them are of use only where many
    /// bodies begin and end at once.
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Whether there is a pooler before the server that lends a session for one transaction, as PgBouncer in the mode
    /// `transaction`. `?pooled=true` in the URL says the same. By default the store finds it out by itself, at each connect and
    /// before it sends anything else.
    ///
    /// Then no statement is prepared, which is slower, and waiters poll.
    pub fn with_pooled(mut self, pooled: bool) -> Self {
        self.pooled = pooled;
        self
    }

    /// Whether the store deletes records that are past their time by itself; it does by default. Else call
    /// [`PostgresStore::sweep`], or have `pg_cron` run `DELETE FROM idempotent_records WHERE expires < extract(epoch FROM
    /// now()) * 1000000`.
    pub fn with_sweep(mut self, sweep: bool) -> Self {
        self.sweeps = sweep;
        self
    }

    /// How long an answer may take: 2 seconds by default.
    ///
    /// A longer wait fails as [`Ambiguous`](StoreErrorKind::Ambiguous), and the connection is replaced. Keep it below a third
    /// of the shortest lease, or heartbeats come too late. A statement waits up to a second of it for a row that another
    /// transaction holds.
    pub fn with_response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How long it may take to connect and log in: 2 seconds by default. A longer wait fails as
    /// [`NotSent`](StoreErrorKind::NotSent). A call waits 0.9 seconds for a connection, and then fails as `NotSent` too, while
    /// connecting goes on.
    pub fn with_connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = timeout;
        self
    }

    /// Trusts the certificate authorities in this PEM text, and no others. By default those of the operating system are
    /// trusted. Feature `postgres-tls`.
    #[cfg(feature = "postgres-tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "postgres-tls")))]
    pub fn with_tls_root(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots = Some(pem.into());
        self
    }

    /// Presents this certificate to the server, with its private key; both in PEM. Feature `postgres-tls`.
    #[cfg(feature = "postgres-tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "postgres-tls")))]
    pub fn with_tls_identity(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// A store at `url`, as [`PostgresStore::new`] with these options.
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) when the URL, the table's name or a certificate cannot be read.
    pub fn open(mut self, url: &str) -> Result<PostgresStore, StoreError> {
        let named = url::parse(url)?;
        self.pooled |= named.pooled;
        let table = TableName::parse(&self.table)?;
        let name = url::describe(&named.config);
        PostgresStore::assemble(name, named.config, table, self)
    }
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows no certificate.
impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("table", &self.table)
            .field("connections", &self.connections)
            .field("pooled", &self.pooled)
            .field("sweeps", &self.sweeps)
            .field("response_timeout", &self.response_timeout)
            .field("connection_timeout", &self.connection_timeout)
            .finish_non_exhaustive()
    }
}
