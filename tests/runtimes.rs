//! Tokio runtimes without timers or I/O: a clear error before anything is claimed, and no panic
//! that reaches the program's panic hook. A test program of its own, because a process has one
//! hook.
#![cfg(feature = "redis")]

mod common;

use std::{
    panic,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use common::{Answer, Effects};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, drain, operation,
    store::{MemoryStore, RedisStore},
};
use tokio::runtime::{Builder, Runtime};

static PANICS: AtomicU32 = AtomicU32::new(0);

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("runtimes", &[&"k"]).store(store)
}

/// What a runtime lacks, how to make one, and the words that name it.
type Lacking = (fn() -> Builder, fn(&mut Builder), [&'static str; 2]);

fn runtimes() -> impl Iterator<Item = (Runtime, [&'static str; 2])> {
    let lacking: [Lacking; 4] = [
        (
            Builder::new_current_thread,
            |_| {},
            ["timers", "enable_time"],
        ),
        (Builder::new_multi_thread, |_| {}, ["timers", "enable_time"]),
        (
            Builder::new_current_thread,
            |builder| {
                builder.enable_time();
            },
            ["I/O", "enable_io"],
        ),
        (
            Builder::new_multi_thread,
            |builder| {
                builder.enable_time();
            },
            ["I/O", "enable_io"],
        ),
    ];
    lacking.into_iter().map(|(make, enable, words)| {
        let mut builder = make();
        enable(&mut builder);
        (builder.build().unwrap(), words)
    })
}

fn says(error: &Error, words: [&str; 2]) {
    assert!(matches!(error, Error::Config { .. }), "{error:?}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_runtime_without_timers_or_io_is_told_so_without_a_panic() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        hook(info);
    }));
    let effects = Effects::new();
    for (runtime, words) in runtimes() {
        // Nobody listens there; nobody is asked, either.
        let redis = SharedStore::new(RedisStore::new("redis://127.0.0.1:1/").unwrap());
        let memory = SharedStore::new(MemoryStore::new());
        let has_timers = words[0] != "timers";
        for _ in 0..2 {
            for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
                let call = || charge(&redis).on_crash(on_crash);
                let error = runtime.block_on(call().run(effects.body(1))).unwrap_err();
                says(&error, words);
                let error = runtime.block_on(call().run_attached(effects.body(1)));
                says(&error.unwrap_err(), words);
            }
            says(
                &runtime.block_on(charge(&redis).inspect()).unwrap_err(),
                words,
            );
            says(
                &runtime.block_on(charge(&redis).forget()).unwrap_err(),
                words,
            );
            let answer = runtime.block_on(charge(&memory).run(effects.body(1)));
            if has_timers {
                answer.unwrap();
            } else {
                says(&answer.unwrap_err(), words);
            }
            runtime.block_on(drain(Duration::ZERO));
            assert_eq!((redis.in_flight(), memory.in_flight()), (0, 0));
        }
    }
    assert_eq!(effects.started(), 2, "in memory, where there are timers");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    // The hook is where it was.
    panic::catch_unwind(|| panic!("the test's own")).unwrap_err();
    assert_eq!(PANICS.load(Ordering::SeqCst), 1);
}
