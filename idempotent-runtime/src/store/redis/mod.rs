//! Records in Redis or Valkey: for several processes, and for restarts.
//!
//! A key's record is one string value under `idempotent:` and the key's text, so an operator finds
//! it by its scope: `redis-cli --scan --pattern 'idempotent:payments.charge|*'`.

mod claim;
mod commands;
mod connection;
mod error;
mod large;
mod list;
mod notify;
mod options;
mod scripts;

use std::{fmt, sync::Arc, time::Duration};

use self::{
    connection::{
        Connector,
        limits::Limits,
        per_runtime::{Connections, Hub, Hubs},
        target::Target,
        url::{self, Named},
    },
    notify::Subscriber,
    scripts::Argument,
};
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

pub use connection::RedisCredentials;
pub(crate) use connection::is_scheme;
pub use options::RedisOptions;

/// Keeps records in Redis (7.0 or later) or Valkey. Feature `redis`.
///
/// Cloning is cheap, and clones are one store. Nothing is sent before the first use. Each Tokio
/// runtime that uses the store has one connection for commands, shared by all its tasks, and one
/// for wake-ups once a call waits. In a cluster it has one of each to every node. Connections are
/// made in tasks of that runtime, so a call that nobody polls blocks no other.
///
/// ```no_run
/// # async fn example() -> Result<(), idempotent_fn::StoreError> {
/// use idempotent_fn::store::RedisStore;
///
/// let store = RedisStore::connect("redis://user:password@cache.internal:6379/2").await?;
/// # Ok(()) }
/// ```
///
/// # Cost
/// A first call sends two commands, a replay one: `SET … NX GET PX`. Scripts decide by a record's
/// state and age, on the server's clock.
///
/// # What the server must be
/// The server is checked at every connect. A version before 7.0, and a `maxmemory-policy` that
/// evicts, are [`Config`](crate::StoreErrorKind::Config) errors (for the latter see
/// [`RedisOptions::with_allow_eviction`]). Redis forgets acknowledged writes when it restarts
/// without AOF or fails over: set `appendonly yes`, and `min-replicas-to-write` if there are
/// replicas. A server that takes no data at the moment (`OOM`, `NOREPLICAS`, `MISCONF`) still
/// replays; new keys are [`Refused`](crate::StoreErrorKind::Refused).
///
/// Each connect also tries all that a call needs, on a key of its own under `idempotent:` that is
/// deleted at once. A command that the ACL user may not use, or that `rename-command` removed, is a
/// [`Config`](crate::StoreErrorKind::Config) error that names it, before any body has run. In a
/// cluster each primary is tried.
///
/// # Rights
/// An ACL user needs only
///
/// ```text
/// ~idempotent:* &idempotent:* -@all +set +get +pttl +pexpire +time +evalsha +eval +publish +subscribe +unsubscribe
/// ```
///
/// with `+spublish +ssubscribe +sunsubscribe +cluster|slots +asking` instead of the last three in a
/// cluster. `+info` lets the store look at version and eviction policy, `+script|load` saves the
/// first use of each script a round trip; `+config|get` tells it the largest value that the server
/// takes (see below); without `+publish` or `+subscribe` waiters poll. With Sentinel, `+role` lets
/// it check that the server is a primary. [`Store::list`] needs `+scan`.
///
/// # Large results
/// What the server would not take (`proto-max-bulk-len`, and the limits on a client's memory:
/// `maxmemory-clients`, `client-query-buffer-limit`, `client-output-buffer-limit`) is not sent: it
/// is [`TooLarge`](crate::StoreErrorKind::TooLarge), where the whole record counts. If the server
/// does not tell its limits, values above 512 KiB have a connection of their own, and a value that
/// is refused, or makes the server hang up twice, is `TooLarge`.
///
/// # Late and lost answers
/// The store does not repeat commands on its own. One whose answer is late or lost is
/// [`Ambiguous`](crate::StoreErrorKind::Ambiguous): sent again with the same nonce, it changes
/// nothing twice. The connection is then replaced, and also if it was silent while a caller gave
/// up. A command that no connection took is [`NotSent`](crate::StoreErrorKind::NotSent), and a
/// server's answer is definite: `LOADING`, `BUSY`, `MASTERDOWN`, `CLUSTERDOWN` and `TRYAGAIN` are
/// [`Refused`](crate::StoreErrorKind::Refused), and [transient](crate::StoreError::is_transient).
#[cfg(feature = "redis")]
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Arc<Connector>,
    clock: Arc<Clock>,
    hubs: Hubs,
}

impl RedisStore {
    /// A store at `url`, with the default [`RedisOptions`]. It connects at its first use.
    ///
    /// | URL | names |
    /// |---|---|
    /// | `redis://user:password@host:port/database` | one server |
    /// | `redis+unix:///path?user=…&pass=…&db=…` | one server, by its socket |
    /// | `redis+cluster://user:password@host1:port,host2,host3/` | a cluster by some of its nodes (feature `redis-cluster`) |
    /// | `redis+sentinel://user:password@host1:port,host2/primary?db=0&sentinel_user=…&sentinel_password=…` | the primary that these sentinels know by this name (feature `redis-sentinel`) |
    ///
    /// `rediss`, `rediss+cluster` and `rediss+sentinel` are the same by TLS (feature `redis-tls`).
    /// `valkey` may stand for `redis`, and `valkeys` for `rediss`. All but hosts, path and the
    /// primary's name may be left out. The default port is 6379, and 26379 for sentinels. User and
    /// password before the `@` are for the servers with the records. Write `%40` for `@`, `%3A` for
    /// `:`, `%2F` for `/` and `%25` for `%` in them.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when the URL cannot be read, or needs a feature
    /// that is off. The text says what to write, and shows nothing of the URL.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        RedisOptions::new().open(url)
    }

    /// As [`new`](Self::new), and checks at once that the server is reachable and fit.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`check`](Self::check).
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::new(url)?;
        store.check().await?;
        Ok(store)
    }

    /// A store on a Redis Cluster; `urls` name some of its nodes. Feature `redis-cluster`.
    ///
    /// User, password and TLS come from the first URL. Each record and its wake-ups stay within one
    /// slot.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when a URL cannot be read, or they contradict one
    /// another.
    #[cfg(feature = "redis-cluster")]
    pub fn cluster<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, StoreError> {
        RedisOptions::new().open_cluster(urls)
    }

    /// A store on the primary called `master`, which the sentinels at `urls` know. Feature
    /// `redis-sentinel`.
    ///
    /// The sentinels are asked at every connect, and after a failover. User, password, database and
    /// TLS in the first URL are for the Redis server; see [`RedisOptions::with_sentinel_login`] for
    /// those of the sentinels.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when a URL cannot be read.
    #[cfg(feature = "redis-sentinel")]
    pub fn sentinel<U: AsRef<str>>(
        urls: impl IntoIterator<Item = U>,
        master: &str,
    ) -> Result<Self, StoreError> {
        RedisOptions::new().open_sentinel(urls, master)
    }

    /// Connects, if not connected yet, and checks the server.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when the server is too old or evicts records,
    /// [`NotSent`](crate::StoreErrorKind::NotSent) when it cannot be reached,
    /// [`Refused`](crate::StoreErrorKind::Refused) when it does not let this user in.
    pub async fn check(&self) -> Result<(), StoreError> {
        let hub = self.hub()?;
        self.connected(&hub).await
    }

    /// The default store of the feature `redis` if nobody chose one. Its errors say so.
    pub(crate) fn by_default(url: &str) -> Result<Self, StoreError> {
        let Named { target, .. } = url::parse(url)?;
        let server_name = target.describe();
        let server_name = format!(
            "{server_name} (nobody chose a store; the feature `redis` made it {url}: set IDEMPOTENT_STORE, or call `install`)"
        );
        Self::assemble_at(server_name, target, RedisOptions::new())
    }

    fn assemble(target: Target, options: RedisOptions) -> Result<Self, StoreError> {
        Self::assemble_at(target.describe(), target, options)
    }

    #[cfg_attr(
        not(feature = "redis-tls"),
        expect(clippy::unnecessary_wraps, reason = "only TLS can be set up wrongly")
    )]
    fn assemble_at(
        server_name: String,
        target: Target,
        options: RedisOptions,
    ) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector {
            server_name: server_name.into(),
            #[cfg(feature = "redis-tls")]
            tls: target
                .has_tls()
                .then(|| options.tls.connector())
                .transpose()?,
            target,
            options,
            limits: Limits::default(),
        });
        Ok(Self {
            inner: Arc::new(Inner {
                connector,
                clock: Arc::new(Clock::new()),
                hubs: Hubs::default(),
            }),
        })
    }

    fn hub(&self) -> Result<Arc<Hub>, StoreError> {
        self.inner.hubs.here(Connections::default)
    }

    fn server_name(&self) -> &str {
        &self.inner.connector.server_name
    }
}

impl Store for RedisStore {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        claim::claim(self, key, request).await
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        let running = protocol::granted(owned).encode();
        let arguments = [Argument::Bytes(&running)];
        self.run(
            &self.hub()?,
            &scripts::RENEW,
            key,
            &arguments,
            "a heartbeat",
        )
        .await?
        .settled()
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        let hub = self.hub()?;
        let shown = protocol::retention(target.state, target.ttl);
        // Computes the end here if the server's time is known; otherwise the script sets it, and
        // returns the time. A short retention must count from the write, however late the message
        // arrives, so the script sets it too.
        let now = self
            .fresh_time(&hub, key)
            .filter(|_| shown >= scripts::LONG_RETENTION);
        let granted = protocol::granted(target).encode();
        let target = target.clone();
        let write = match now {
            Some(now) => Write::new(target, now),
            None => Write::undated(target),
        };
        let bytes = write.bytes();
        let arguments = [
            Argument::Bytes(&bytes),
            Argument::Millis(write.keep),
            Argument::Bytes(self.inner.connector.target.publish()),
            Argument::Bytes(&granted),
            Argument::Millis(shown),
        ];
        let arguments = &arguments[..arguments.len() - usize::from(now.is_some())];
        self.run(&hub, &scripts::FINISH, key, arguments, "a finish")
            .await?
            .settled()
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.look(&self.hub()?, key).await
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let seen = seen.map(scripts::seen_argument);
        let write = scripts::undated_replacement(replacement);
        let bytes = write.bytes();
        let arguments = [
            Argument::Bytes(seen.as_ref().map_or(&[][..], |seen| seen)),
            Argument::Bytes(&bytes),
            Argument::Millis(write.keep),
            Argument::Bytes(self.inner.connector.target.publish()),
            Argument::Millis(write.shown()),
        ];
        self.run(
            &self.hub()?,
            &scripts::OVERRULE,
            key,
            &arguments,
            "a decision",
        )
        .await?
        .settled()
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        list::list(self, filter, cursor).await
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        Ok(Subscriber::subscribe(&self.hub()?, &self.inner.connector, key).await)
    }

    fn clock(&self) -> Option<u64> {
        self.inner.clock.now()
    }

    fn needs_io(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        self.server_name().to_owned()
    }
}

/// Shows the store's address, without user and password.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisStore").field(&self.describe()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_errors_of_a_store_that_nobody_chose_say_so() {
        let store = RedisStore::by_default("redis://127.0.0.1:1").expect("a valid URL");
        let error = store.check().await.expect_err("nobody is there");
        for part in [
            "Redis at 127.0.0.1:1",
            "nobody chose a store; the feature `redis` made it redis://127.0.0.1:1",
            "IDEMPOTENT_STORE",
            "`install`",
        ] {
            assert!(error.to_string().contains(part), "{error}");
        }
        let chosen = RedisStore::new("redis://127.0.0.1:1").expect("a valid URL");
        let error = chosen.check().await.expect_err("nobody is there");
        assert!(!error.to_string().contains("chose"), "{error}");
    }
}
