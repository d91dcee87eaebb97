//! The target of a store: one server, a primary that sentinels name, or a cluster.

use super::{credentials::RedisCredentials, transport::Address, url::config};
use crate::StoreError;

/// One server, and how to log in.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) tls: bool,
    pub(crate) database: i64,
    pub(crate) login: Option<RedisCredentials>,
}

/// The target of a store.
pub(crate) enum Target {
    One(Server),
    #[cfg(feature = "redis-sentinel")]
    Sentinel {
        sentinels: Vec<Server>,
        master: String,
    },
    #[cfg(feature = "redis-cluster")]
    Cluster(Vec<Server>),
}

impl Target {
    /// A cluster with `seeds` as some of its nodes.
    #[cfg(feature = "redis-cluster")]
    pub(crate) fn cluster(seeds: Vec<Server>) -> Result<Self, StoreError> {
        let Some(first) = seeds.first() else {
            return Err(no_server_named());
        };
        let contradicts = |server: &Server| {
            server.tls != first.tls || server.login.is_some() && server.login != first.login
        };
        if seeds.iter().any(contradicts) {
            return Err(config(
                "the URLs of a Redis Cluster contradict one another: user, password and TLS are one for all its nodes",
            ));
        }
        if seeds.iter().any(|server| server.database != 0) {
            return Err(config(
                "a Redis Cluster has database 0 only; leave it out of the URLs",
            ));
        }
        if seeds
            .iter()
            .any(|server| matches!(server.address, Address::Unix(_)))
        {
            return Err(config("a Redis Cluster's nodes are named by host and port"));
        }
        Ok(Self::Cluster(seeds))
    }

    #[cfg(not(feature = "redis-cluster"))]
    pub(crate) fn cluster(_: Vec<Server>) -> Result<Self, StoreError> {
        Err(config(
            "a Redis Cluster needs the feature `redis-cluster` of idempotent-fn",
        ))
    }

    /// The primary called `master`, which `sentinels` know.
    #[cfg(feature = "redis-sentinel")]
    pub(crate) fn sentinel(sentinels: Vec<Server>, master: &str) -> Result<Self, StoreError> {
        if sentinels.is_empty() {
            return Err(no_server_named());
        }
        Ok(Self::Sentinel {
            sentinels,
            master: master.to_owned(),
        })
    }

    #[cfg(not(feature = "redis-sentinel"))]
    pub(crate) fn sentinel(_: Vec<Server>, _: &str) -> Result<Self, StoreError> {
        Err(config(
            "Redis Sentinel needs the feature `redis-sentinel` of idempotent-fn",
        ))
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::One(server) => {
                format!("Redis at {} (database {})", server.address, server.database)
            }
            #[cfg(feature = "redis-sentinel")]
            Self::Sentinel { sentinels, master } => {
                format!(
                    "Redis primary `{master}` by Sentinel at {}",
                    addresses(sentinels)
                )
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(nodes) => format!("Redis Cluster at {}", addresses(nodes)),
        }
    }

    #[cfg(feature = "redis-tls")]
    pub(crate) fn has_tls(&self) -> bool {
        match self {
            Self::One(server) => server.tls,
            #[cfg(feature = "redis-sentinel")]
            Self::Sentinel { sentinels, .. } => sentinels.iter().any(|server| server.tls),
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(nodes) => nodes.iter().any(|server| server.tls),
        }
    }

    /// The command that publishes a change: within one shard in a cluster.
    pub(crate) const fn publish(&self) -> &'static [u8] {
        match self {
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => b"SPUBLISH",
            _ => b"PUBLISH",
        }
    }
}

#[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
pub(crate) fn no_server_named() -> StoreError {
    config("at least one Redis URL is needed")
}

#[cfg(any(feature = "redis-sentinel", feature = "redis-cluster"))]
fn addresses(all: &[Server]) -> String {
    let all = all.iter().map(|server| server.address.to_string());
    all.collect::<Vec<_>>().join(", ")
}
