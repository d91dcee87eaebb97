//! Calls from a number of tasks for a given time, and what that costs client and server.

use std::{
    future::Future,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use idempotent_fn::{Error, SharedStore, idempotent, store::RedisOptions};
use idempotent_test_support::RedisServer;
use tokio::runtime::{Builder, Runtime};

use crate::{
    own::{Receipt, receipt},
    sample::thread_time,
};

/// The replayed records of each task: its own, for duplicates in one process share a command.
const HOT: u64 = 4;

/// An order's number, as the other workloads write it.
#[derive(Clone, Copy)]
pub struct Order(pub u64);

impl std::fmt::Display for Order {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "order-{:07}", self.0)
    }
}

/// What is called: a result of 40 bytes under a record key of 26.
#[idempotent(scope = "bench.growth", key = order, store = *store)]
pub async fn charge(store: &'static SharedStore, order: Order) -> Result<Receipt, Error> {
    Ok(Receipt {
        id: order.0,
        ..receipt("order-1")
    })
}

/// One window's result. Times in seconds.
#[derive(Clone, Copy, Default)]
pub struct Reading {
    pub calls: u64,
    pub wall: f64,
    /// This thread's processor time.
    pub client: f64,
    /// The servers' main threads' processor time, all together.
    pub server: f64,
    /// The same of the one that had the most to do.
    pub busiest: f64,
}

impl Reading {
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.wall
    }

    /// Of some seconds, the microseconds of each call.
    pub fn micros(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.calls as f64
    }
}

pub fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A store that has its connection. It lives for ever, as a program's does.
pub fn connected(runtime: &Runtime, server: &RedisServer) -> &'static SharedStore {
    let store = options().open(&server.url()).expect("a valid URL");
    runtime.block_on(store.check()).expect("a fit server");
    Box::leak(Box::new(store.into()))
}

/// Large results and many tasks take their time.
pub fn options() -> RedisOptions {
    RedisOptions::new().with_response_timeout(Duration::from_secs(20))
}

/// Calls `call` from `tasks` tasks until `window` is over, each of them one after the other. `call`
/// gets the task's number and its own call's.
pub fn load<F>(
    runtime: &Runtime,
    tasks: usize,
    window: Duration,
    call: impl Fn(u64, u64) -> F + Copy + Send + 'static,
) -> Reading
where
    F: Future<Output = ()> + Send + 'static,
{
    runtime.block_on(async {
        let (start, before) = (Instant::now(), thread_time());
        let task = |task| {
            tokio::spawn(async move {
                let mut calls = 0;
                while start.elapsed() < window {
                    call(task, calls).await;
                    calls += 1;
                }
                calls
            })
        };
        let tasks: Vec<_> = (0..tasks as u64).map(task).collect();
        let mut calls = 0;
        for task in tasks {
            calls += task.await.expect("no panic");
        }
        Reading {
            calls,
            wall: start.elapsed().as_secs_f64(),
            client: (thread_time() - before).as_secs_f64(),
            ..Reading::default()
        }
    })
}

/// Adds what the servers did meanwhile.
pub fn watched(servers: &[&RedisServer], run: impl FnOnce() -> Reading) -> Reading {
    let before: Vec<f64> = servers
        .iter()
        .map(|server| processor_time(server))
        .collect();
    let reading = run();
    let used = servers.iter().zip(before);
    let used: Vec<f64> = used
        .map(|(server, before)| processor_time(server) - before)
        .collect();
    Reading {
        server: used.iter().sum(),
        busiest: used.into_iter().fold(0.0, f64::max),
        ..reading
    }
}

/// A field of `INFO`, as a number.
pub fn info(server: &RedisServer, section: &str, field: &str) -> f64 {
    let text = server.cli(&["INFO", section]);
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let value = value.unwrap_or_else(|| panic!("INFO {section} has no {field}"));
    value.trim().parse().expect("a number")
}

fn processor_time(server: &RedisServer) -> f64 {
    ["used_cpu_sys_main_thread", "used_cpu_user_main_thread"]
        .map(|field| info(server, "cpu", field))
        .iter()
        .sum()
}

/// Which of the two kinds of call.
#[derive(Clone, Copy)]
pub enum Kind {
    Replay,
    First,
}

pub const KINDS: [(Kind, &str); 2] = [(Kind::Replay, "replay"), (Kind::First, "first call")];

/// Numbers of orders that nobody has had: above all that are replayed.
static FRESH: AtomicU64 = AtomicU64::new(1_000_000);

/// From where this process takes its fresh orders.
pub fn fresh_from(first: u64) {
    FRESH.store(first, Ordering::Relaxed);
}

/// Replays, or first calls, from so many tasks.
pub fn calls(
    runtime: &Runtime,
    store: &'static SharedStore,
    kind: Kind,
    tasks: usize,
    window: Duration,
) -> Reading {
    load(runtime, tasks, window, move |task, nth| async move {
        let order = match kind {
            Kind::Replay => task * HOT + nth % HOT,
            Kind::First => FRESH.fetch_add(1, Ordering::Relaxed),
        };
        let receipt = charge(store, Order(order)).await.expect("a result");
        assert_eq!(receipt.id, order);
    })
}

/// Records what `tasks` tasks replay.
pub fn prepare(runtime: &Runtime, store: &'static SharedStore, tasks: usize) {
    record(runtime, store, 0..tasks as u64 * HOT);
}

/// First calls for all of these orders.
pub fn record(runtime: &Runtime, store: &'static SharedStore, orders: Range<u64>) {
    const TASKS: usize = 64;
    runtime.block_on(async {
        let task = |task| {
            let own = orders.clone().skip(task).step_by(TASKS);
            tokio::spawn(async move {
                for order in own {
                    charge(store, Order(order)).await.expect("recorded");
                }
            })
        };
        let tasks: Vec<_> = (0..TASKS).map(task).collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
}
