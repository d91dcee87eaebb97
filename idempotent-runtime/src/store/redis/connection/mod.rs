//! Connections to one server, to the primary that sentinels name, or to a cluster's nodes.

#[cfg(feature = "redis-cluster")]
pub(super) mod cluster;
mod command_check;
pub(super) mod credentials;
pub(super) mod limits;
pub(super) mod liveness;
pub(super) mod per_runtime;
#[cfg(feature = "redis-cluster")]
pub(super) mod route;
#[cfg(feature = "redis-sentinel")]
mod sentinel;
mod server_check;
#[cfg(feature = "redis-cluster")]
pub(super) mod slot_map;
pub(super) mod target;
pub(super) mod transport;
pub(super) mod url;

use std::{sync::Arc, time::Instant};

use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, Value,
    aio::MultiplexedConnection,
};

use self::{
    command_check::Trial,
    limits::{Limits, ServerLimits},
    liveness::{Connection, Liveness, PushListener},
    target::{Server, Target},
    transport::{Address, Transport},
};
use super::{
    error::{self, Failure, server_text},
    options::RedisOptions,
    scripts,
};
use crate::{StoreError, StoreErrorKind, store::connection::clock::Clock};

pub use credentials::RedisCredentials;
pub(crate) use url::is_scheme;

/// Everything needed to connect.
pub(super) struct Connector {
    pub(super) target: Target,
    pub(super) options: RedisOptions,
    /// The target's name in messages.
    pub(super) server_name: Arc<str>,
    pub(super) limits: Limits,
    #[cfg(feature = "redis-tls")]
    pub(super) tls: Option<tokio_rustls::TlsConnector>,
}

/// The queue of commands to be written: larger than there ever are. A caller that waited for a slot
/// in the queue would own the slot when it frees, even if nobody polls that caller.
const QUEUE: usize = 1 << 24;

impl Connector {
    /// A connection for commands. It checks the server, learns its time and loads the scripts.
    pub(super) async fn commands(
        self: &Arc<Self>,
        clock: &Clock,
    ) -> Result<Connection, StoreError> {
        let connection = self.dial(None, None).await?;
        let trial = Trial::new(self.target.publish(), None);
        let told = self
            .prepare(connection.multiplexed.clone(), Some(trial), clock)
            .await?;
        connection.set_limits(told);
        Ok(connection)
    }

    /// As [`commands`](Self::commands), to a node of the cluster. `tag` places a key in one of its
    /// slots; without slots there is nothing to try.
    #[cfg(feature = "redis-cluster")]
    pub(super) async fn node(
        self: &Arc<Self>,
        node: &Address,
        tag: Option<u32>,
        clock: &Clock,
    ) -> Result<Connection, StoreError> {
        let connection = self.dial(Some(node), None).await?;
        let trial = tag.map(|tag| Trial::new(self.target.publish(), Some(tag)));
        connection.set_limits(
            self.prepare(connection.multiplexed.clone(), trial, clock)
                .await?,
        );
        Ok(connection)
    }

    /// A connection to a node for questions only.
    #[cfg(feature = "redis-cluster")]
    pub(super) async fn visit(self: &Arc<Self>, node: &Address) -> Result<Connection, StoreError> {
        self.dial(Some(node), None).await
    }

    /// A connection for one command that may close it.
    pub(super) async fn apart(self: &Arc<Self>) -> Result<Connection, StoreError> {
        self.dial(None, None).await
    }

    /// A connection that listens.
    pub(super) async fn subscriber(
        self: &Arc<Self>,
        node: Option<&Address>,
        listener: Box<dyn PushListener>,
    ) -> Result<Connection, StoreError> {
        self.dial(node, Some(listener)).await
    }

    /// Connects to the target, or to the one of its nodes that is named.
    async fn dial(
        self: &Arc<Self>,
        node: Option<&Address>,
        listener: Option<Box<dyn PushListener>>,
    ) -> Result<Connection, StoreError> {
        let _ = node;
        match &self.target {
            Target::One(server) => self.dial_one(server, listener).await,
            #[cfg(feature = "redis-sentinel")]
            Target::Sentinel { sentinels, master } => {
                let primary = sentinel::find(self, sentinels, master).await?;
                self.dial_one(&primary, listener).await
            }
            #[cfg(feature = "redis-cluster")]
            Target::Cluster(seeds) => {
                let seed = seeds.first().ok_or_else(target::no_server_named)?.clone();
                let address = node.cloned().unwrap_or_else(|| seed.address.clone());
                self.dial_one(&Server { address, ..seed }, listener).await
            }
        }
    }

    pub(super) async fn dial_one(
        &self,
        server: &Server,
        listener: Option<Box<dyn PushListener>>,
    ) -> Result<Connection, StoreError> {
        self.in_time(self.log_in(server, listener)).await
    }

    /// A connection to a sentinel, whose login is its own.
    #[cfg(feature = "redis-sentinel")]
    pub(super) async fn dial_sentinel(&self, server: &Server) -> Result<Connection, StoreError> {
        let liveness = Arc::new(Liveness::new(None));
        let opening = async {
            let login = server.login.as_ref();
            let opened = self
                .open(server, login, &liveness, ProtocolVersion::RESP2)
                .await;
            match opened {
                Ok(connection) => Ok(connection),
                Err(error) => Err(self.not_opened(server, error).await),
            }
        };
        self.in_time(opening).await
    }

    /// The error for a connection that could not be opened.
    async fn not_opened(&self, server: &Server, error: RedisError) -> StoreError {
        let may_be_full = error.is_connection_dropped() && !server.tls;
        if may_be_full && Transport::is_told_of_no_room(&server.address).await {
            return server_text::too_many_clients(&self.server_name);
        }
        error::connecting(error, &self.server_name)
    }

    async fn in_time(
        &self,
        dialing: impl Future<Output = Result<Connection, StoreError>>,
    ) -> Result<Connection, StoreError> {
        let patience = self.options.connection_timeout;
        let dialed = tokio::time::timeout(patience, dialing).await;
        dialed.unwrap_or_else(|_| {
            let server_name = &self.server_name;
            Err(StoreError::new(
                StoreErrorKind::NotSent,
                format!("cannot connect to {server_name}: it did not answer within {patience:?}"),
            ))
        })
    }

    async fn log_in(
        &self,
        server: &Server,
        listener: Option<Box<dyn PushListener>>,
    ) -> Result<Connection, StoreError> {
        let login = match &self.options.credentials {
            Some(provider) => Some(self.ask(provider).await?),
            None => server.login.clone(),
        };
        let listens = listener.is_some();
        let liveness = Arc::new(Liveness::new(listener));
        let opened = match self
            .open(server, login.as_ref(), &liveness, ProtocolVersion::RESP3)
            .await
        {
            // An old server or a proxy without RESP3: good enough to ask for its version, and to
            // send commands.
            Err(error) if error.kind() == ErrorKind::RESP3NotSupported && !listens => {
                self.open(server, login.as_ref(), &liveness, ProtocolVersion::RESP2)
                    .await
            }
            result => result,
        };
        let connection = match opened {
            Ok(connection) => connection,
            Err(error) => return Err(self.not_opened(server, error).await),
        };
        self.select(server, &connection).await?;
        Ok(connection)
    }

    /// Selects the database. redis-rs could do so while connecting, but then a definite answer of
    /// the server's looks like a transient error.
    async fn select(&self, server: &Server, connection: &Connection) -> Result<(), StoreError> {
        if server.database == 0 {
            return Ok(());
        }
        let mut command = redis::cmd("SELECT");
        command.arg(server.database);
        match connection.send(&command).await {
            Ok(_) => Ok(()),
            Err(Failure::Refused(error)) => Err(server_text::select(
                &error,
                server.database,
                &self.server_name,
            )),
            Err(Failure::NotSent(error)) => Err(error),
            // No call's command has been sent.
            Err(Failure::Unanswered(error)) => Err(error::connecting(error, &self.server_name)),
        }
    }

    async fn ask(&self, provider: &credentials::Provider) -> Result<RedisCredentials, StoreError> {
        provider.ask().await.map_err(|source| {
            let server_name = &self.server_name;
            // The application's text is shown only as the source.
            StoreError::new(
                StoreErrorKind::NotSent,
                format!("cannot connect to {server_name}: the `credentials` callback failed"),
            )
            .with_source(Callback(source))
        })
    }

    async fn open(
        &self,
        server: &Server,
        login: Option<&RedisCredentials>,
        liveness: &Arc<Liveness>,
        protocol: ProtocolVersion,
    ) -> Result<Connection, RedisError> {
        let transport = Transport::connect(
            &server.address,
            #[cfg(feature = "redis-tls")]
            self.tls.as_ref().filter(|_| server.tls),
            self.options.response_timeout,
        )
        .await?;
        let activity = transport.activity();
        let mut settings = RedisConnectionInfo::default().set_protocol(protocol);
        if let Some(login) = login {
            settings = login.apply(settings);
        }
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.options.response_timeout))
            .set_pipeline_buffer_size(QUEUE);
        if protocol == ProtocolVersion::RESP3 {
            let liveness = liveness.clone();
            config = config.set_push_sender(move |push| {
                liveness.push(push);
                Ok::<(), redis::aio::SendError>(())
            });
        }
        let (connection, driving) =
            MultiplexedConnection::new_with_config(&settings, transport, config).await?;
        let timeout = self.options.response_timeout;
        Ok(Connection::new(
            connection,
            driving,
            liveness.clone(),
            activity,
            timeout,
        ))
    }

    /// Prepares a connection in one round trip, or in two if scripts cannot be loaded: version and
    /// settings, time, scripts, and a trial of all that a call needs.
    async fn prepare(
        &self,
        mut connection: MultiplexedConnection,
        trial: Option<Trial>,
        clock: &Clock,
    ) -> Result<ServerLimits, StoreError> {
        let mut questions = redis::pipe();
        questions
            .cmd("INFO")
            .arg("server")
            .cmd("INFO")
            .arg("memory")
            .cmd("TIME")
            .add_command(Limits::question());
        for script in scripts::all() {
            questions.cmd("SCRIPT").arg("LOAD").arg(&script.code);
        }
        let loads = scripts::all().len();
        let tries = trial.as_ref().map_or(0, |trial| {
            trial.ask(&mut questions);
            trial.len()
        });
        let asked = Instant::now();
        let answers = connection
            .send_packed_commands(&questions, 0, 4 + loads + tries)
            .await
            .map_err(|error| error::connecting(error, &self.server_name))?;
        let tried = answers[answers.len().min(4 + loads)..].to_vec();
        let mut answers = answers.into_iter();
        let server = answers.next().and_then(server_check::info);
        let memory = answers.next().and_then(server_check::info);
        server_check::check(
            server.as_deref(),
            memory.as_deref(),
            self.options.allow_eviction,
        )?;
        if let Some(trial) = &trial {
            trial.judge(&tried, &self.server_name)?;
        }
        if let Some(trial) = trial.and_then(|trial| trial.with_script_texts(&tried)) {
            let mut questions = redis::pipe();
            trial.ask(&mut questions);
            let tried = connection
                .send_packed_commands(&questions, 0, trial.len())
                .await
                .map_err(|error| error::connecting(error, &self.server_name))?;
            trial.judge(&tried, &self.server_name)?;
        }
        // A user who may not load scripts sends each text at its first use.
        self.learn(answers.next().unwrap_or(Value::Nil), clock, asked)?;
        Ok(answers
            .next()
            .map(|answer| limits::parse(&answer))
            .unwrap_or_default())
    }

    /// Learns the time from an answer to `TIME`.
    pub(super) fn learn(
        &self,
        answer: Value,
        clock: &Clock,
        asked: Instant,
    ) -> Result<(), StoreError> {
        if let Value::ServerError(error) = answer {
            return Err(Failure::from(error).explain("TIME", &self.server_name));
        }
        let (seconds, micros): (u64, u64) =
            redis::from_redis_value(answer).map_err(|_| scripts::unexpected())?;
        clock.learn(seconds * 1_000_000 + micros, asked);
        Ok(())
    }
}

/// The error of the application's callback.
#[derive(Debug)]
struct Callback(Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Callback {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
