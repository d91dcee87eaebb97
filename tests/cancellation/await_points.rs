//! Drops a call at every await point: no key stays blocked, and no body runs that must not.

use std::{pin::Pin, time::Duration};

use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_once, settled,
};
use idempotent_fn::{Error, OnCrash, SharedStore, operation, store::MemoryStore};

/// The body's own await points.
const PAUSES: usize = 4;

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Detached,
    Attached,
}

fn call(store: &SharedStore, effects: &Effects, mode: Mode, on_crash: OnCrash) -> Call {
    let operation = operation::<Answer, _>("cancellation", &[&"k"])
        .store(store)
        .on_crash(on_crash)
        .wait(GENEROUS);
    let body = effects.body(PAUSES);
    match mode {
        Mode::Detached => Box::pin(operation.run(body)),
        Mode::Attached => Box::pin(operation.run_attached(body)),
    }
}

/// Polls `polls` times, moving tokio's stopped clock a little in between.
async fn poll(call: &mut Call, polls: usize) -> Option<Answer> {
    for _ in 0..polls {
        if let std::task::Poll::Ready(answer) = poll_once(call) {
            return Some(answer);
        }
        tokio::time::advance(Duration::from_millis(7)).await;
    }
    None
}

/// Drops a call after 0, 1, 2 … polls, each time in a new store, until it completes; and looks at
/// what the next gets.
async fn at_every_point(store: impl Fn() -> SharedStore, mode: Mode, on_crash: OnCrash) -> usize {
    for polls in 0.. {
        let (store, effects) = (store(), Effects::new());
        let mut first = call(&store, &effects, mode, on_crash);
        let completed = poll(&mut first, polls).await;
        let started_by_first = effects.started();
        let finished_by_first = effects.finished();
        drop(first);

        let next = call(&store, &effects, mode, on_crash).await;
        let case = format!("{mode:?}, {on_crash:?}, dropped after {polls} polls: {next:?}");
        let dropped_midway = started_by_first == 1 && finished_by_first == 0;
        match (mode, on_crash) {
            (Mode::Attached, OnCrash::Fail) if dropped_midway => {
                assert!(matches!(next, Err(Error::Indeterminate { .. })), "{case}");
                assert_eq!((effects.started(), effects.finished()), (1, 0), "{case}");
            }
            (Mode::Attached, OnCrash::Rerun) if dropped_midway => {
                assert!(matches!(next, Ok(1)), "{case}");
                assert_eq!((effects.started(), effects.finished()), (2, 1), "{case}");
            }
            _ => {
                assert!(matches!(next, Ok(1)), "{case}");
                assert_eq!((effects.started(), effects.finished()), (1, 1), "{case}");
            }
        }
        settled(&store).await;
        if let Some(answer) = completed {
            assert!(matches!(answer, Ok(1)), "{case}");
            return polls;
        }
    }
    unreachable!("it completes some time")
}

async fn in_every_mode(store: impl Fn() -> SharedStore, at_least: usize) {
    for mode in [Mode::Detached, Mode::Attached] {
        for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
            let points = at_every_point(&store, mode, on_crash).await;
            assert!(points >= at_least, "only {points} await points were met");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_memory() {
    in_every_mode(|| SharedStore::new(MemoryStore::new()), PAUSES).await;
}

#[tokio::test(start_paused = true)]
async fn over_a_link() {
    in_every_mode(|| SharedStore::new(Faulty::new()), PAUSES + 4).await;
}

#[tokio::test(start_paused = true)]
async fn over_a_link_that_tells_no_changes() {
    in_every_mode(
        || SharedStore::new(Faulty::new().without_push()),
        PAUSES + 4,
    )
    .await;
}

/// With each of these faults at the first claim or the first finish, and at several in a row.
#[tokio::test(start_paused = true)]
async fn over_a_link_with_faults() {
    for op in [Op::Claim, Op::Finish] {
        for fault in [Fault::LostReply, Fault::LostCommand, Fault::NotSent] {
            for times in [1, 2, 3] {
                let store = || {
                    let faulty = Faulty::new();
                    faulty.next(op, std::iter::repeat_n(fault, times));
                    SharedStore::new(faulty)
                };
                in_every_mode(store, PAUSES + 4).await;
            }
        }
    }
}
