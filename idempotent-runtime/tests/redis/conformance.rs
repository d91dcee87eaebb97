//! The conformance suite on one server, on a cluster and behind sentinels.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use idempotent_runtime::{
    Store, StoreError, conformance_tests,
    key::Key,
    record::{Nonce, Record, State},
    store::{
        ClaimReply, ClaimRequest, Cursor, Filter, Found, Page, RedisStore, Settled, Subscription,
        conformance::{Subject, all},
    },
};
use idempotent_test_support::{RedisCluster, RedisServer, Sentinel};

use crate::common::*;

/// The store as it would answer had time gone by: what [`age`] took off the end of a finished record is on it again in
/// what is shown.
struct Aged {
    store: RedisStore,
    taken: Taken,
}

/// What was taken off, by the record's attempt.
type Taken = Arc<Mutex<HashMap<Nonce, u64>>>;

fn aged(store: RedisStore, taken: &Taken) -> Aged {
    Aged {
        store,
        taken: taken.clone(),
    }
}

impl Aged {
    fn shown(&self, record: Record) -> Record {
        let taken = self.taken.lock().expect("no panic under it");
        let taken = match record.state {
            State::Done | State::Failed => taken.get(&record.nonce).copied().unwrap_or(0),
            _ => 0,
        };
        let mut record = record;
        record.expires += taken;
        record
    }

    fn settled(&self, settled: Settled) -> Settled {
        match settled {
            Settled::Stale { record, lease_left } => Settled::Stale {
                record: self.shown(record),
                lease_left,
            },
            other => other,
        }
    }
}

impl Store for Aged {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        Ok(match self.store.claim(key, request).await? {
            ClaimReply::Held { record, lease_left } => ClaimReply::Held {
                record: self.shown(record),
                lease_left,
            },
            other => other,
        })
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        Ok(self.settled(self.store.renew(key, owned).await?))
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        Ok(self.settled(self.store.finish(key, target).await?))
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        let read = self.store.read(key).await?;
        Ok(read.map(|(record, left)| (self.shown(record), left)))
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let settled = self.store.overrule(key, seen, replacement).await?;
        Ok(self.settled(settled))
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        let page = self.store.list(filter, cursor).await?;
        let shown = page.records.into_iter().map(|found| {
            let record = found
                .record
                .map(|(record, left)| (self.shown(record), left));
            Found::new(found.key, record)
        });
        Ok(Page::new(shown.collect(), page.next))
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        self.store.subscribe(key).await
    }

    fn clock(&self) -> Option<u64> {
        self.store.clock()
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}

/// Makes a record older; one that has no time left is gone.
fn age(server: &RedisServer, taken: &Taken, key: &Key, time: Duration) {
    if pttl(server, key) < 0 {
        return;
    }
    let before = value(server, key).and_then(|bytes| Record::decode(&bytes).ok());
    elapse(server, key, time);
    let after = value(server, key).and_then(|bytes| Record::decode(&bytes).ok());
    if let (Some(before), Some(after)) = (before, after) {
        let mut taken = taken.lock().expect("no panic under it");
        *taken.entry(after.nonce).or_default() += before.expires - after.expires;
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
    type Store = Aged;

    async fn store(&self) -> Aged {
        aged(store(&self.0), &self.1)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(&self.0, &self.1, key, time);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        plant(&self.0, key, bytes);
        true
    }

    async fn subscribed(&self, _store: &Aged) -> Option<usize> {
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
    type Store = Aged;

    async fn store(&self) -> Aged {
        let store = RedisStore::cluster(self.0.urls()).expect("valid URLs");
        aged(store, &self.1)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(self.node(key), &self.1, key, time);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        plant(self.node(key), key, bytes);
        true
    }

    async fn subscribed(&self, _store: &Aged) -> Option<usize> {
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
    type Store = Aged;

    async fn store(&self) -> Aged {
        let store = RedisStore::sentinel(self.0.urls(), self.0.master_name()).expect("valid URLs");
        aged(store, &self.1)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(self.0.master(), &self.1, key, time);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_behind_sentinels_conforms() {
    all(Failover(Sentinel::start(), Taken::default())).await;
}
