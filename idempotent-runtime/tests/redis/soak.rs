//! Many calls at once on a real server, dropped at random: nothing is left behind in this process
//! or on the server, and nothing runs twice.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use idempotent_runtime::{Error, SharedStore, operation};
use idempotent_test_support::{RedisServer, wait_until};
use tokio::task::JoinSet;

use crate::common::store;

const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

/// A number drawn from the seed for each task (splitmix64).
fn draw(task: u64) -> u64 {
    let seed = setting("SOAK_SEED", 1) << 32;
    let mut bits = (seed ^ task).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^ (bits >> 27)
}

async fn yields(mut times: u64) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Lets go of the call after a while, if it is impatient.
async fn within<F: Future>(patience: Option<Duration>, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    match patience {
        None => Some(call.await),
        // Some give up at the first poll: a command was just sent.
        Some(Duration::ZERO) => {
            poll_fn(|cx| {
                Poll::Ready(match call.as_mut().poll(cx) {
                    Poll::Ready(answer) => Some(answer),
                    Poll::Pending => None,
                })
            })
            .await
        }
        Some(patience) => tokio::time::timeout(patience, call).await.ok(),
    }
}

async fn soak(handles: &[SharedStore], keys: usize, tasks: u64) {
    let effects: Arc<Vec<AtomicU32>> = Arc::new((0..keys).map(|_| AtomicU32::new(0)).collect());
    let call = |store: SharedStore, key: usize| {
        let effects = Arc::clone(&effects);
        async move {
            let operation = operation::<Result<u64, Error>, _>("soak", &[&key]).store(&store);
            let body = async move {
                effects[key].fetch_add(1, Ordering::SeqCst);
                yields(draw(key as u64) % 8).await;
                Ok(key as u64)
            };
            operation
                .lease(PATIENCE * 10)
                .wait(PATIENCE * 2)
                .run(body)
                .await
        }
    };
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let drawn = draw(task);
        let key = usize::try_from(task).expect("small") % keys;
        let store = handles[usize::try_from(drawn >> 8).expect("64 bits") % handles.len()].clone();
        let patience =
            (!drawn.is_multiple_of(3)).then(|| Duration::from_micros((drawn >> 32) % 8 * 300));
        running.spawn(within(patience, call(store, key)));
    }
    let mut given_up = 0;
    while let Some(ended) = running.join_next().await {
        match ended.expect("no task panics") {
            Some(answer) => drop(answer.expect("an answer")),
            None => given_up += 1,
        }
    }
    assert!(given_up > 0, "nobody was given up");
    for key in 0..keys {
        let answer = call(handles[key % handles.len()].clone(), key).await;
        assert_eq!(answer.expect("an answer"), key as u64);
        assert_eq!(effects[key].load(Ordering::SeqCst), 1, "key {key}");
    }
}

#[test]
fn nothing_is_left_of_calls_that_were_given_up() {
    let server = RedisServer::start();
    let tasks = setting("SOAK_TASKS", 10_000) / 5;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let handles = runtime.block_on(async {
        let handles = [
            SharedStore::new(store(&server)),
            SharedStore::new(store(&server)),
        ];
        for keys in [1, usize::try_from(tasks).expect("small")] {
            server.cli(&["FLUSHALL"]);
            let soaked = tokio::time::timeout(PATIENCE, soak(&handles, keys, tasks)).await;
            soaked.unwrap_or_else(|_| panic!("{keys} keys: it hangs"));
        }
        let left = idempotent_runtime::drain(PATIENCE).await;
        assert_eq!(left, 0, "work is left");
        handles
    });
    for handle in &handles {
        assert_eq!(handle.in_flight(), 0, "flights are left");
    }
    // Leaving a channel is said in the background.
    wait_until("nobody is subscribed", || {
        server.cli(&["PUBSUB", "CHANNELS", "*"]).is_empty()
    });
}
