//! The rate by the size of the result, in memory and on Redis.

use std::{
    hint::black_box,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use idempotent_fn::{Error, SharedStore, idempotent, store::MemoryStore};
use idempotent_test_support::RedisServer;
use tokio::runtime::Runtime;

use super::{
    Pace,
    load::{Kind, Reading, connected, load, runtime, watched},
    series::{Panel, Series, Unit, measured, rounds},
};
use crate::{cores::Apart, sample::thread_time};

const KIB: usize = 1024;
const SIZES: [usize; 8] = [
    0,
    64,
    KIB,
    4 * KIB,
    16 * KIB,
    64 * KIB,
    256 * KIB,
    1024 * KIB,
];
/// How many calls are under way on Redis.
const TASKS: usize = 16;
/// What first calls may leave behind in one window.
const ROOM: usize = 256 * KIB * KIB;

const LINES: [&str; 4] = [
    "replay, memory",
    "first call, memory",
    "replay, Redis",
    "first call, Redis",
];

static TEXT: LazyLock<String> = LazyLock::new(|| "x".repeat(1024 * KIB));
static FRESH: AtomicU64 = AtomicU64::new(1_000_000);

#[idempotent(scope = "bench.size", key = (size, order), store = *store)]
async fn text(store: &'static SharedStore, order: u64, size: usize) -> Result<String, Error> {
    Ok(TEXT[..size].to_owned())
}

pub fn measure(pace: Pace) -> Series {
    let server = RedisServer::start();
    let _apart = Apart::from(&[&server]);
    let runtime = runtime();
    let on_redis = leak(connected(&runtime, &server));
    let readings = rounds(pace.rounds, LINES.len(), SIZES.len(), |line, point| {
        let size = SIZES[point];
        match line {
            0 => in_memory(&runtime, Kind::Replay, size, pace.window / 2),
            1 => in_memory(&runtime, Kind::First, size, pace.window / 2),
            2 => {
                prepare(&runtime, on_redis, size);
                watched(&[&server], || {
                    replayed(&runtime, on_redis, size, pace.window)
                })
            }
            _ => {
                let reading = watched(&[&server], || first(&runtime, on_redis, size, pace.window));
                server.cli(&["FLUSHALL"]);
                reading
            }
        }
    });
    let mut panels = Panel::on_redis(&readings);
    // In memory there is no server, and the client is always at work.
    for panel in &mut panels[1..] {
        panel.values[..2]
            .iter_mut()
            .for_each(|line| line.fill(None));
    }
    let mut moved = Panel::of("MB/s", Unit::MegabytesPerSecond, &readings, |reading| {
        Some(reading.rate() / 1e6)
    });
    for line in &mut moved.values {
        for (value, size) in line.iter_mut().zip(SIZES) {
            *value = value.filter(|_| size > 0).map(|value| value * size as f64);
        }
    }
    panels.insert(1, moved);
    Series {
        id: "growth-sizes",
        title: "The result's size (in memory one task; on Redis 16 tasks)".to_owned(),
        along: "bytes",
        points: SIZES.map(shown).to_vec(),
        lines: measured(&LINES),
        panels,
    }
}

fn shown(size: usize) -> String {
    match size {
        size if size >= KIB * KIB => format!("{} MiB", size / KIB / KIB),
        size if size >= KIB => format!("{} KiB", size / KIB),
        size => format!("{size} B"),
    }
}

/// Takes a result of 1 MiB and what its encoding adds.
fn leak(store: &SharedStore) -> &'static SharedStore {
    Box::leak(Box::new(store.with_max_result(2 * KIB * KIB)))
}

/// Timed by the processor time it takes. The store is filled by this and freed after it.
fn in_memory(runtime: &Runtime, kind: Kind, size: usize, window: Duration) -> Reading {
    const HOT: u64 = 64;
    let store = SharedStore::from(MemoryStore::new()).with_max_result(2 * KIB * KIB);
    let call = |order: u64| {
        let operation =
            idempotent_fn::operation::<Result<String, Error>, _>("bench.size", &(&size, &order));
        operation
            .store(&store)
            .run(async move { Ok(TEXT[..size].to_owned()) })
    };
    runtime.block_on(async {
        for order in 0..HOT {
            call(order).await.expect("recorded");
        }
        let most = (ROOM / size.max(1)).min(200_000) as u64;
        let start = thread_time();
        let mut calls = 0;
        while thread_time() - start < window && (matches!(kind, Kind::Replay) || calls < most) {
            // Looking at the clock costs more than a replay of little.
            for _ in 0..16 {
                calls += 1;
                let order = match kind {
                    Kind::Replay => calls % HOT,
                    Kind::First => HOT + calls,
                };
                black_box(call(order).await.expect("a result"));
            }
        }
        let took = (thread_time() - start).as_secs_f64();
        Reading {
            calls,
            wall: took,
            client: took,
            ..Reading::default()
        }
    })
}

fn prepare(runtime: &Runtime, store: &'static SharedStore, size: usize) {
    runtime.block_on(async {
        for order in 0..TASKS as u64 {
            text(store, order, size).await.expect("recorded");
        }
    });
}

/// Each task has a record of its own.
fn replayed(
    runtime: &Runtime,
    store: &'static SharedStore,
    size: usize,
    window: Duration,
) -> Reading {
    load(runtime, TASKS, window, move |task, _| async move {
        let text = text(store, task, size).await.expect("a result");
        assert_eq!(text.len(), size);
    })
}

fn first(runtime: &Runtime, store: &'static SharedStore, size: usize, window: Duration) -> Reading {
    // At a gigabyte a second the window would leave more behind than it may.
    let window = window.min(Duration::from_secs_f64(ROOM as f64 / 1e9));
    load(runtime, TASKS, window, move |_, _| async move {
        let order = FRESH.fetch_add(1, Ordering::Relaxed);
        let text = text(store, order, size).await.expect("a result");
        assert_eq!(text.len(), size);
    })
}
