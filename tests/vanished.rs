//! A record that the store has lost while its owner lives.

mod common;

use std::{pin::Pin, time::Duration};

use common::{
    Answer, Effects, GENEROUS,
    faulty::{Faulty, Op},
    poll_once, poll_until, until,
};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, operation,
    record::{HOLD, State},
    store::{ManualClock, MemoryStore},
};

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One store, two processes; after `HOLD` the record is gone, as after an eviction.
struct Setting {
    there: SharedStore,
    here: SharedStore,
    faulty: Option<Faulty>,
    clock: ManualClock,
}

fn settings() -> [Setting; 2] {
    let clock = ManualClock::new();
    let memory = SharedStore::new(MemoryStore::with_clock(&clock));
    let local = Setting {
        there: memory.clone(),
        here: memory,
        faulty: None,
        clock,
    };
    let clock = ManualClock::new();
    let faulty = Faulty::around(MemoryStore::with_clock(&clock));
    let apart = Setting {
        there: SharedStore::new(faulty.clone()),
        here: SharedStore::new(faulty.clone()),
        faulty: Some(faulty),
        clock,
    };
    [local, apart]
}

fn charge(store: &SharedStore, on_crash: OnCrash) -> Operation<u32, Error> {
    operation::<Answer, _>("vanished", &[&"k"])
        .store(store)
        .on_crash(on_crash)
        .wait(GENEROUS)
}

async fn running(operation: Operation<u32, Error>, effects: &Effects) -> Call {
    let mut owner: Call = Box::pin(operation.run(effects.body(30)));
    poll_until(&mut owner, || effects.started() == 1).await;
    owner
}

#[tokio::test]
async fn a_finish_puts_its_record_back() {
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        for Setting {
            there, here, clock, ..
        } in settings()
        {
            let effects = Effects::new();
            let owner = running(charge(&there, on_crash), &effects).await;
            clock.advance(HOLD);
            assert!(charge(&here, on_crash).inspect().await.unwrap().is_none());
            assert_eq!(owner.await.unwrap(), 1);
            assert_eq!(there.counters().record_lost(), 1);
            let replay = charge(&here, on_crash).run(effects.body(0));
            assert_eq!(replay.await.unwrap(), 1);
            assert_eq!(effects.started(), 1);
        }
    }
}

#[tokio::test]
async fn a_heartbeat_puts_its_record_back() {
    for Setting {
        there, here, clock, ..
    } in settings()
    {
        let effects = Effects::new();
        let call = charge(&there, OnCrash::Rerun).lease(Duration::from_millis(30));
        let owner = tokio::spawn(call.run(effects.hang()));
        until(|| effects.started() == 1).await;
        clock.advance(HOLD);
        until(|| there.counters().record_lost() > 0).await;
        let seen = charge(&here, OnCrash::Rerun).inspect().await.unwrap();
        assert_eq!(seen.map(|seen| seen.state), Some(State::Running));
        owner.abort();
    }
}

/// Who has seen an owner that must not be repeated, and then nothing, does not run.
#[tokio::test]
async fn a_waiter_that_saw_an_owner_under_fail_is_in_doubt() {
    for Setting {
        there,
        here,
        faulty,
        clock,
    } in settings()
    {
        let effects = Effects::new();
        let owner = running(charge(&there, OnCrash::Fail), &effects).await;
        // Whatever its own option says: the record's counts.
        let mut waiter: Call = Box::pin(charge(&here, OnCrash::Rerun).run(effects.body(0)));
        let is_waiting = || {
            faulty
                .as_ref()
                .is_none_or(|faulty| faulty.sent(Op::Subscribe) > 0)
        };
        poll_until(&mut waiter, is_waiting).await;
        for _ in 0..20 {
            assert!(poll_once(&mut waiter).is_pending());
        }
        clock.advance(HOLD);
        let answer = waiter.await;
        assert!(
            matches!(answer, Err(Error::Indeterminate { .. })),
            "{answer:?}"
        );
        assert_eq!(effects.started(), 1);
        assert_eq!(owner.await.unwrap(), 1, "and its owner settles it");
        let replay = charge(&here, OnCrash::Fail).run(effects.body(0));
        assert_eq!(replay.await.unwrap(), 1);
    }
}
