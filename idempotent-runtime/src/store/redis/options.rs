//! How a store reaches its server.

use std::{fmt, time::Duration};

use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, io::tcp::TcpSettings,
};

use super::{RedisStore, connect::Target};
use crate::{StoreError, StoreErrorKind};

/// How a [`RedisStore`] reaches its server, where the defaults do not fit.
///
/// ```no_run
/// # fn main() -> Result<(), idempotent_runtime::StoreError> {
/// use std::time::Duration;
/// use idempotent_runtime::store::redis::RedisOptions;
///
/// let store = RedisOptions::new().response_timeout(Duration::from_secs(5)).open("redis://cache.internal/2")?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisOptions {
    pub(super) response_timeout: Duration,
    pub(super) connection_timeout: Duration,
    pub(super) allow_eviction: bool,
    #[cfg(feature = "redis-sentinel")]
    pub(super) sentinel_user: Option<(Option<String>, String)>,
    #[cfg(feature = "redis-tls")]
    pub(super) tls: Option<redis::TlsCertificates>,
}

impl RedisOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            response_timeout: Duration::from_secs(2),
            connection_timeout: Duration::from_secs(2),
            allow_eviction: false,
            #[cfg(feature = "redis-sentinel")]
            sentinel_user: None,
            #[cfg(feature = "redis-tls")]
            tls: None,
        }
    }

    /// How long an answer may take: 2 seconds by default.
    ///
    /// A longer wait fails as [`Ambiguous`](StoreErrorKind::Ambiguous), and the connection is replaced. Two seconds
    /// outlast a server that forks, syncs its disk or is far away, and leave room for several tries within a lease of
    /// 30 seconds; keep it below a third of the shortest lease, or heartbeats come too late.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How long it may take to connect and log in: 2 seconds by default. A longer wait fails as
    /// [`NotSent`](StoreErrorKind::NotSent).
    pub fn connection_timeout(mut self, timeout: Duration) -> Self {
        self.connection_timeout = timeout;
        self
    }

    /// Whether a server is accepted that evicts keys when its memory is full. No by default: an evicted record lets its
    /// operation run again, and one sweep may take all of them.
    pub fn allow_eviction(mut self, allow: bool) -> Self {
        self.allow_eviction = allow;
        self
    }

    /// User and password for the sentinels themselves; none by default. Those in the URLs are for the Redis servers.
    #[cfg(feature = "redis-sentinel")]
    pub fn sentinel_login(mut self, user: Option<&str>, password: &str) -> Self {
        self.sentinel_user = Some((user.map(str::to_owned), password.to_owned()));
        self
    }

    /// Trusts the certificate authorities in this PEM text, and no others. By default those of the operating system
    /// are trusted. It applies to `rediss://` URLs.
    #[cfg(feature = "redis-tls")]
    pub fn tls_root(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates().root_cert = Some(pem.into());
        self
    }

    /// Shows this certificate to the server, with the key that belongs to it; both in PEM.
    #[cfg(feature = "redis-tls")]
    pub fn tls_identity(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        let identity = redis::ClientTlsConfig {
            client_cert: certificate.into(),
            client_key: key.into(),
        };
        self.certificates().client_tls = Some(identity);
        self
    }

    #[cfg(feature = "redis-tls")]
    fn certificates(&mut self) -> &mut redis::TlsCertificates {
        self.tls.get_or_insert(redis::TlsCertificates {
            client_tls: None,
            root_cert: None,
        })
    }

    /// A store on one server, as [`RedisStore::new`] with these options.
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) when the URL or a certificate cannot be read.
    pub fn open(self, url: &str) -> Result<RedisStore, StoreError> {
        let target = Target::One(self.parse(url)?);
        Ok(RedisStore::assemble(target, self))
    }

    /// A store on a cluster, as [`RedisStore::cluster`] with these options.
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) when a URL or a certificate cannot be read, or the URLs contradict one another.
    #[cfg(feature = "redis-cluster")]
    pub fn open_cluster<U: AsRef<str>>(
        self,
        urls: impl IntoIterator<Item = U>,
    ) -> Result<RedisStore, StoreError> {
        let nodes = self.parse_all(urls)?;
        super::cluster::client(&nodes, &self, None).map_err(|error| config(error.to_string()))?;
        Ok(RedisStore::assemble(Target::Cluster(nodes), self))
    }

    /// A store on the primary that sentinels know, as [`RedisStore::sentinel`] with these options.
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) when a URL or a certificate cannot be read.
    #[cfg(feature = "redis-sentinel")]
    pub fn open_sentinel<U: AsRef<str>>(
        self,
        urls: impl IntoIterator<Item = U>,
        master: &str,
    ) -> Result<RedisStore, StoreError> {
        let sentinels = self.parse_all(urls)?;
        let target = Target::Sentinel {
            sentinels,
            master: master.to_owned(),
        };
        Ok(RedisStore::assemble(target, self))
    }

    #[cfg(any(feature = "redis-cluster", feature = "redis-sentinel"))]
    fn parse_all<U: AsRef<str>>(
        &self,
        urls: impl IntoIterator<Item = U>,
    ) -> Result<Vec<ConnectionInfo>, StoreError> {
        let all = urls
            .into_iter()
            .map(|url| self.parse(url.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            Err(config("at least one Redis URL is needed"))
        } else {
            Ok(all)
        }
    }

    fn parse(&self, url: &str) -> Result<ConnectionInfo, StoreError> {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        if matches!(scheme, "rediss" | "valkeys") && cfg!(not(feature = "redis-tls")) {
            return Err(config("a `rediss://` URL needs the feature `redis-tls`"));
        }
        // The library's own text says what is wrong, and shows nothing of the URL.
        let info = url.into_connection_info().map_err(|error| {
            let reason = error.to_string();
            let reason = reason.split(" - ").next().unwrap_or_default();
            config(format!(
                "the Redis URL is not valid ({reason}); it should look like redis://host:6379/0"
            ))
        })?;
        let info = self.with_certificates(info)?;
        let redis = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        Ok(info.set_redis_settings(redis).set_tcp_settings(tcp()))
    }

    #[cfg(feature = "redis-tls")]
    fn with_certificates(&self, info: ConnectionInfo) -> Result<ConnectionInfo, StoreError> {
        match &self.tls {
            Some(certificates) if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => {
                redis::Client::build_with_tls(info, certificates.clone())
                    .map(|client| client.get_connection_info().clone())
                    .map_err(|error| {
                        config(format!("the TLS certificates cannot be used: {error}"))
                    })
            }
            _ => Ok(info),
        }
    }

    #[cfg(not(feature = "redis-tls"))]
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "with the feature it has certificates, and may fail"
    )]
    fn with_certificates(&self, info: ConnectionInfo) -> Result<ConnectionInfo, StoreError> {
        Ok(info)
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

fn config(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Config, message.into())
}

/// Commands are small and are waited for: each is sent at once. A peer that vanished is noticed even by a connection
/// that only listens.
pub(super) fn tcp() -> TcpSettings {
    let keepalive = redis::io::tcp::socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
}

/// Host and port, or path: where a connection goes, without who it is for.
pub(super) fn place(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Unix(path) => path.display().to_string(),
        address => address.to_string(),
    }
}
