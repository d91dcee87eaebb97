//! Connections to one server, to the primary that sentinels name, or to a cluster.

use std::sync::Arc;

use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, ProtocolVersion, RedisError, Value,
    aio::MultiplexedConnection,
};

use super::{
    check,
    clock::Clock,
    failure::{self, Failure},
    limits::{self, Limits},
    link::{Listen, Live, Watch, Wire},
    options::{RedisOptions, place},
    scripts,
    trial::Trial,
};
use crate::StoreError;

/// Where the records are.
pub(super) enum Target {
    One(ConnectionInfo),
    #[cfg(feature = "redis-sentinel")]
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        master: String,
    },
    #[cfg(feature = "redis-cluster")]
    Cluster(Vec<ConnectionInfo>),
}

impl Target {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::One(info) => format!(
                "Redis at {} (database {})",
                place(info),
                info.redis_settings().db()
            ),
            #[cfg(feature = "redis-sentinel")]
            Self::Sentinel { sentinels, master } => {
                format!(
                    "Redis primary `{master}` by Sentinel at {}",
                    places(sentinels)
                )
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(nodes) => format!("Redis Cluster at {}", places(nodes)),
        }
    }

    /// How a change is told: within one shard, where there are shards.
    pub(super) const fn publish(&self) -> &'static [u8] {
        match self {
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => b"SPUBLISH",
            _ => b"PUBLISH",
        }
    }
}

#[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
fn places(all: &[ConnectionInfo]) -> String {
    all.iter().map(place).collect::<Vec<_>>().join(", ")
}

/// What it takes to connect.
pub(super) struct Connector {
    pub(super) target: Target,
    pub(super) options: RedisOptions,
    /// The target, for people.
    pub(super) place: Arc<str>,
    pub(super) limits: Limits,
}

/// Commands that may wait for the connection to write them.
const QUEUE: usize = 1_024;

impl Connector {
    /// A connection for commands: the server is checked, its time learned, and the scripts are brought along.
    pub(super) async fn commands(&self, clock: &Clock) -> Result<Live, StoreError> {
        let live = self.dial(None).await?;
        match &live.wire {
            Wire::One(connection) => self.prepare(connection.clone(), clock).await?,
            #[cfg(feature = "redis-cluster")]
            Wire::Cluster(connection) => {
                super::cluster::prepare(connection.clone(), self, clock).await?;
            }
        }
        Ok(live)
    }

    /// A connection for one command that may cost it.
    pub(super) async fn apart(&self) -> Result<Live, StoreError> {
        self.dial(None).await
    }

    /// A connection that listens.
    pub(super) async fn subscriber(&self, listener: Box<dyn Listen>) -> Result<Live, StoreError> {
        self.dial(Some(listener)).await
    }

    async fn dial(&self, listener: Option<Box<dyn Listen>>) -> Result<Live, StoreError> {
        #[cfg(feature = "redis-tls")]
        choose_cryptography();
        match &self.target {
            Target::One(info) => self.dial_one(info, listener).await,
            #[cfg(feature = "redis-sentinel")]
            Target::Sentinel { sentinels, master } => {
                let primary = super::sentinel::find(sentinels, master, &self.options).await;
                let primary = primary.map_err(|error| failure::connecting(error, &self.place))?;
                self.dial_one(&primary, listener).await
            }
            #[cfg(feature = "redis-cluster")]
            Target::Cluster(nodes) => super::cluster::dial(nodes, self, listener).await,
        }
    }

    async fn dial_one(
        &self,
        info: &ConnectionInfo,
        listener: Option<Box<dyn Listen>>,
    ) -> Result<Live, StoreError> {
        let listens = listener.is_some();
        let (watch, watched) = Watch::new(listener);
        let config = self.config().set_push_sender(move |push| {
            watch.push(push, true);
            Ok::<(), redis::aio::SendError>(())
        });
        match open(info.clone(), config).await {
            Ok(connection) => Ok(Live::new(Wire::One(connection), &watched)),
            // Before version 6, or a proxy: good enough to be asked for its version, and to send commands.
            Err(error) if error.kind() == ErrorKind::RESP3NotSupported && !listens => {
                let (_, unwatched) = Watch::new(None);
                unwatched.revive();
                let redis = info
                    .redis_settings()
                    .clone()
                    .set_protocol(ProtocolVersion::RESP2);
                let connection = open(info.clone().set_redis_settings(redis), self.config()).await;
                let connection =
                    connection.map_err(|error| failure::connecting(error, &self.place))?;
                Ok(Live::new(Wire::One(connection), &unwatched))
            }
            Err(error) => Err(failure::connecting(error, &self.place)),
        }
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connection_timeout))
            .set_response_timeout(Some(self.options.response_timeout))
            // The library's 50 make most of some hundred tasks queue twice, and be polled once more for it.
            .set_pipeline_buffer_size(QUEUE)
    }

    /// One round trip, or two where scripts cannot be loaded: what the server is, what time it has, the scripts, and
    /// whether all that a call needs is there.
    async fn prepare(
        &self,
        mut connection: MultiplexedConnection,
        clock: &Clock,
    ) -> Result<(), StoreError> {
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
        let trial = Trial::new(self.target.publish(), None);
        trial.ask(&mut questions);
        let loads = scripts::all().len();
        let answers = connection
            .send_packed_commands(&questions, 0, 4 + loads + trial.len())
            .await
            .map_err(|error| failure::connecting(error, &self.place))?;
        let tried = answers[answers.len().min(4 + loads)..].to_vec();
        let mut answers = answers.into_iter();
        let server = answers.next().and_then(check::info);
        let memory = answers.next().and_then(check::info);
        check::check(
            server.as_deref(),
            memory.as_deref(),
            self.options.allow_eviction,
        )?;
        trial.judge(&tried, &self.place)?;
        if let Some(trial) = trial.again(&tried) {
            let mut questions = redis::pipe();
            trial.ask(&mut questions);
            let tried = connection
                .send_packed_commands(&questions, 0, trial.len())
                .await
                .map_err(|error| failure::connecting(error, &self.place))?;
            trial.judge(&tried, &self.place)?;
        }
        // A user who may not load scripts brings each along with its first use.
        let time = answers.next().unwrap_or(Value::Nil);
        let told = answers.next().and_then(|answer| limits::told(&answer));
        self.limits.learn(told);
        self.learn(time, clock)
    }

    /// Takes over what `TIME` answered.
    pub(super) fn learn(&self, answer: Value, clock: &Clock) -> Result<(), StoreError> {
        if let Value::ServerError(error) = answer {
            return Err(Failure::from(error).explain("TIME", &self.place));
        }
        let (seconds, micros): (u64, u64) =
            redis::from_redis_value(answer).map_err(|_| scripts::unexpected())?;
        clock.learn(seconds * 1_000_000 + micros);
        Ok(())
    }
}

async fn open(
    info: ConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, RedisError> {
    Client::open(info)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// rustls asks for one implementation of its cryptography a process. Where the program has chosen none, it is ring's.
#[cfg(feature = "redis-tls")]
fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have chosen in between.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
