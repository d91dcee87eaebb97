//! Records in Redis or Valkey: for several processes, and for restarts.
//!
//! A key's record is one string value under `idempotent:` and the key's text, so an operator finds it by its scope:
//! `redis-cli --scan --pattern 'idempotent:payments.charge|*'`.

mod calls;
mod check;
mod claim;
mod clock;
#[cfg(feature = "redis-cluster")]
mod cluster;
mod connect;
mod failure;
mod hub;
mod link;
mod options;
mod scripts;
#[cfg(feature = "redis-sentinel")]
mod sentinel;
mod subscriber;

use std::{fmt, sync::Arc, time::Duration};

use self::{
    clock::Clock,
    connect::{Connector, Target},
    hub::{Hub, Hubs},
    scripts::Argument,
    subscriber::Subscriber,
};
use crate::{
    StoreError,
    key::Key,
    record::{Record, State},
    store::{ClaimReply, ClaimRequest, Settled, Store, Subscription},
};

pub use options::RedisOptions;

/// Keeps records in Redis (7.0 or later) or Valkey. Feature `redis`.
///
/// Cloning is cheap, and clones are one store. Nothing is sent before the first use; then each tokio runtime that uses
/// the store has one connection of its own for commands, which all of its tasks share, and one for wake-ups once
/// somebody waits.
///
/// ```no_run
/// # async fn example() -> Result<(), idempotent_runtime::StoreError> {
/// use idempotent_runtime::store::redis::RedisStore;
///
/// let store = RedisStore::connect("redis://user:password@cache.internal:6379/2").await?;
/// # Ok(()) }
/// ```
///
/// # Cost
/// A first call sends two commands, a replay one: `SET … NX GET PX`. What a record's state and age decide is decided in
/// scripts, by the server's clock.
///
/// # What the server must be
/// It is asked at every connect. A version before 7.0, and a `maxmemory-policy` that evicts, are
/// [`Config`](crate::StoreErrorKind::Config) errors (for the latter see [`RedisOptions::allow_eviction`]). Redis
/// forgets acknowledged writes when it restarts without AOF or fails over: set `appendonly yes`, and
/// `min-replicas-to-write` where there are replicas. A server that takes no data at the moment (`OOM`, `NOREPLICAS`,
/// `MISCONF`) still replays; new keys are [`Refused`](crate::StoreErrorKind::Refused).
///
/// # Rights
/// An ACL user needs no more than
///
/// ```text
/// ~idempotent:* &idempotent:* -@all +set +get +pttl +pexpire +time +evalsha +eval +publish +subscribe +unsubscribe
/// ```
///
/// with `+spublish +ssubscribe +sunsubscribe +cluster|slots +asking` instead of the last three in a cluster.
/// `+info` lets the store look at version and eviction policy, `+script|load` saves the first use of each script a
/// round trip; without `+publish` or `+subscribe` waiters poll.
///
/// # Late and lost answers
/// No command is repeated behind the caller's back. One whose answer is late or lost is
/// [`Ambiguous`](crate::StoreErrorKind::Ambiguous): sent again with the same nonce, it changes nothing twice.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Arc<Connector>,
    clock: Clock,
    hubs: Hubs,
}

impl RedisStore {
    /// A store at `url`, with the default [`RedisOptions`]; it connects when it is first used.
    ///
    /// URLs are `redis://user:password@host:port/database`, `rediss://…` with TLS (feature `redis-tls`), and
    /// `redis+unix:///path?user=…&pass=…&db=…`; all but host or path may be left out, and `valkey` may stand for
    /// `redis`.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when the URL cannot be read.
    pub fn new(url: &str) -> Result<Self, StoreError> {
        RedisOptions::new().open(url)
    }

    /// As [`new`](Self::new), and checks at once that the server is there and is fit.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`check`](Self::check).
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::new(url)?;
        store.check().await?;
        Ok(store)
    }

    /// A store on a Redis Cluster, of which `urls` name some nodes. Feature `redis-cluster`.
    ///
    /// User, password and TLS are the first URL's. Each record and its wake-ups stay within one slot.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when a URL cannot be read, or they contradict one another.
    #[cfg(feature = "redis-cluster")]
    pub fn cluster<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, StoreError> {
        RedisOptions::new().open_cluster(urls)
    }

    /// A store on the primary called `master`, which the sentinels at `urls` know. Feature `redis-sentinel`.
    ///
    /// The sentinels are asked at every connect, and after a failover. User, password, database and TLS in the first
    /// URL are for the Redis server; see [`RedisOptions::sentinel_login`] for those of the sentinels.
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

    /// Connects, if nothing has yet, and looks at what the server is.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when the server is too old or evicts records,
    /// [`NotSent`](crate::StoreErrorKind::NotSent) when it cannot be reached,
    /// [`Refused`](crate::StoreErrorKind::Refused) when it does not let this user in.
    pub async fn check(&self) -> Result<(), StoreError> {
        let hub = self.hub()?;
        self.time(&hub).await.map(drop)
    }

    fn assemble(target: Target, options: RedisOptions) -> Self {
        let place = target.describe().into();
        let connector = Arc::new(Connector {
            target,
            options,
            place,
        });
        Self {
            inner: Arc::new(Inner {
                connector,
                clock: Clock::new(),
                hubs: Hubs::default(),
            }),
        }
    }

    fn hub(&self) -> Result<Arc<Hub>, StoreError> {
        self.inner.hubs.here()
    }

    fn place(&self) -> &str {
        &self.inner.connector.place
    }
}

impl Store for RedisStore {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        claim::claim(self, key, request).await
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        let running = Record {
            state: State::Running,
            outcome: None,
            ..owned.clone()
        }
        .encode();
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
        // Its end by the server's time, where that is known; else the script sets it, and tells the time.
        let now = self.inner.clock.fresh();
        let bytes = scripts::ending(target, now).encode();
        let granted = scripts::granted(target).encode();
        let arguments = [
            Argument::Bytes(&bytes),
            Argument::Millis(scripts::kept(target)),
            Argument::Bytes(self.inner.connector.target.publish()),
            Argument::Bytes(&granted),
            Argument::Number(1),
        ];
        let arguments = &arguments[..arguments.len() - usize::from(now.is_some())];
        self.run(&self.hub()?, &scripts::FINISH, key, arguments, "a finish")
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
        let seen = seen.map(scripts::seen);
        let bytes = replacement.encode();
        let arguments = [
            Argument::Bytes(seen.as_ref().map_or(&[][..], |seen| seen)),
            Argument::Bytes(&bytes),
            Argument::Millis(scripts::kept(replacement)),
            Argument::Bytes(self.inner.connector.target.publish()),
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
        self.place().to_owned()
    }
}

/// Shows where the store is, without user and password.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisStore").field(&self.describe()).finish()
    }
}
