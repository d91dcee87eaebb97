//! A heartbeat is sent although the body has used up Tokio's cooperative budget, which the client
//! library's channels ask for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use idempotent_runtime::{Error, OnCrash, SharedStore, operation};
use idempotent_test_support::RedisServer;
use tokio::{sync::Semaphore, task::consume_budget};

use crate::common::*;

const HEARTBEATS: u64 = 3;

/// How often the lease has been renewed, as the server counts: a first call claims with a native
/// command.
fn scripts(server: &RedisServer) -> u64 {
    server.commandstats().get("evalsha").copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_uses_up_the_budget_keeps_its_lease() {
    let server = Arc::new(RedisServer::start());
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        for with_semaphore in [false, true] {
            let shared = SharedStore::new(store(&server));
            let key = format!("{on_crash:?} {with_semaphore}");
            let call = operation::<Result<u64, Error>, _>("coop", &[&key]).store(&shared);
            let call = call.lease(Duration::from_millis(600)).on_crash(on_crash);
            let asked = Arc::clone(&server);
            let seen = call.run(async move {
                let before = scripts(&asked);
                let semaphore = Semaphore::new(1);
                let patience = Instant::now() + Duration::from_secs(20);
                let mut renewed = 0;
                while renewed < HEARTBEATS && Instant::now() < patience {
                    let pause = Instant::now() + Duration::from_millis(200);
                    while Instant::now() < pause {
                        if with_semaphore {
                            drop(semaphore.acquire().await.expect("it is open"));
                        } else {
                            consume_budget().await;
                        }
                    }
                    renewed = scripts(&asked) - before;
                }
                Ok(renewed)
            });
            assert!(seen.await.expect("it is healthy") >= HEARTBEATS, "{key}");
            assert_eq!(shared.counters().taken_over(), 0);
        }
    }
}
