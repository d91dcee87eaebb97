//! Owners that panic, fall silent or come back late, and messages that get lost.

#[path = "../common/mod.rs"]
mod common;

use std::{pin::Pin, time::Duration};

use idempotent_fn::{
    Error, Operation, SharedStore,
    store::{ManualClock, MemoryStore},
};

use self::common::{Answer, Effects, poll_once};

mod coop;
mod deploy;
mod late;
mod no_wait;
mod owners;
mod vanished;

const LEASE: Duration = Duration::from_secs(30);

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A store whose clock the test moves.
fn store() -> (SharedStore, ManualClock) {
    let clock = ManualClock::new();
    (SharedStore::new(MemoryStore::with_clock(&clock)), clock)
}

/// An owner that was polled until its body was pending, and is held from then on.
fn held(operation: Operation<u32, Error>, effects: &Effects) -> Call {
    let mut call: Call = Box::pin(operation.run(effects.body(1)));
    assert!(poll_once(&mut call).is_pending());
    assert_eq!(effects.started(), 1);
    call
}
