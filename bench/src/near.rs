//! The near cache: replays of Redis' records from this process, compared with the memory store.

use std::{hint::black_box, time::Duration};

use idempotent_fn::{
    SharedStore,
    store::{MemoryStore, NearCache},
};
use idempotent_test_support::RedisServer;
use tokio::runtime::Runtime;

use crate::{
    growth::load::{Order, charge, connected, runtime},
    sample::{Subject, Table, compare, thread_time},
};

/// As many as the other replays go through.
const HOT: u64 = 1_024;
const ROUNDS: usize = 61;

/// The table, and how many commands the near cache's replays sent.
pub fn replay() -> (Table, String) {
    let server = RedisServer::start();
    let runtime = runtime();
    let memory: &'static SharedStore = Box::leak(Box::new(MemoryStore::new().into()));
    let options = NearCache::new().with_max_age(Duration::from_secs(3_600));
    let near = connected(&runtime, &server).with_near_cache(&options);
    let near: &'static SharedStore = Box::leak(Box::new(near));
    for store in [memory, near] {
        calls(&runtime, store, HOT);
    }
    server.reset_commandstats();
    let subjects = vec![
        Subject::new("idempotent-fn in memory", "", |count| {
            calls(&runtime, memory, count)
        }),
        Subject::new("idempotent-fn, near cache of Redis", "", |count| {
            calls(&runtime, near, count)
        }),
    ];
    let title = "Replay from the near cache of a Redis record";
    let table = compare("near", title, ROUNDS, None, subjects);
    let sent: u64 = server.commandstats().values().sum();
    let note = format!("Replays from the near cache sent {sent} commands.");
    (table, note)
}

fn calls(runtime: &Runtime, store: &'static SharedStore, count: u64) -> Duration {
    runtime.block_on(async {
        let start = thread_time();
        for order in (0..HOT).cycle().take(count as usize) {
            let _ = black_box(charge(store, black_box(Order(order))).await);
        }
        thread_time() - start
    })
}
