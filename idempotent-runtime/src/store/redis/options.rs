//! Options of a Redis store: how it reaches its server.

use std::{error::Error, fmt, future::Future, time::Duration};

#[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
use super::connection::target::Target;
use super::{
    RedisStore,
    connection::{
        credentials::{Provider, RedisCredentials},
        url,
    },
};
use crate::StoreError;
#[cfg(feature = "redis-tls")]
use crate::store::connection::tls::Certificates;

/// Options for a [`RedisStore`] whose defaults do not fit.
///
/// ```no_run
/// # fn main() -> Result<(), idempotent_fn::StoreError> {
/// use std::time::Duration;
/// use idempotent_fn::store::RedisOptions;
///
/// let store = RedisOptions::new().with_response_timeout(Duration::from_secs(5)).open("redis://cache.internal/2")?;
/// # Ok(()) }
/// ```
#[cfg(feature = "redis")]
#[derive(Clone)]
#[must_use]
pub struct RedisOptions {
    pub(super) response_timeout: Duration,
    pub(super) connection_timeout: Duration,
    pub(super) allow_eviction: bool,
    pub(super) credentials: Option<Provider>,
    #[cfg_attr(
        not(feature = "redis-sentinel"),
        allow(dead_code, reason = "who has no sentinels logs in to none")
    )]
    pub(super) sentinel_login: Option<RedisCredentials>,
    #[cfg(feature = "redis-tls")]
    pub(super) tls: Certificates,
}

impl RedisOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            response_timeout: Duration::from_secs(2),
            connection_timeout: Duration::from_secs(2),
            allow_eviction: false,
            credentials: None,
            sentinel_login: None,
            #[cfg(feature = "redis-tls")]
            tls: Certificates::default(),
        }
    }

    /// How long an answer may take: 2 seconds by default.
    ///
    /// A longer wait fails as [`Ambiguous`](crate::StoreErrorKind::Ambiguous), and the connection
    /// is replaced. Two seconds outlast a server that forks, syncs its disk or is far away, and
    /// allow several tries within a lease of 30 seconds. Keep it below a third of the shortest
    /// lease, or heartbeats come too late.
    pub fn with_response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How long it may take to connect and log in: 2 seconds by default. A longer wait fails as
    /// [`NotSent`](crate::StoreErrorKind::NotSent). A claim waits 0.9 seconds for a connection, and
    /// then fails as `NotSent` too, while connecting goes on.
    pub fn with_connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = timeout;
        self
    }

    /// Whether to accept a server that evicts keys when its memory is full. By default it is
    /// refused: an evicted record lets its operation run again, and one sweep may evict all of
    /// them.
    pub fn with_allow_eviction(mut self, allow: bool) -> Self {
        self.allow_eviction = allow;
        self
    }

    /// User and password for the sentinels themselves; none by default. The user and password in
    /// the URLs are for the Redis servers.
    #[cfg(feature = "redis-sentinel")]
    pub fn with_sentinel_login(mut self, user: Option<&str>, password: &str) -> Self {
        self.sentinel_login = RedisCredentials::of(user, Some(password));
        self
    }

    /// Calls `provide` for user and password at each connect, instead of taking them from the URL.
    /// By default there is no callback.
    ///
    /// It is for passwords that change while the process runs: tokens of a cloud's identity
    /// service, rotated secrets. Each connection calls it: for commands, for wake-ups, to each node
    /// of a cluster, and after every loss. So a server that closes the connections of an expired
    /// token is answered with a fresh one. Existing connections do not log in again. The callback
    /// runs in a task of the runtime that uses the store, and its time counts as time to connect.
    /// An error of it fails the attempt as [`NotSent`](crate::StoreErrorKind::NotSent), with that
    /// error as the source, so it should show no secret. Sentinels have a login of their own
    /// ([`with_sentinel_login`](Self::with_sentinel_login)).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), idempotent_fn::StoreError> {
    /// # async fn token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// use idempotent_fn::store::{RedisCredentials, RedisOptions};
    ///
    /// let store = RedisOptions::new()
    ///     .with_credentials(|| async { token().await.map(|token| RedisCredentials::new("payments", token)) })
    ///     .open("rediss://cache.internal")?;
    /// # Ok(()) }
    /// ```
    pub fn with_credentials<F, E>(mut self, provide: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<RedisCredentials, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.credentials = Some(Provider::new(provide));
        self
    }

    /// Trusts the certificate authorities in this PEM text, and no others. By default those of the
    /// operating system are trusted. It applies to `rediss://` URLs.
    #[cfg(feature = "redis-tls")]
    pub fn with_tls_root(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots = Some(pem.into());
        self
    }

    /// Presents this certificate to the server, with its private key; both in PEM.
    #[cfg(feature = "redis-tls")]
    pub fn with_tls_identity(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// A store at `url`, as [`RedisStore::new`] with these options.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when the URL or a certificate cannot be read.
    pub fn open(mut self, url: &str) -> Result<RedisStore, StoreError> {
        let named = url::parse(url)?;
        if named.sentinel_login.is_some() {
            self.sentinel_login = named.sentinel_login;
        }
        RedisStore::assemble(named.target, self)
    }

    /// A store on a cluster, as [`RedisStore::cluster`] with these options.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when a URL or a certificate cannot be read, or the
    /// URLs contradict one another.
    #[cfg(feature = "redis-cluster")]
    pub fn open_cluster<U: AsRef<str>>(
        self,
        urls: impl IntoIterator<Item = U>,
    ) -> Result<RedisStore, StoreError> {
        let nodes = urls.into_iter().map(|url| url::server(url.as_ref()));
        let target = Target::cluster(nodes.collect::<Result<_, _>>()?)?;
        RedisStore::assemble(target, self)
    }

    /// A store on the primary that sentinels know, as [`RedisStore::sentinel`] with these options.
    ///
    /// # Errors
    /// [`Config`](crate::StoreErrorKind::Config) when a URL or a certificate cannot be read.
    #[cfg(feature = "redis-sentinel")]
    pub fn open_sentinel<U: AsRef<str>>(
        self,
        urls: impl IntoIterator<Item = U>,
        master: &str,
    ) -> Result<RedisStore, StoreError> {
        let sentinels = urls.into_iter().map(|url| url::server(url.as_ref()));
        let target = Target::sentinel(sentinels.collect::<Result<_, _>>()?, master)?;
        RedisStore::assemble(target, self)
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows no password, user or certificate.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("response_timeout", &self.response_timeout)
            .field("connection_timeout", &self.connection_timeout)
            .field("allow_eviction", &self.allow_eviction)
            .finish_non_exhaustive()
    }
}
