//! What is owed to a store that refuses or does not answer: it is bounded and counted, and never
//! causes a second run.

use std::time::Duration;

use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_until, settled, until,
};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, operation,
    record::State,
    store::{ManualClock, MemoryStore},
};

const LEASE: Duration = Duration::from_secs(30);

fn store() -> (Faulty, SharedStore, ManualClock) {
    let clock = ManualClock::new();
    let faulty = Faulty::around(MemoryStore::with_clock(&clock));
    (faulty.clone(), SharedStore::new(faulty), clock)
}

fn charge(store: &SharedStore, key: u32) -> Operation<u32, Error> {
    operation::<Answer, _>("owed", &[&key])
        .store(store)
        .lease(LEASE)
        .wait(GENEROUS)
}

fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// A store that hangs, and 20,000 callers that do not wait for long.
#[tokio::test(start_paused = true)]
async fn calls_against_a_store_that_hangs_leave_a_bounded_number_of_tasks() {
    const CALLS: u32 = 20_000;
    const BOUND: usize = 1024;
    let (faulty, store, _) = store();
    faulty.always(Op::Claim, Fault::Hang);
    for wait in [Duration::ZERO, Duration::from_secs(1)] {
        let before = tasks();
        let calls: Vec<_> = (0..CALLS)
            .map(|key| {
                let call = charge(&store, key).wait(wait);
                tokio::spawn(call.run(async { unreachable!("there is no grant") }))
            })
            .collect();
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        }
        assert!(tasks() - before <= BOUND, "{} tasks", tasks() - before);
        assert!(store.counters().owed() <= BOUND);
    }
    let counts = store.counters().all();
    assert_eq!(counts.unavailable, u64::from(2 * CALLS));
    assert_eq!(counts.owed_dropped, u64::from(2 * CALLS) - BOUND as u64);
    // They ask less and less often, and under `rerun` no longer than the leases can be.
    let sent = faulty.sent(Op::Claim);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let asked = faulty.sent(Op::Claim) - sent;
    assert!(asked <= 12 * 1024, "{asked} times");
    assert_eq!((store.counters().owed(), tasks()), (0, 0));
}

/// What the store has answered, or was never sent, owes nothing.
#[tokio::test]
async fn a_definite_answer_owes_nothing() {
    for fault in [Fault::Refused, Fault::NotSent, Fault::Busy] {
        let (faulty, store, _) = store();
        faulty.always(Op::Claim, fault);
        for key in 0..50 {
            let call = charge(&store, key).wait(Duration::ZERO);
            let error = call.run(async { Ok(1) }).await.unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        }
        assert_eq!((store.counters().owed(), tasks()), (0, 0), "{fault:?}");
        assert_eq!(store.counters().owed_dropped(), 0);
    }
}

/// A store that says it will serve soon is worth the caller's `wait`; one that just refuses is not.
#[tokio::test]
async fn a_store_that_will_serve_soon_is_waited_for() {
    let (faulty, store, _) = store();
    let effects = Effects::new();
    faulty.next(Op::Claim, [Fault::Busy; 8]);
    assert_eq!(charge(&store, 1).run(effects.body(0)).await.unwrap(), 1);
    assert_eq!(faulty.happened(Op::Claim, Fault::Busy), 8);

    faulty.next(Op::Claim, [Fault::Refused]);
    let refused = charge(&store, 2).run(effects.body(0)).await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );

    faulty.next(Op::Claim, [Fault::Busy]);
    let no_wait = charge(&store, 3).wait(Duration::ZERO);
    let busy = no_wait.run(effects.body(0)).await;
    assert!(matches!(busy, Err(Error::Unavailable { .. })), "{busy:?}");
    assert_eq!(effects.started(), 1);
}

/// A finish that is refused because of what it carries is followed by one without that.
#[tokio::test]
async fn a_result_that_the_server_does_not_take_is_recorded_as_not_recorded() {
    // Refused while the caller is there; or, after an answer that was lost, in the background.
    for faults in [
        vec![Fault::TooLarge],
        vec![Fault::LostCommand, Fault::TooLarge],
        vec![Fault::LostCommand, Fault::Refused, Fault::TooLarge],
    ] {
        for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
            let (faulty, store, clock) = store();
            let effects = Effects::new();
            faulty.next(Op::Finish, faults.clone());
            let call = || charge(&store, 1).on_crash(on_crash);
            assert_eq!(
                call().run(effects.body(1)).await.unwrap(),
                1,
                "its caller gets it"
            );
            settled(&store).await;
            assert_eq!(faulty.happened(Op::Finish, Fault::TooLarge), 1);
            // However long the lease has been over.
            clock.advance(LEASE * 10);
            for _ in 0..4 {
                let again = call().run(effects.body(1)).await;
                assert!(matches!(again, Err(Error::NotRecorded { .. })), "{again:?}");
            }
            assert_eq!(effects.started(), 1);
            assert_eq!(store.counters().not_recordable(), 1);
        }
    }
}

/// A store that claims and renews, and takes no finish: the body does not run again while this
/// process lives.
#[tokio::test(start_paused = true)]
async fn while_a_finish_is_refused_its_lease_is_kept() {
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        let (faulty, store, clock) = store();
        let elsewhere = SharedStore::new(faulty.clone());
        let effects = Effects::new();
        faulty.always(Op::Finish, Fault::Refused);
        let call = |store| charge(store, 1).on_crash(on_crash).wait(Duration::ZERO);
        assert_eq!(call(&store).run(effects.body(1)).await.unwrap(), 1);
        assert_eq!(store.counters().owed(), 1);
        for _ in 0..20 {
            let renewed = faulty.sent(Op::Renew);
            until(|| faulty.sent(Op::Renew) > renewed + 1).await;
            clock.advance(LEASE * 2 / 3);
            let again = call(&elsewhere).run(effects.body(1)).await;
            assert!(matches!(again, Err(Error::InFlight { .. })), "{again:?}");
        }
        faulty.always(Op::Finish, Fault::None);
        settled(&store).await;
        assert_eq!(call(&elsewhere).run(effects.body(1)).await.unwrap(), 1);
        assert_eq!(effects.started(), 1);
        let counts = store.counters().all();
        assert_eq!((counts.unrecorded, counts.recorded_later), (1, 1));
        assert_eq!(store.counters().owed(), 0);
    }
}

/// A finish is worth more than a claim in doubt: it is owed also where nothing more is owed for
/// claims.
#[tokio::test(start_paused = true)]
async fn a_finish_is_owed_also_where_many_claims_are() {
    let (faulty, store, _) = store();
    let effects = Effects::new();
    let mut owner = Box::pin(charge(&store, 0).run(effects.body(3)));
    poll_until(&mut owner, || effects.started() == 1).await;
    faulty.always(Op::Claim, Fault::Hang);
    faulty.always(Op::Finish, Fault::LostCommand);
    let calls = (1..=2_000).map(|key| {
        charge(&store, key)
            .wait(Duration::ZERO)
            .run(async { Ok(1) })
    });
    for call in calls.map(tokio::spawn).collect::<Vec<_>>() {
        call.await.unwrap().unwrap_err();
    }
    assert!(store.counters().owed_dropped() > 0);
    assert_eq!(owner.await.unwrap(), 1);
    faulty.always(Op::Claim, Fault::None);
    faulty.always(Op::Finish, Fault::None);
    settled(&store).await;
    assert_eq!(charge(&store, 0).run(effects.body(0)).await.unwrap(), 1);
    assert_eq!(effects.started(), 1);
    let state = charge(&store, 0).inspect().await.unwrap().unwrap().state;
    assert_eq!(state, State::Done);
}
