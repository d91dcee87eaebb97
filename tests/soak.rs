//! Ten thousand calls at once, dropped at random: nothing is left behind, nothing hangs, and
//! nothing runs twice.
//!
//! `SOAK_TASKS` and `SOAK_SEED` set another size and seed; `scripts/soak` uses them.

mod common;

use std::{
    collections::HashMap,
    env,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use common::{bytes::Bytes, settled, yields};
use idempotent_fn::{
    Error, OnCrash, SharedStore, operation,
    store::{KeyNotifier, MemoryStore},
};
use tokio::task::JoinSet;

/// Whoever waits longer than this, hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Nobody here is silent for so long: a repeated effect has no excuse.
const LEASE: Duration = Duration::from_secs(24 * 60 * 60);

fn setting(name: &str, default: u64) -> u64 {
    let given = env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

fn tasks() -> u64 {
    setting("SOAK_TASKS", 10_000)
}

/// A number drawn from the seed for each task (splitmix64).
fn draw(task: u64) -> u64 {
    let mut bits = (setting("SOAK_SEED", 1) << 32 ^ task).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Polls the call so many times, and then lets go of it.
async fn within<F: Future>(polls: u64, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        cx.waker().wake_by_ref();
        call.as_mut().poll(cx).map(Some)
    })
    .await
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Bodies are finished: each key has one effect.
    Finished,
    /// Bodies stop with their callers, and their effects must not be repeated: each key has one
    /// effect at most.
    AtMostOnce,
}

/// What happened, by key.
struct Ledger {
    started: Vec<AtomicU32>,
    ended: Vec<AtomicU32>,
    given_up: AtomicUsize,
}

impl Ledger {
    fn new(keys: usize) -> Arc<Self> {
        let zeros = || (0..keys).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self {
            started: zeros(),
            ended: zeros(),
            given_up: AtomicUsize::new(0),
        })
    }
}

async fn call(
    store: SharedStore,
    mode: Mode,
    key: usize,
    ledger: Arc<Ledger>,
) -> Result<u64, Error> {
    let at_most_once = mode == Mode::AtMostOnce;
    let operation = operation::<Result<u64, Error>, _>("soak", &[&key])
        .store(&store)
        .lease(LEASE)
        .wait(PATIENCE * 2)
        .on_crash(if at_most_once {
            OnCrash::Fail
        } else {
            OnCrash::Rerun
        });
    let body = async move {
        ledger.started[key].fetch_add(1, Ordering::SeqCst);
        yields(usize::try_from(draw(key as u64) % 8).expect("small")).await;
        ledger.ended[key].fetch_add(1, Ordering::SeqCst);
        Ok(idempotent_fn::current().fencing_token())
    };
    if at_most_once {
        operation.run_attached(body).await
    } else {
        operation.run(body).await
    }
}

/// All tasks at once on `keys` keys, through handles that are as good as processes of their own.
async fn soak(handles: &[SharedStore], mode: Mode, keys: usize) {
    let ledger = Ledger::new(keys);
    let mut running = JoinSet::new();
    for task in 0..tasks() {
        let drawn = draw(task);
        let key = usize::try_from(task).expect("small") % keys;
        let store = handles[usize::try_from(drawn >> 8).expect("64 bits") % handles.len()].clone();
        // A third is patient.
        let polls = if drawn.is_multiple_of(3) {
            u64::MAX
        } else {
            (drawn >> 32) % 24
        };
        let ledger = Arc::clone(&ledger);
        running.spawn(async move {
            let answer = within(polls, call(store, mode, key, Arc::clone(&ledger))).await;
            if answer.is_none() {
                ledger.given_up.fetch_add(1, Ordering::SeqCst);
            }
            (key, answer)
        });
    }
    let mut answers: HashMap<usize, u64> = HashMap::new();
    while let Some(ended) = running.join_next().await {
        match ended.expect("no task panics") {
            (key, Some(Ok(answer))) => {
                let known = *answers.entry(key).or_insert(answer);
                assert_eq!(known, answer, "key {key} has two results");
            }
            (_, Some(Err(Error::Indeterminate { .. }))) if mode == Mode::AtMostOnce => {}
            (key, Some(Err(error))) => panic!("key {key}: {error:?}"),
            (_, None) => {}
        }
    }
    for store in handles {
        settled(store).await;
    }
    assert!(
        ledger.given_up.load(Ordering::SeqCst) > 0,
        "nobody was given up"
    );
    check(handles, mode, &ledger, &answers).await;
}

async fn check(
    handles: &[SharedStore],
    mode: Mode,
    ledger: &Arc<Ledger>,
    answers: &HashMap<usize, u64>,
) {
    for (key, started) in ledger.started.iter().enumerate() {
        let late = call(handles[0].clone(), mode, key, Arc::clone(ledger)).await;
        let (started, ended) = (
            started.load(Ordering::SeqCst),
            ledger.ended[key].load(Ordering::SeqCst),
        );
        match late {
            Ok(answer) => {
                assert_eq!((started, ended), (1, 1), "key {key}");
                assert_eq!(*answers.get(&key).unwrap_or(&answer), answer, "key {key}");
            }
            Err(Error::Indeterminate { .. }) => {
                assert_eq!(
                    (mode, started),
                    (Mode::AtMostOnce, 1),
                    "key {key}: in doubt only if it had begun"
                );
            }
            Err(error) => panic!("key {key}: {error:?}"),
        }
    }
}

/// Runs all of it, in a runtime that is empty again at the end.
fn with(handles: impl Fn() -> (Vec<SharedStore>, Option<KeyNotifier>), mode: Mode) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for keys in [1, usize::try_from(tasks()).expect("small")] {
            let (handles, notifier) = handles();
            let soaked = tokio::time::timeout(PATIENCE, soak(&handles, mode, keys)).await;
            soaked.unwrap_or_else(|_| panic!("{mode:?} on {keys} keys hangs"));
            if let Some(notifier) = notifier {
                assert_eq!(notifier.len(), 0, "somebody still waits");
            }
        }
        common::until(|| {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
                == 0
        })
        .await;
    });
}

fn memory() -> (Vec<SharedStore>, Option<KeyNotifier>) {
    let memory = MemoryStore::new();
    let handles = [SharedStore::new(memory.clone()), SharedStore::new(memory)];
    (handles.into(), None)
}

fn remote() -> (Vec<SharedStore>, Option<KeyNotifier>) {
    let place = Bytes::default();
    let handles = [
        SharedStore::new(place.clone()),
        SharedStore::new(place.clone()),
    ];
    (handles.into(), Some(place.notifier))
}

#[test]
fn in_memory_bodies_are_finished() {
    with(memory, Mode::Finished);
}

#[test]
fn in_memory_bodies_stop() {
    with(memory, Mode::AtMostOnce);
}

#[test]
fn over_a_link_bodies_are_finished() {
    with(remote, Mode::Finished);
}

#[test]
fn over_a_link_bodies_stop() {
    with(remote, Mode::AtMostOnce);
}
