//! The in-memory workloads.

use std::{
    cell::Cell,
    future::Future,
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use idempotent::memory::MemoryStore;
use tokio::runtime::{Builder, Runtime};

use crate::{
    floor,
    own::*,
    peers::*,
    sample::{Rounds, Subject, Table, compare, thread_time},
};

/// The keys that are replayed: few enough to stay in the processor's caches.
const HOT: usize = 1_024;
const ROUNDS: usize = 61;

const NO_CLAIM: &str = "claim, fence, wait by lease, fingerprint, bytes";

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Calls `call` with one key after the other in one task.
fn run<F: Future>(
    runtime: &Runtime,
    keys: &[&'static str],
    count: u64,
    call: impl Fn(&'static str) -> F,
) -> Duration {
    runtime.block_on(async {
        let start = thread_time();
        for &key in keys.iter().cycle().take(count as usize) {
            black_box(call(black_box(key)).await);
        }
        thread_time() - start
    })
}

/// The same on several threads at once; how long the slowest took.
fn run_on<F: Future>(
    threads: usize,
    keys: &[&'static str],
    count: u64,
    call: impl Fn(&'static str) -> F + Sync,
) -> Duration {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = runtime();
                    barrier.wait();
                    run(&runtime, keys, count, &call)
                })
            })
            .collect();
        let times = workers
            .into_iter()
            .map(|worker| worker.join().expect("no panic"));
        times.max().expect("there are threads")
    })
}

fn full_keys(keys: &[&str]) -> Vec<&'static str> {
    keys.iter()
        .map(|key| &*format!("{SCOPE}|{key}").leak())
        .collect()
}

/// Replays, on one thread or several.
pub fn replay(threads: usize) -> Table {
    let keys = orders(HOT);
    let full = full_keys(&keys);
    let store = Arc::new(runtime());
    let (moka, quick) = (moka(1 << 20), Quick::new(1 << 20));
    let single = runtime();
    let idempotent = store.block_on(async { MemoryStore::builder().try_build().expect("a store") });
    single.block_on(async {
        for (key, full) in keys.iter().zip(&full) {
            floor::first(full, key).await;
            floor::first_owed(key).await;
        }
    });
    // Each subject is filled by its own calibration.
    let measure = |keys: &[&'static str], count, call: &dyn Measured| {
        if threads == 1 {
            call.single(&single, keys, count)
        } else {
            call.many(threads, keys, count)
        }
    };
    let mut subjects = vec![
        Subject::new(
            "floor: DashMap get + decode",
            "everything but the lookup",
            |count| measure(&full, count, &Call(floor::replay)),
        ),
        Subject::new(
            "floor, writing the key",
            "everything but key and lookup",
            |count| measure(&keys, count, &Call(floor::replay_by_text)),
        ),
        Subject::new(
            "floor, with key and end",
            "everything but key, lookup and end",
            |count| measure(&keys, count, &Call(floor::replay_owed)),
        ),
        Subject::new("idempotent-fn", "", |count| {
            measure(&keys, count, &Call(ours))
        }),
        Subject::new("idempotent-fn, fingerprint", "", |count| {
            measure(&keys, count, &Call(ours_with_fingerprint))
        }),
        Subject::new("quick_cache get_or_insert_async", NO_CLAIM, |count| {
            measure(&keys, count, &Call(|key| with_quick(&quick, key)))
        }),
        Subject::new(
            "cached: concurrent_cached",
            "coalescing, claim, fence, fingerprint, bytes",
            |count| measure(&keys, count, &Call(cached_concurrent)),
        ),
        Subject::new(
            "cached: cached",
            "coalescing, claim, fence, fingerprint, bytes",
            |count| measure(&keys, count, &Call(cached_default)),
        ),
        Subject::new("cached: sync_writes", NO_CLAIM, |count| {
            measure(&keys, count, &Call(cached_sync))
        }),
        Subject::new("cached: sync_writes = by_key", NO_CLAIM, |count| {
            measure(&keys, count, &Call(cached_by_key))
        }),
        Subject::new("moka get_with", NO_CLAIM, |count| {
            measure(&keys, count, &Call(|key| with_moka(&moka, key)))
        }),
    ];
    if threads == 1 {
        subjects.push(Subject::new("idempotent 2.0", "wait", |count| {
            run(&store, &keys, count, |key| {
                with_idempotent(&idempotent, key)
            })
        }));
    }
    let title = format!("Replay in memory, {threads} thread(s), 40-byte result");
    compare(
        if threads == 1 { "replay" } else { "replay2" },
        title,
        ROUNDS,
        None,
        subjects,
    )
}

/// A call on one thread or several, whatever its future's type.
trait Measured {
    fn single(&self, runtime: &Runtime, keys: &[&'static str], count: u64) -> Duration;
    fn many(&self, threads: usize, keys: &[&'static str], count: u64) -> Duration;
}

struct Call<C>(C);

impl<C: Fn(&'static str) -> F + Sync, F: Future> Measured for Call<C> {
    fn single(&self, runtime: &Runtime, keys: &[&'static str], count: u64) -> Duration {
        run(runtime, keys, count, &self.0)
    }

    fn many(&self, threads: usize, keys: &[&'static str], count: u64) -> Duration {
        run_on(threads, keys, count, &self.0)
    }
}

/// First calls: each with a key of its own. Tables grow in some rounds only, so there is a table of
/// means too.
pub fn first() -> [Table; 2] {
    const CALLS: usize = 4_000;
    let keys = orders(CALLS * (ROUNDS + 1));
    let full = full_keys(&keys);
    let runtime = runtime();
    let (moka, quick) = (moka(1 << 24), Quick::new(1 << 20));
    let idempotent =
        runtime.block_on(async { MemoryStore::builder().try_build().expect("a store") });
    // Every subject goes through the same keys, a sample's worth at a time.
    let fresh = |turn: &Cell<usize>| {
        let from = turn.replace(turn.get() + CALLS);
        from..from + CALLS
    };
    let turns: [Cell<usize>; 9] = Default::default();
    let runtime = &runtime;
    floor::FLOOR.clear();
    floor::KEPT.clear();
    let by_full = |range: std::ops::Range<usize>| (&full[range.clone()], &keys[range]);
    let subjects = vec![
        Subject::new(
            "floor: claim + encode + complete",
            "everything else",
            |count| {
                let (full, keys) = by_full(fresh(&turns[0]));
                runtime.block_on(async {
                    let start = thread_time();
                    for at in 0..count as usize {
                        black_box(floor::first(full[at], keys[at]).await.expect("fresh"));
                    }
                    thread_time() - start
                })
            },
        ),
        Subject::new(
            "floor, with what a call owes",
            "retries, waiting, sweep, fence, fingerprint",
            |count| run(runtime, &keys[fresh(&turns[1])], count, floor::first_owed),
        ),
        Subject::new("idempotent-fn", "", |count| {
            run(runtime, &keys[fresh(&turns[2])], count, ours)
        }),
        Subject::new("idempotent-fn, fingerprint", "", |count| {
            run(
                runtime,
                &keys[fresh(&turns[3])],
                count,
                ours_with_fingerprint,
            )
        }),
        Subject::new("quick_cache get_or_insert_async", NO_CLAIM, |count| {
            run(runtime, &keys[fresh(&turns[4])], count, |key| {
                with_quick(&quick, key)
            })
        }),
        Subject::new(
            "cached: concurrent_cached",
            "coalescing, claim, fence, fingerprint, bytes",
            |count| run(runtime, &keys[fresh(&turns[5])], count, cached_concurrent),
        ),
        Subject::new("cached: sync_writes = by_key", NO_CLAIM, |count| {
            run(runtime, &keys[fresh(&turns[6])], count, cached_by_key)
        }),
        Subject::new("moka get_with", NO_CLAIM, |count| {
            run(runtime, &keys[fresh(&turns[7])], count, |key| {
                with_moka(&moka, key)
            })
        }),
        Subject::new("idempotent 2.0", "wait", |count| {
            run(runtime, &keys[fresh(&turns[8])], count, |key| {
                with_idempotent(&idempotent, key)
            })
        }),
    ];
    let rounds = Rounds::run(ROUNDS, Some(CALLS as u64), subjects);
    [
        rounds.medians("first", "First call in memory, body inline"),
        rounds.means(
            "first-mean",
            "The same, all rounds together: with all that the tables' growth takes",
        ),
    ]
}
