//! Connections to one server, or to the primary among several.

mod pool;
mod server_check;
mod session;
pub(super) mod url;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Instant,
};

#[cfg(feature = "postgres-tls")]
use tokio_postgres::config::SslMode;
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, Error, NoTls, Socket,
    error::SqlState,
    tls::{MakeTlsConnect, TlsStream},
};

pub(super) use self::{
    pool::{Connections, Hub, Hubs, least_busy},
    session::Session,
};
use self::{server_check::Told, session::Driving};
use super::{error::connecting, options::PostgresOptions, statements::Statements};
use crate::{
    StoreError, StoreErrorKind,
    store::{connection::clock::Clock, sql::table::TableName, warning::warn},
};

/// The channel that changes are notified on.
pub(super) const LISTENED: &str = "idempotent_records";

/// How long a statement waits for a lock, in ms. It is an odd number: a session that has it is ours, with all options that
/// were asked for, and not one that a pooler lent.
const LOCK_TIMEOUT: u64 = 997;

/// Everything needed to connect.
pub(super) struct Connector {
    pub(super) config: Config,
    pub(super) options: PostgresOptions,
    pub(super) table: TableName,
    pub(super) statements: Statements,
    /// The server's name in messages.
    pub(super) server_name: Arc<str>,
    pub(super) clock: Clock,
    /// Whether a pooler may be between, which lends a session for one transaction. Once true, it stays true.
    pub(super) is_pooled: AtomicBool,
    /// Whether records may be deleted.
    pub(super) may_delete: AtomicBool,
    pub(super) warnings: Warnings,
    #[cfg(feature = "postgres-tls")]
    pub(super) tls: tokio_postgres_rustls::MakeRustlsConnect,
}

/// What operators were told, once.
#[derive(Default)]
pub(super) struct Warnings {
    forgets: AtomicBool,
    no_deleting: AtomicBool,
    pub(super) pooled: AtomicBool,
}

/// A connection that nobody has asked anything yet, and what drives it.
type Opened = (Client, Driving);

/// Is told what a connection hears.
pub(super) type Heard = Arc<dyn Fn(&str) + Send + Sync>;

impl Connector {
    /// A connection for statements, to a server and a table that are fit.
    async fn session(&self) -> Result<Session, StoreError> {
        self.in_time(async {
            let (mut session, told) = self.dial(None).await?;
            told.check_table(&self.table, &self.server_name)?;
            self.warn_of(&told);
            if !self.is_pooled() {
                let prepared = session.prepare(&self.statements).await;
                prepared.map_err(|error| connecting(error, &self.server_name))?;
            }
            Ok(session)
        })
        .await
    }

    /// A connection for statements, to a server that may have no table yet.
    pub(super) async fn bare_session(&self) -> Result<Session, StoreError> {
        self.in_time(async { Ok(self.dial(None).await?.0) }).await
    }

    /// A connection that listens. What is notified on its channel goes to `heard`.
    pub(super) async fn listener(&self, heard: Heard) -> Result<Session, StoreError> {
        self.in_time(async {
            let (session, _) = self.dial(Some(heard)).await?;
            if self.is_pooled() {
                let reason = format!("{} is behind a pooler", self.server_name);
                return Err(StoreError::new(StoreErrorKind::Config, reason));
            }
            let listening = format!("LISTEN {LISTENED}");
            let listening = session.client().batch_execute(&listening).await;
            listening.map_err(|error| connecting(error, &self.server_name))?;
            Ok(session)
        })
        .await
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.is_pooled.load(Ordering::Acquire)
    }

    /// From now on no statement has a name, and no session is taken for the same as before.
    pub(super) fn turn_pooled(&self) {
        self.is_pooled.store(true, Ordering::Release);
        if !self.warnings.pooled.swap(true, Ordering::Relaxed) {
            let name = &self.server_name;
            warn(&format!(
                "{name} is behind a pooler: statements are sent without names, and waiters poll"
            ));
        }
    }

    async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let patience = self.options.connection_timeout;
        let connected = tokio::time::timeout(patience, connecting).await;
        connected.unwrap_or_else(|_| {
            let server_name = &self.server_name;
            Err(StoreError::new(
                StoreErrorKind::NotSent,
                format!("cannot connect to {server_name}: it did not answer within {patience:?}"),
            ))
        })
    }

    fn warn_of(&self, told: &Told) {
        let (name, table) = (&self.server_name, &self.table);
        if told.forgets && !self.warnings.forgets.swap(true, Ordering::Relaxed) {
            warn(&format!(
                "{name} has synchronous_commit = off: what it acknowledged may be gone after a crash, and bodies run twice"
            ));
        }
        self.may_delete.store(told.may_delete, Ordering::Relaxed);
        if !told.may_delete
            && self.options.sweeps
            && !self.warnings.no_deleting.swap(true, Ordering::Relaxed)
        {
            warn(&format!(
                "{name} does not let this user delete old records: GRANT DELETE ON {table}"
            ));
        }
    }

    /// Connects and asks what the server is. A pooler shows itself by refusing our options, or by dropping them.
    async fn dial(&self, heard: Option<Heard>) -> Result<(Session, Told), StoreError> {
        let opened = self.open(heard).await;
        let (client, driving) = opened.map_err(|error| connecting(error, &self.server_name))?;
        let session = Session::new(client, driving);
        let asked = Instant::now();
        let told = server_check::ask(session.client(), &self.table, &self.server_name).await?;
        self.clock
            .learn(u64::try_from(told.now).unwrap_or(0), asked);
        told.check_server(&self.server_name)?;
        if told.lock_timeout != format!("{}ms", self.lock_timeout()) {
            self.turn_pooled();
        }
        Ok((session, told))
    }

    async fn open(&self, heard: Option<Heard>) -> Result<Opened, Error> {
        if self.is_pooled() {
            return self.open_with(&self.config, heard).await;
        }
        let mut config = self.config.clone();
        let wanted = config.get_options().unwrap_or_default();
        let options = format!(
            "{wanted} -c default_transaction_isolation=read\\ committed -c lock_timeout={} -c plan_cache_mode=force_generic_plan -c enable_seqscan=off",
            self.lock_timeout()
        );
        config.options(options.trim_start());
        match self.open_with(&config, heard.clone()).await {
            Err(error) if error.code().is_some_and(refuses_options) => {
                let opened = self.open_with(&self.config, heard).await?;
                self.turn_pooled();
                Ok(opened)
            }
            opened => opened,
        }
    }

    async fn open_with(&self, config: &Config, heard: Option<Heard>) -> Result<Opened, Error> {
        #[cfg(feature = "postgres-tls")]
        if config.get_ssl_mode() != SslMode::Disable {
            return connect(config, self.tls.clone(), heard).await;
        }
        connect(config, NoTls, heard).await
    }

    fn lock_timeout(&self) -> u64 {
        let half = self.options.response_timeout.as_millis() / 2;
        u64::try_from(half)
            .unwrap_or(LOCK_TIMEOUT)
            .clamp(1, LOCK_TIMEOUT)
    }
}

/// Whether it may be an answer to options in a start-up message: poolers and cloud proxies have no code of their own for it.
fn refuses_options(code: &SqlState) -> bool {
    matches!(code.code(), "08P01" | "0A000" | "42704" | "22023")
}

async fn connect<T>(config: &Config, tls: T, heard: Option<Heard>) -> Result<Opened, Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: TlsStream + Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    Ok((client, Box::pin(drive(connection, heard))))
}

/// Until the connection's end, however it ends.
async fn drive<S: TlsStream + Unpin>(mut connection: Connection<Socket, S>, heard: Option<Heard>) {
    let end = |context: &mut Context<'_>| loop {
        match ready!(connection.poll_message(context)) {
            Some(Ok(AsyncMessage::Notification(message))) => {
                if let Some(heard) = &heard {
                    heard(message.payload());
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(()),
        }
    };
    poll_fn(end).await;
}
