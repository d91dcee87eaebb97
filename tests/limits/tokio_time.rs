//! A memory store on Tokio's clock: leases, waits and `ttl` use the clock that a test pauses and
//! advances.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use crate::common::{Answer, Effects};
use idempotent_fn::{Error, Operation, SharedStore, operation, store::MemoryStore};
use tokio::time;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn store() -> SharedStore {
    MemoryStore::on_tokio_time().into()
}

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("tokio_time", &[&"k"])
        .store(store)
        .ttl(HOUR)
}

#[tokio::test(start_paused = true)]
async fn a_result_is_replayed_for_its_ttl_of_tokios_time() {
    let (store, effects) = (store(), Effects::new());
    assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
    time::advance(Duration::from_millis(60 * 60 * 1000 - 1)).await;
    assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
    time::advance(Duration::from_millis(1)).await;
    assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 2);
}

/// An owner that is polled once and then kept: whoever waits for it takes over when its lease is
/// up, by the clock that it waits by.
#[tokio::test(start_paused = true)]
async fn a_lease_lapses_by_the_clock_that_waiters_wait_by() {
    let (store, effects) = (store(), Effects::new());
    let lease = Duration::from_secs(30);
    let mut owner = pin!(charge(&store).lease(lease).run(std::future::pending()));
    let polled = std::future::poll_fn(|cx| Poll::Ready(owner.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    let begun = time::Instant::now();
    let waiter = charge(&store).lease(lease).wait(HOUR).run(effects.body(0));
    assert_eq!(waiter.await.unwrap(), 1);
    let waited = begun.elapsed();
    assert!(waited >= lease && waited < 2 * lease, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_over_by_the_same_clock() {
    let (store, effects) = (store(), Effects::new());
    let mut owner = pin!(charge(&store).lease(HOUR).run(std::future::pending()));
    let polled = std::future::poll_fn(|cx| Poll::Ready(owner.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    let waiter = charge(&store)
        .wait(Duration::from_secs(10))
        .run(effects.body(0));
    let answer = waiter.await;
    assert!(matches!(answer, Err(Error::InFlight { .. })), "{answer:?}");
}
