//! A body without an await: its call ends in the first poll, and does everything that other calls
//! do.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    thread,
};

use super::{Call, LEASE};
use crate::common::{Answer, poll_once};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, operation,
    store::{ManualClock, MemoryStore},
    try_current,
};
use tokio::runtime::Builder;

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("no_wait", &[&"k"])
        .store(store)
        .lease(LEASE)
}

#[tokio::test]
async fn it_ends_with_its_first_poll() {
    let store = SharedStore::new(MemoryStore::new());
    let mut call: Call = Box::pin(charge(&store).run(async { Ok(1) }));
    assert!(matches!(poll_once(&mut call), Poll::Ready(Ok(1))));
    assert_eq!(charge(&store).run(async { Ok(2) }).await.unwrap(), 1);
}

/// It held its thread for longer than its lease: what another attempt has recorded meanwhile is the
/// key's result.
#[tokio::test]
async fn an_overtaken_one_answers_with_what_is_recorded() {
    let clock = ManualClock::new();
    let store = SharedStore::new(MemoryStore::with_clock(&clock));
    let other = store.clone();
    let answer = charge(&store).run(async move {
        clock.advance(2 * LEASE);
        let overtaking = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(charge(&other).run(async { Ok(2) }))
        });
        assert_eq!(overtaking.join().unwrap().unwrap(), 2);
        Ok(1)
    });
    assert_eq!(answer.await.unwrap(), 2);
    assert_eq!(store.counters().stale(), 1);
}

/// Tells which attempt's body it is dropped in.
struct Witness(mpsc::Sender<Option<u32>>);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self
            .0
            .send(try_current().map(|execution| execution.attempt()));
    }
}

/// A body that panics, and still holds what it held.
struct Panics(#[expect(dead_code, reason = "it is dropped")] Witness);

impl Future for Panics {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        panic!("the body");
    }
}

/// The body is dropped in its own context, the key is free, and the call is over.
#[tokio::test]
async fn a_panic_is_settled_before_it_goes_on() {
    let store = SharedStore::new(MemoryStore::new());
    let (sender, dropped) = mpsc::channel();
    let mut call: Call = Box::pin(charge(&store).run(Panics(Witness(sender))));
    let poll = |call: &mut Call| catch_unwind(AssertUnwindSafe(|| poll_once(call))).is_err();
    assert!(poll(&mut call));
    assert_eq!(dropped.try_recv(), Ok(Some(1)));
    assert!(poll(&mut call), "an ended call is not to be polled");
    assert_eq!(charge(&store).run(async { Ok(2) }).await.unwrap(), 2);
}

/// From its first poll on, its effects may have happened.
#[tokio::test]
async fn a_panic_leaves_the_key_in_doubt_under_fail() {
    let store = SharedStore::new(MemoryStore::new());
    let charge = || charge(&store).on_crash(OnCrash::Fail);
    let (sender, _dropped) = mpsc::channel();
    let mut call: Call = Box::pin(charge().run(Panics(Witness(sender))));
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(&mut call))).is_err());
    let next = charge().run(async { Ok(2) }).await;
    assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}");
}
