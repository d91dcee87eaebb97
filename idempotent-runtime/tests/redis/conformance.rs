//! The suite that every store passes, on one server, on a cluster and behind sentinels.

use std::{fmt::Write, time::Duration};

use idempotent_runtime::{
    Key, conformance_tests,
    store::{
        conformance::{Subject, all},
        redis::RedisStore,
    },
};
use idempotent_test_support::{RedisCluster, RedisServer, Sentinel};

use crate::common::*;

/// Makes a record older; one that has no time left is gone.
fn age(server: &RedisServer, key: &Key, time: Duration) {
    let left = pttl(server, key);
    if left >= 0 {
        let left = left.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        server.cli(&["PEXPIRE", &redis_key(key), &left.max(0).to_string()]);
    }
}

/// By a script, since the command line takes text only.
fn plant(server: &RedisServer, key: &Key, bytes: &[u8]) {
    let mut script = String::from("return redis.call('SET', KEYS[1], '");
    for byte in bytes {
        write!(script, "\\{byte:03}").expect("into memory");
    }
    script.push_str("')");
    server.cli(&["EVAL", &script, "1", &redis_key(key)]);
}

struct Single(RedisServer);

impl Subject for Single {
    type Store = RedisStore;

    async fn store(&self) -> RedisStore {
        store(&self.0)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(&self.0, key, time);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        plant(&self.0, key, bytes);
        true
    }

    async fn subscribed(&self, _store: &RedisStore) -> Option<usize> {
        Some(self.0.cli(&["PUBSUB", "CHANNELS"]).lines().count())
    }
}

conformance_tests!(Single(RedisServer::start()));

struct Cluster(RedisCluster);

impl Cluster {
    fn node(&self, key: &Key) -> &RedisServer {
        &self.0.nodes()[self.0.node_of(&redis_key(key))]
    }
}

impl Subject for Cluster {
    type Store = RedisStore;

    async fn store(&self) -> RedisStore {
        RedisStore::cluster(self.0.urls()).expect("valid URLs")
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(self.node(key), key, time);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        plant(self.node(key), key, bytes);
        true
    }

    async fn subscribed(&self, _store: &RedisStore) -> Option<usize> {
        let nodes = self.0.nodes().iter();
        Some(
            nodes
                .map(|node| node.cli(&["PUBSUB", "SHARDCHANNELS"]).lines().count())
                .sum(),
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_conforms() {
    all(Cluster(RedisCluster::start())).await;
}

struct Failover(Sentinel);

impl Subject for Failover {
    type Store = RedisStore;

    async fn store(&self) -> RedisStore {
        RedisStore::sentinel(self.0.urls(), self.0.master_name()).expect("valid URLs")
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(self.0.master(), key, time);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_behind_sentinels_conforms() {
    all(Failover(Sentinel::start())).await;
}
