//! Resharding and failover under many concurrent calls in one process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use idempotent_runtime::{Error, SharedStore, operation, store::RedisStore};
use idempotent_test_support::RedisCluster;

use crate::common::*;

const TASKS: usize = 200;

type Answer = Result<u32, Error>;

async fn call(store: &SharedStore, part: &str) -> Answer {
    let call = operation::<Answer, _>("moving", &[&part]).store(store);
    call.wait(Duration::from_secs(2)).run(async { Ok(1) }).await
}

/// Calls that end, and how many were answered.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(store: &SharedStore) -> Self {
        let (stop, count) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let task = |task| {
            let (store, stop, count) = (store.clone(), stop.clone(), count.clone());
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(SeqCst) {
                    number += 1;
                    let part = format!("{task} {number}");
                    if answered("a call", call(&store, &part)).await.is_ok() {
                        count.fetch_add(1, SeqCst);
                    }
                }
            })
        };
        Self {
            tasks: (0..TASKS).map(task).collect(),
            stop,
            answered: count,
        }
    }

    /// All calls come to an end. How many were answered meanwhile.
    async fn end(self) -> u64 {
        self.stop.store(true, SeqCst);
        for task in self.tasks {
            task.await.expect("every call ends");
        }
        self.answered.load(SeqCst)
    }
}

async fn all_succeed(store: &SharedStore) {
    let calls = (0..TASKS).map(|task| {
        let store = store.clone();
        tokio::spawn(async move { call(&store, &format!("afterwards {task}")).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let answer = answered("a call", call).await.expect("no panic");
        assert_eq!(answer.expect("answered"), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_to_and_fro_under_many_calls_stop_nobody() {
    let cluster = Arc::new(RedisCluster::with_masters(2));
    let store = SharedStore::new(RedisStore::cluster(cluster.urls()).expect("valid URLs"));
    let load = Load::start(&store);
    for (from, to) in [(0, 1), (1, 0), (0, 1)] {
        let cluster = cluster.clone();
        tokio::task::spawn_blocking(move || cluster.move_slots(0..1_500, from, to))
            .await
            .expect("moved");
    }
    all_succeed(&store).await;
    assert!(load.end().await > 0);
    all_succeed(&store).await;
    // It happened.
    assert!(cluster.nodes()[1].commandstats()["asking"] > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_many_calls_stops_nobody() {
    let cluster = Arc::new(RedisCluster::start_with_replicas());
    let store = SharedStore::new(RedisStore::cluster(cluster.urls()).expect("valid URLs"));
    let load = Load::start(&store);
    let failing = cluster.clone();
    tokio::task::spawn_blocking(move || failing.fail_over("idempotent:moving|0"))
        .await
        .expect("failed over");
    all_succeed(&store).await;
    assert!(load.end().await > 0);
}
