//! Waiters change nothing, and a record that vanished is no permission to run.

use std::{pin::Pin, time::Duration};

use crate::common::{
    Answer, Effects, GENEROUS,
    bytes::Bytes,
    faulty::{Fault, Faulty, Op},
    poll_until, settled,
};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, key::Key, operation, record::State, store::MemoryStore,
};

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("waiting", &[&"k"])
        .store(store)
        .wait(GENEROUS)
}

/// Giving up waiting is not giving up the claim, which is the owner's.
#[tokio::test]
async fn a_waiter_whose_time_is_over_leaves_the_owner_its_claim() {
    let (memory, link) = (SharedStore::new(MemoryStore::new()), Bytes::default());
    let elsewhere = SharedStore::new(link.clone());
    for (owners, waiters) in [
        (memory.clone(), memory),
        (elsewhere.clone(), elsewhere.clone()),
        (
            elsewhere.with_namespace("other"),
            SharedStore::new(link).with_namespace("other"),
        ),
    ] {
        let effects = Effects::new();
        let mut owner: Call = Box::pin(charge(&owners).run(effects.body(60)));
        poll_until(&mut owner, || effects.started() == 1).await;
        for wait in [0, 20] {
            let wait = Duration::from_millis(wait);
            for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
                let call = charge(&waiters).wait(wait).on_crash(on_crash);
                let error = call.run(effects.body(0)).await.unwrap_err();
                assert!(matches!(error, Error::InFlight { .. }), "{error:?}");
            }
            let inspected = charge(&waiters).inspect().await.unwrap().unwrap();
            assert_eq!((inspected.state, inspected.attempts), (State::Running, 1));
        }
        assert_eq!(owner.await.unwrap(), 1);
        assert_eq!(charge(&waiters).run(effects.body(0)).await.unwrap(), 1);
        assert_eq!((effects.started(), owners.counters().stale()), (1, 0));
        settled(&owners).await;
    }
}

/// A record that was there and is gone: the store has lost it, or its owner has been forgotten.
/// Under `fail` nobody may take that for a free key.
#[tokio::test]
async fn a_record_that_vanishes_under_its_waiters_is_no_permission_under_fail() {
    for on_crash in [OnCrash::Fail, OnCrash::Rerun] {
        let link = Bytes::default();
        let (here, there) = (
            SharedStore::new(link.clone()),
            SharedStore::new(link.clone()),
        );
        let (effects, waiters) = (Effects::new(), Effects::new());
        let owner = charge(&there)
            .on_crash(on_crash)
            .run_attached(effects.hang());
        let mut owner: Call = Box::pin(owner);
        poll_until(&mut owner, || effects.started() == 1).await;
        let waiter = charge(&here).on_crash(on_crash).run(waiters.body(0));
        let mut waiter: Call = Box::pin(waiter);
        poll_until(&mut waiter, || link.notifier.len() == 1).await;
        let key = Key::new("waiting", &[&"k"]).expect("a valid key");
        link.lose(&key);
        let answer = waiter.await;
        if on_crash == OnCrash::Fail {
            assert!(
                matches!(answer, Err(Error::Indeterminate { .. })),
                "{answer:?}"
            );
            assert_eq!(waiters.started(), 0);
        } else {
            assert_eq!(answer.unwrap(), 1);
        }
        drop(owner);
        settled(&there).await;
    }
}

/// A waiter under `fail` looks at the record before each claim. One look without an answer, or one
/// that the store puts off, ends no waiting.
#[tokio::test]
async fn a_lost_look_at_the_record_ends_no_waiting() {
    for fault in [
        Fault::LostReply,
        Fault::LostCommand,
        Fault::NotSent,
        Fault::Busy,
    ] {
        let link = Faulty::new();
        let (here, there) = (
            SharedStore::new(link.clone()),
            SharedStore::new(link.clone()),
        );
        let (effects, waiters) = (Effects::new(), Effects::new());
        let owner = charge(&there).on_crash(OnCrash::Fail);
        let mut owner: Call = Box::pin(owner.run(effects.body(400)));
        poll_until(&mut owner, || effects.started() == 1).await;
        link.next(Op::Read, [fault, fault]);
        let waiter = charge(&here).on_crash(OnCrash::Fail);
        let waiter = waiter.run(waiters.body(0));
        let (owned, waited) = tokio::join!(owner, waiter);
        assert_eq!((owned.unwrap(), waited.unwrap()), (1, 1), "{fault:?}");
        assert_eq!(link.happened(Op::Read, fault), 2, "{fault:?}");
        assert_eq!(waiters.started(), 0);
        settled(&there).await;
    }
}
