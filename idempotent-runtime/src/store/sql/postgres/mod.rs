//! Records in a table of PostgreSQL: for several processes and machines, beside the data that they are about.

mod claim;
mod commands;
mod connection;
mod error;
mod list;
mod notify;
mod options;
mod parameter;
mod schema;
mod statements;
mod sweep;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio_postgres::Config;

use self::{
    connection::{Connections, Connector, Hub, Hubs, Warnings},
    error::{Failure, Lost},
    parameter::Parameter::{Bytes, Text},
    statements::Statements,
    sweep::Sweeper,
};
use super::{
    command::{Command, Reply},
    table::{TableName, row_key},
};
#[cfg(doc)]
use crate::StoreErrorKind;
use crate::{
    StoreError,
    key::Key,
    record::Record,
    store::{
        ClaimReply, ClaimRequest, Cursor, Filter, Found, Page, Settled, Store, Subscription,
        connection::clock::Clock,
        protocol::{self, Write},
    },
};

pub(crate) use connection::url::is_scheme;
pub use options::PostgresOptions;
pub use schema::POSTGRES_SCHEMA;

/// Keeps records in a table of PostgreSQL (14 or later). Feature `postgres`.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use idempotent_fn::{install, store::PostgresStore};
///
/// let store = PostgresStore::new("postgres://user:password@db.internal/shop")?;
/// store.migrate().await?; // makes the table, unless your own migrations do
/// install(store)?; // first thing in `main`
/// # Ok(()) }
/// ```
///
/// Cloning is cheap, and clones are one store. Nothing is sent before the first use. The store has connections of its own,
/// never those of a pool: each Tokio runtime that uses it opens up to
/// [four](PostgresOptions::with_connections), on each of which many tasks' statements are under way. They are made in tasks of
/// that runtime, so a call that nobody polls blocks no other.
///
/// # Cost
/// A first call sends two statements, which are two commits; a replay one, which locks nothing and writes nothing. Each is one
/// autocommitted statement on one row. The server's clock judges leases.
///
/// # The table
/// [`migrate`](Self::migrate) makes it, or your own migrations do, with the text in [`POSTGRES_SCHEMA`]. Its view
/// `idempotent_records_view` is for people. Records that are past their time are deleted in small steps, by one process at a
/// time. A table partitioned by `HASH (key)` serves as well. A user needs `SELECT, INSERT, UPDATE, DELETE` on the table and
/// `USAGE` on its schema, no more.
///
/// # Waiting
/// A call that waits for another process' marks the row, and one connection of its runtime listens (`LISTEN`). Whoever ends
/// a marked row notifies, and nobody else does. Where notifications do not arrive, which the store tries out first, waiters
/// poll.
///
/// # What the server must be
/// It is looked at at every connect, before anything else is sent.
///
/// | it is | then |
/// |---|---|
/// | older than 14; the table is missing, UNLOGGED, another program's or of a later version; a right is missing | [`Config`](StoreErrorKind::Config) |
/// | a standby, or recovering | [`Refused`](StoreErrorKind::Refused), and [transient](StoreError::is_transient) |
/// | set to `synchronous_commit = off` | a warning: acknowledged claims may be forgotten in a crash |
/// | behind a pooler that lends sessions, as PgBouncer in the mode `transaction` | statements have no names: see [`PostgresOptions::with_pooled`] |
///
/// # When it fails
/// The error's code decides (SQLSTATE), and is told.
///
/// | it happened | error |
/// |---|---|
/// | another transaction holds the row for a second; no resources; a cancelled statement; a server that takes no writes | `Refused`: nothing changed |
/// | the server shut down, crashed or gave no answer in time | [`Ambiguous`](StoreErrorKind::Ambiguous) |
/// | there is no connection | [`NotSent`](StoreErrorKind::NotSent) |
///
/// An asynchronous standby that takes over has not all that the old primary acknowledged: what it lost may run again. With
/// `synchronous_standby_names` it has.
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Arc<Connector>,
    hubs: Hubs,
    sweeper: Sweeper,
}

impl PostgresStore {
    /// A store at `url`, with the default [`PostgresOptions`]. It connects at its first use.
    ///
    /// The URL is libpq's: `postgres://user:password@host:port/database?parameters`, with `postgresql` for `postgres` too.
    /// Several hosts are parted by commas, and the primary among them is used. A unix socket's folder is written as
    /// `postgres://%2Fvar%2Frun%2Fpostgresql/database`. User, port (5432) and database (the user's name) may be left out.
    /// Write `%40` for `@`, `%3A` for `:`, `%2F` for `/` and `%25` for `%` in user and password.
    ///
    /// `sslmode` may be `disable`, `prefer` (the default) and `require`, for which the feature `postgres-tls` is needed; with it,
    /// certificates are always verified, and `verify-ca` and `verify-full` mean the same as `require`. `pooled=true` is
    /// [`PostgresOptions::with_pooled`].
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) when the URL cannot be read, or needs a feature that is off. The text says what to
    /// write, and shows nothing of the URL.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        PostgresOptions::new().open(url)
    }

    /// As [`new`](Self::new), and checks at once that the server is reachable, and server and table are fit.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`check`](Self::check).
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::new(url)?;
        store.check().await?;
        Ok(store)
    }

    /// Connects, if not connected yet, and checks server and table.
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) when the server or the table is not fit, or this user is not let in;
    /// [`NotSent`](StoreErrorKind::NotSent) when the server cannot be reached; [`Refused`](StoreErrorKind::Refused) when it
    /// takes no records at the moment.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.session(&self.hub()?, None).await.map(drop)
    }

    /// Makes the table and the view where there is no table, and checks what is there otherwise. The user needs the right to
    /// create in the schema. Processes that do so at the same time take turns.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let hub = self.hub()?;
        let connector = self.inner.connector.clone();
        let making = hub.runtime.spawn(async move {
            let session = Arc::new(connector.bare_session().await.map_err(Failure::NotSent)?);
            let creation = schema::creation(&connector.table);
            let patience = connector.options.response_timeout;
            session.begin().send(&creation, &[], patience).await
        });
        let made = making
            .await
            .unwrap_or(Err(Failure::Unanswered(Lost::Connection(None))));
        made.map_err(|failure| self.explain(failure, "making the table"))?;
        self.check().await
    }

    /// Deletes the records that are past their time, and answers how many that were. The store does it by itself, unless
    /// [told not to](PostgresOptions::with_sweep). Calls go on meanwhile.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        sweep::round(self, true).await
    }

    /// The default store of the feature `postgres` if nobody chose one. Its errors say so.
    pub(crate) fn by_default(url: &str) -> Result<Self, StoreError> {
        let named = connection::url::parse(url)?;
        let name = connection::url::describe(&named.config);
        let name = format!(
            "{name} (nobody chose a store; the feature `postgres` made it {url}: set IDEMPOTENT_STORE, or call `install`)"
        );
        let options = PostgresOptions::new();
        let table = TableName::parse(&options.table)?;
        Self::assemble(name, named.config, table, options)
    }

    #[cfg_attr(
        not(feature = "postgres-tls"),
        expect(clippy::unnecessary_wraps, reason = "only TLS can be set up wrongly")
    )]
    fn assemble(
        server_name: String,
        config: Config,
        table: TableName,
        options: PostgresOptions,
    ) -> Result<Self, StoreError> {
        let connector = Connector {
            #[cfg(feature = "postgres-tls")]
            tls: tokio_postgres_rustls::MakeRustlsConnect::new(options.tls.config()?),
            config,
            statements: Statements::new(&table),
            table,
            server_name: server_name.into(),
            clock: Clock::new(),
            is_pooled: AtomicBool::new(options.pooled),
            may_delete: AtomicBool::new(true),
            warnings: Warnings::default(),
            options,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                connector: Arc::new(connector),
                hubs: Hubs::default(),
                sweeper: Sweeper::default(),
            }),
        })
    }

    fn hub(&self) -> Result<Arc<Hub>, StoreError> {
        let connections = self.inner.connector.options.connections;
        self.inner.hubs.here(|| Connections::new(connections))
    }

    async fn settle(
        &self,
        key: &Key,
        command: Command,
        doing: &str,
    ) -> Result<Settled, StoreError> {
        match self.carry_out(&row_key(key), &command, None, doing).await? {
            Reply::Settled(settled) => Ok(settled),
            Reply::Claim(_) | Reply::Read(_) => Err(self.unexpected(doing)),
        }
    }
}

impl Store for PostgresStore {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        claim::claim(self, key, request).await
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        let doing = "a heartbeat";
        let (row_key, granted) = (row_key(key), protocol::granted(owned).encode());
        let parameters = || vec![Text(row_key.to_string()), Bytes(granted.clone())];
        if self
            .ask(|all| &all.renew, &parameters, doing)
            .await?
            .is_some()
        {
            return Ok(Settled::Applied);
        }
        self.settle(key, Command::Renew(owned.clone()), doing).await
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        let doing = "a finish";
        let write = Write::undated(target.clone());
        let (row_key, ended) = (row_key(key), write.bytes());
        let granted = protocol::granted(target).encode();
        let parameters = || {
            vec![
                Text(row_key.to_string()),
                Bytes(ended.clone()),
                Bytes(granted.clone()),
                commands::micros(write.shown()),
                commands::micros(write.keep),
            ]
        };
        if self
            .ask(|all| &all.finish, &parameters, doing)
            .await?
            .is_some()
        {
            return Ok(Settled::Applied);
        }
        self.settle(key, Command::Finish(target.clone()), doing)
            .await
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        let doing = "a look";
        match self
            .carry_out(&row_key(key), &Command::Read, None, doing)
            .await?
        {
            Reply::Read(found) => Ok(found),
            Reply::Claim(_) | Reply::Settled(_) => Err(self.unexpected(doing)),
        }
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let command = Command::Overrule {
            seen: seen.cloned(),
            replacement: replacement.clone(),
        };
        self.settle(key, command, "a decision").await
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        list::page(self, filter, cursor).await
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        notify::subscribe(self, key).await
    }

    fn clock(&self) -> Option<u64> {
        self.inner.connector.clock.now()
    }

    fn needs_io(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        self.inner.connector.server_name.to_string()
    }
}

/// Shows the server's address, without user and password.
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresStore")
            .field(&self.describe())
            .finish()
    }
}
