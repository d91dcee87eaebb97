//! A deploy changes an operation's options while an owner runs: the owner's record decides.

use std::time::Duration;

use super::{LEASE, held, store};
use crate::common::{Answer, Effects, GENEROUS};
use idempotent_fn::{Error, OnCrash, Operation, SharedStore, operation};

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("deploy", &[&"k"])
        .store(store)
        .lease(LEASE)
        .wait(GENEROUS)
}

/// Whatever a deploy changes, a running owner's record says how it is treated.
#[tokio::test]
async fn a_deploy_takes_nothing_over() {
    for before in [OnCrash::Rerun, OnCrash::Fail] {
        for after in [OnCrash::Rerun, OnCrash::Fail] {
            let (store, clock) = store();
            let effects = Effects::new();
            let day = Duration::from_secs(24 * 60 * 60);
            let old = || charge(&store).on_crash(before).lease(day).ttl(day);
            let new = |ms| {
                let short = Duration::from_millis(ms);
                let operation = charge(&store).on_crash(after).lease(short).ttl(short);
                operation.wait(Duration::ZERO).run(effects.body(0))
            };
            let owner = held(old(), &effects);
            clock.advance(Duration::from_secs(24 * 60 * 60 - 1));
            for ms in [1, 1000] {
                let answer = new(ms).await.unwrap_err();
                assert_eq!(answer.lease_left(), Some(Duration::from_secs(1)));
            }
            assert_eq!(owner.await.unwrap(), 1);
            assert_eq!(new(1).await.unwrap(), 1);
            assert_eq!((effects.started(), store.counters().stale()), (1, 0));
        }
    }
}

/// The record's own `on_crash` counts, not the later caller's.
#[tokio::test]
async fn the_policy_is_the_records() {
    for (before, after) in [
        (OnCrash::Fail, OnCrash::Rerun),
        (OnCrash::Rerun, OnCrash::Fail),
    ] {
        let (store, clock) = store();
        let (lost, effects) = (Effects::new(), Effects::new());
        std::mem::forget(held(charge(&store).on_crash(before), &lost));
        clock.advance(LEASE);
        let next = charge(&store).on_crash(after).run(effects.body(0)).await;
        match before {
            OnCrash::Fail => assert!(matches!(next, Err(Error::Indeterminate { .. }))),
            _ => assert_eq!(next.unwrap(), 1),
        }
    }
}

/// `ttl` is for results only: one shorter than the lease frees no running owner's key.
#[tokio::test]
async fn a_short_ttl_touches_no_owner() {
    let (store, clock) = store();
    let effects = Effects::new();
    let call = || charge(&store).ttl(Duration::from_millis(1));
    let owner = held(call(), &effects);
    clock.advance(LEASE / 2);
    let duplicate = call().wait(Duration::ZERO).run(effects.body(0)).await;
    assert!(matches!(duplicate, Err(Error::InFlight { .. })));
    assert_eq!(owner.await.unwrap(), 1);
    assert_eq!(effects.started(), 1);
}
