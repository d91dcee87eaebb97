//! The near cache in front of a real server: which commands are sent, and which clock ends a
//! result.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use idempotent_runtime::{Error, Operation, SharedStore, Store, operation, store::NearCache};
use idempotent_test_support::RedisServer;

use super::common::*;

type Answer = Result<u32, Error>;

/// The server as one process has it.
fn process(server: &RedisServer) -> SharedStore {
    SharedStore::new(store(server)).with_near_cache(&NearCache::new())
}

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("payments.charge", &[&"1"]).store(store)
}

/// How many commands the server has carried out, those that its scripts call included.
fn carried_out(server: &RedisServer) -> u64 {
    let stats = server.commandstats();
    let ours = stats
        .iter()
        .filter(|(name, _)| !["info", "config|resetstat"].contains(&name.as_str()));
    ours.map(|(_, calls)| calls).sum()
}

/// Counts bodies; each answers which run it is.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

impl Runs {
    fn body(&self) -> impl Future<Output = Answer> + Send + use<> {
        let runs = Arc::clone(&self.0);
        async move { Ok(runs.fetch_add(1, Ordering::SeqCst) + 1) }
    }
}

#[tokio::test]
async fn a_replay_sends_nothing() {
    let server = RedisServer::start();
    let (here, elsewhere) = (process(&server), process(&server));
    let runs = Runs::default();
    assert_eq!(charge(&here).run(runs.body()).await.unwrap(), 1);
    server.reset_commandstats();
    for _ in 0..10 {
        assert_eq!(charge(&here).run(runs.body()).await.unwrap(), 1);
    }
    assert_eq!(carried_out(&server), 0);

    assert_eq!(charge(&elsewhere).run(runs.body()).await.unwrap(), 1);
    assert!(carried_out(&server) > 0);
    server.reset_commandstats();
    for _ in 0..10 {
        assert_eq!(charge(&elsewhere).run(runs.body()).await.unwrap(), 1);
    }
    assert_eq!(carried_out(&server), 0);
    assert!(elsewhere.near_cache_bytes() > 0);
}

#[tokio::test]
async fn it_replays_while_the_server_is_away() {
    let server = RedisServer::start();
    let store = process(&server);
    let runs = Runs::default();
    charge(&store).run(runs.body()).await.unwrap();
    server.kill();
    assert_eq!(charge(&store).run(runs.body()).await.unwrap(), 1);
    let other = operation::<Answer, _>("payments.charge", &[&"2"]).store(&store);
    let refused = other.wait(std::time::Duration::ZERO).run(runs.body()).await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn forgetting_takes_effect_here_at_once_and_elsewhere_late() {
    let server = RedisServer::start();
    let (here, elsewhere) = (process(&server), process(&server));
    let runs = Runs::default();
    for store in [&here, &elsewhere] {
        assert_eq!(charge(store).run(runs.body()).await.unwrap(), 1);
    }
    charge(&here).forget().await.unwrap();
    assert_eq!(charge(&here).run(runs.body()).await.unwrap(), 2);
    assert_eq!(charge(&here).run(runs.body()).await.unwrap(), 2);
    assert_eq!(charge(&elsewhere).run(runs.body()).await.unwrap(), 1);
    charge(&elsewhere).forget().await.unwrap();
    assert_eq!(charge(&elsewhere).run(runs.body()).await.unwrap(), 3);
}

#[tokio::test]
async fn the_store_tells_the_servers_time() {
    let server = RedisServer::start();
    let store = store(&server);
    assert_eq!(Store::clock(&store), None);
    let before = seconds(&server);
    store.check().await.expect("fit");
    let told = Store::clock(&store).expect("it has been told") / 1_000_000;
    assert!((before..=seconds(&server)).contains(&told), "{told}");
}

/// The server's time in seconds.
fn seconds(server: &RedisServer) -> u64 {
    let time = server.cli(&["TIME"]);
    let seconds = time.lines().next().expect("two lines");
    seconds.parse().expect("a number")
}

/// A result in its last minute is asked for each time.
#[tokio::test]
async fn a_result_near_its_end_is_asked_for() {
    let server = RedisServer::start();
    let runs = Runs::default();
    charge(&process(&server)).run(runs.body()).await.unwrap();
    let key = key("1");
    let written = record(&server, &key).expect("done");
    for (left, sent) in [(30, 1), (3600, 0)] {
        let mut record = written.clone();
        record.expires = (seconds(&server) + left) * 1000;
        put(&server, &key, &record.encode());
        let store = process(&server);
        assert_eq!(charge(&store).run(runs.body()).await.unwrap(), 1);
        server.reset_commandstats();
        assert_eq!(charge(&store).run(runs.body()).await.unwrap(), 1);
        assert_eq!(carried_out(&server), sent, "{left} s left");
    }
}

/// A result whose end lies beyond the format is as good as one that lasts.
#[tokio::test]
async fn a_result_with_an_end_beyond_all_bounds_is_replayed() {
    let server = RedisServer::start();
    let runs = Runs::default();
    charge(&process(&server)).run(runs.body()).await.unwrap();
    let key = key("1");
    let mut written = record(&server, &key).expect("done");
    written.expires = u64::MAX;
    put(&server, &key, &written.encode());
    let store = process(&server);
    assert_eq!(charge(&store).run(runs.body()).await.unwrap(), 1);
}
