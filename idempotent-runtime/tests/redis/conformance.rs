//! The conformance suite on one server, on a cluster and behind sentinels.

use std::{fmt::Write, time::Duration};

use idempotent_runtime::{
    conformance_tests,
    key::Key,
    record::Record,
    store::{
        RedisStore,
        conformance::{Subject, all},
    },
};
use idempotent_test_support::{RedisCluster, RedisServer, Sentinel};

use crate::{
    aged::{Aged, Taken},
    common::*,
};

/// Makes a record older; one that has no time left is gone.
fn age(server: &RedisServer, taken: &Taken, key: &Key, time: Duration) {
    if pttl(server, key) < 0 {
        return;
    }
    let before = value(server, key).and_then(|bytes| Record::decode(&bytes).ok());
    elapse(server, key, time);
    let after = value(server, key).and_then(|bytes| Record::decode(&bytes).ok());
    if let (Some(before), Some(after)) = (before, after) {
        taken.note(&before, &after);
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

struct Single(RedisServer, Taken);

impl Subject for Single {
    type Store = Aged<RedisStore>;

    async fn store(&self) -> Aged<RedisStore> {
        Aged::new(store(&self.0), &self.1)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(&self.0, &self.1, key, time);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        plant(&self.0, key, bytes);
        true
    }

    async fn subscribed(&self, _store: &Aged<RedisStore>) -> Option<usize> {
        Some(self.0.cli(&["PUBSUB", "CHANNELS"]).lines().count())
    }
}

conformance_tests!(Single(RedisServer::start(), Taken::default()));

struct Cluster(RedisCluster, Taken);

impl Cluster {
    fn node(&self, key: &Key) -> &RedisServer {
        &self.0.nodes()[self.0.node_of(&redis_key(key))]
    }
}

impl Subject for Cluster {
    type Store = Aged<RedisStore>;

    async fn store(&self) -> Aged<RedisStore> {
        let store = RedisStore::cluster(self.0.urls()).expect("valid URLs");
        Aged::new(store, &self.1)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(self.node(key), &self.1, key, time);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        plant(self.node(key), key, bytes);
        true
    }

    async fn subscribed(&self, _store: &Aged<RedisStore>) -> Option<usize> {
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
    all(Cluster(RedisCluster::start(), Taken::default())).await;
}

struct Failover(Sentinel, Taken);

impl Subject for Failover {
    type Store = Aged<RedisStore>;

    async fn store(&self) -> Aged<RedisStore> {
        let store = RedisStore::sentinel(self.0.urls(), self.0.master_name()).expect("valid URLs");
        Aged::new(store, &self.1)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(self.0.master(), &self.1, key, time);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_behind_sentinels_conforms() {
    all(Failover(Sentinel::start(), Taken::default())).await;
}
