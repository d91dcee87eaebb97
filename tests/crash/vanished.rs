//! A store loses a record while its owner lives.

use std::time::Duration;

use super::Call;
use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Faulty, Op},
    poll_once, poll_until,
    refusal::Refusal,
    until, yields,
};
use idempotent_fn::{
    Error, OnCrash, OnErr, Operation, SharedStore, operation,
    record::{HOLD, State},
    store::{ManualClock, MemoryStore},
};

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

/// What is past its end has not vanished: whoever waited for it is in no doubt, however short its
/// `ttl`.
#[tokio::test]
async fn a_waiter_runs_after_what_it_saw_was_finished_and_is_past_its_end() {
    for released in [true, false] {
        for Setting {
            there,
            here,
            faulty,
            clock,
        } in settings()
        {
            let Some(faulty) = faulty else { continue };
            let effects = Effects::new();
            let call = |store| {
                let operation =
                    operation::<Result<u32, Refusal>, _>("vanished", &[&"k"]).store(store);
                let short = operation
                    .on_crash(OnCrash::Fail)
                    .ttl(Duration::from_secs(1));
                let effects = effects.clone();
                short.on_err(OnErr::Rerun).wait(GENEROUS).run(async move {
                    effects.start();
                    yields(30).await;
                    match effects.finish() {
                        1 if released => Err(Refusal::Declined(1)),
                        finished => Ok(finished),
                    }
                })
            };
            let mut owner = Box::pin(call(&there));
            poll_until(&mut owner, || effects.started() == 1).await;
            let mut waiter = Box::pin(call(&here));
            let asked = || faulty.sent(Op::Subscribe) == 1 && faulty.sent(Op::Claim) == 3;
            poll_until(&mut waiter, asked).await;
            assert_eq!(owner.await.is_err(), released);
            clock.advance(Duration::from_secs(2));
            assert_eq!(waiter.await.unwrap(), 2, "released: {released}");
            let kept = charge(&here, OnCrash::Fail).inspect().await.unwrap();
            assert_eq!(kept.expect("a record").state, State::Done);
        }
    }
}
