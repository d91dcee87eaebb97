//! Duplicates in one process, on a network store: one of them asks the store, and the others send
//! nothing.

use std::{
    pin::Pin,
    time::{Duration, UNIX_EPOCH},
};

use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_once, poll_until, settled, yields,
};
use idempotent_fn::{
    Error, Operation, SharedStore, operation,
    store::{ManualClock, MemoryStore},
};

const LEASE: Duration = Duration::from_secs(30);

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("flights", &[&"k"])
        .store(store)
        .lease(LEASE)
        .wait(GENEROUS)
}

#[tokio::test]
async fn a_call_sends_two_commands_a_replay_one_and_a_duplicate_none() {
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let store = SharedStore::new(faulty.clone());
    let mut owner: Call = Box::pin(charge(&store).run(effects.body(3)));
    poll_until(&mut owner, || effects.started() == 1).await;
    let duplicate = || tokio::spawn(charge(&store).run(effects.body(0)));
    let duplicates: Vec<_> = (0..20).map(|_| duplicate()).collect();
    yields(3).await;
    assert_eq!(store.in_flight(), 1);
    assert_eq!(owner.await.unwrap(), 1);
    for duplicate in duplicates {
        assert_eq!(duplicate.await.unwrap().unwrap(), 1);
    }
    assert_eq!((faulty.sent(Op::Claim), faulty.sent(Op::Finish)), (1, 1));
    assert_eq!(faulty.sent_in_all(), 2);
    assert_eq!(store.in_flight(), 0);

    assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
    assert_eq!(faulty.sent_in_all(), 3);
    assert_eq!(effects.started(), 1);
}

/// The record is another process': one asks for all.
#[tokio::test]
async fn replays_at_once_ask_once() {
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let elsewhere = SharedStore::new(faulty.clone());
    let store = SharedStore::new(faulty.clone());
    assert_eq!(charge(&elsewhere).run(effects.body(0)).await.unwrap(), 1);
    let sent = faulty.sent_in_all();
    let mut calls: Vec<Call> = Vec::new();
    for _ in 0..20 {
        let mut call: Call = Box::pin(charge(&store).run(effects.body(0)));
        assert!(poll_once(&mut call).is_pending());
        calls.push(call);
    }
    for call in calls {
        assert_eq!(call.await.unwrap(), 1);
    }
    assert_eq!(faulty.sent_in_all(), sent + 1);
}

/// Who comes after a record's end gets nothing of it from a leader that had asked before, and whose
/// answer was late.
#[tokio::test]
async fn a_follower_gets_no_result_that_has_ended_meanwhile() {
    let ttl = Duration::from_secs(1);
    for is_over in [false, true] {
        let clock = ManualClock::new();
        let since_1970 = clock.now().duration_since(UNIX_EPOCH).unwrap();
        let now = since_1970 + if is_over { ttl } else { Duration::ZERO };
        let now = u64::try_from(now.as_micros()).unwrap();
        let faulty = Faulty::around(MemoryStore::with_clock(&clock)).telling(now);
        let (elsewhere, here) = (faulty.clone().pauses(0), faulty.pauses(2));
        let (elsewhere, here) = (SharedStore::new(elsewhere), SharedStore::new(here));
        let effects = Effects::new();
        let call = |store: &SharedStore| charge(store).ttl(ttl).run(effects.body(0));
        assert_eq!(call(&elsewhere).await.unwrap(), 1);
        let mut leader: Call = Box::pin(call(&here));
        // Carried out, and the answer under way.
        for _ in 0..4 {
            assert!(poll_once(&mut leader).is_pending());
        }
        if is_over {
            clock.advance(ttl);
        }
        let mut follower: Call = Box::pin(call(&here));
        assert!(poll_once(&mut follower).is_pending());
        assert_eq!(leader.await.unwrap(), 1);
        assert_eq!(follower.await.unwrap(), if is_over { 2 } else { 1 });
        settled(&here).await;
    }
}

/// What is recorded is answered at once, whoever holds a duplicate without polling it, and at
/// whichever of its await points. (The others wait for less than a lease, and less than an
/// owner's.)
#[tokio::test(start_paused = true)]
async fn a_duplicate_that_nobody_polls_keeps_no_recorded_result_from_its_process() {
    for polls in 1..8 {
        for others_wait in [Duration::ZERO, LEASE / 10] {
            let (faulty, effects) = (Faulty::new(), Effects::new());
            let elsewhere = SharedStore::new(faulty.clone());
            let store = SharedStore::new(faulty);
            assert_eq!(charge(&elsewhere).run(effects.body(0)).await.unwrap(), 1);
            let mut kept: Call = Box::pin(charge(&store).run(effects.body(0)));
            for _ in 0..polls {
                if poll_once(&mut kept).is_ready() {
                    kept = Box::pin(effects.hang());
                }
            }
            for _ in 0..3 {
                let other = charge(&store).wait(others_wait).run(effects.body(0)).await;
                assert_eq!(other.expect("it is recorded"), 1, "{polls} polls");
            }
            std::mem::forget(kept);
        }
    }
}

/// The same where it was waiting for another process' owner, which has finished since.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_nobody_polls_keeps_no_recorded_result_from_its_process() {
    for polls in 1..20 {
        let (faulty, effects) = (Faulty::new(), Effects::new());
        let elsewhere = SharedStore::new(faulty.clone());
        let store = SharedStore::new(faulty);
        let mut owner: Call = Box::pin(charge(&elsewhere).run(effects.body(100)));
        poll_until(&mut owner, || effects.started() == 1).await;
        let mut kept: Call = Box::pin(charge(&store).run(effects.body(0)));
        for _ in 0..polls {
            assert!(poll_once(&mut kept).is_pending());
        }
        assert_eq!(owner.await.unwrap(), 1);
        for _ in 0..3 {
            let other = charge(&store).wait(LEASE / 10).run(effects.body(0)).await;
            assert_eq!(other.expect("it is recorded"), 1, "{polls} polls");
        }
        assert_eq!(kept.await.unwrap(), 1);
        assert_eq!(effects.started(), 1);
    }
}

/// A leader that is polled is believed for as long as it waits: its followers cost the store
/// nothing.
#[tokio::test(start_paused = true)]
async fn duplicates_of_a_waiter_cost_the_store_nothing_however_long_it_waits() {
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let elsewhere = SharedStore::new(faulty.clone());
    let store = SharedStore::new(faulty.clone());
    let body = effects.clone();
    let owner = charge(&elsewhere).lease(LEASE * 100).run(async move {
        body.start();
        tokio::time::sleep(LEASE).await;
        Ok(body.finish())
    });
    let mut owner: Call = Box::pin(owner);
    poll_until(&mut owner, || effects.started() == 1).await;
    let owner = tokio::spawn(owner);
    let duplicate = || tokio::spawn(charge(&store).run(effects.body(0)));
    let duplicates: Vec<_> = (0..256).map(|_| duplicate()).collect();
    for duplicate in duplicates {
        assert_eq!(duplicate.await.unwrap().unwrap(), 1);
    }
    assert_eq!(owner.await.unwrap().unwrap(), 1);
    // The owner's two; and its own for the one that asks for all: again every five seconds, should
    // a message be lost.
    let sent = faulty.sent_in_all();
    assert!((6..=12).contains(&sent), "{sent} commands");
    settled(&store).await;
}

/// Nothing is known of an owner before the store has answered: nobody is told that one is in
/// flight. A follower trusts a leader that has no answer for a second, and then asks the store
/// itself, once.
#[tokio::test(start_paused = true)]
async fn a_follower_of_a_leader_without_an_answer_is_told_that_there_is_none() {
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let store = SharedStore::new(faulty.clone());
    faulty.always(Op::Claim, Fault::Hang);
    let leader = tokio::spawn(charge(&store).run(effects.body(0)));
    yields(3).await;
    let follower = charge(&store).wait(Duration::ZERO).run(effects.body(0));
    let error = follower.await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    // The leader's, the follower's, and the first try again.
    let sent = faulty.sent_in_all();
    assert!((2..=3).contains(&sent), "{sent} commands");
    assert_eq!(effects.started(), 0);
    leader.abort();
}

/// A leader that was polled once and is then held, for ever, holds up nobody for longer than its
/// lease.
#[tokio::test(start_paused = true)]
async fn a_leader_that_nobody_polls_does_not_hang_the_followers() {
    for polls in 1..10 {
        let clock = ManualClock::new();
        let faulty = Faulty::around(MemoryStore::with_clock(&clock));
        let (store, effects) = (SharedStore::new(faulty), Effects::new());
        let mut leader: Call = Box::pin(charge(&store).run(effects.hang()));
        for _ in 0..polls {
            assert!(poll_once(&mut leader).is_pending());
        }
        clock.advance(LEASE * 2);
        let follower = || tokio::spawn(charge(&store).run(effects.body(0)));
        let followers: Vec<_> = (0..5).map(|_| follower()).collect();
        for follower in followers {
            assert_eq!(follower.await.unwrap().unwrap(), 1, "{polls} polls");
        }
        assert_eq!(effects.finished(), 1);
        std::mem::forget(leader);
    }
}

/// Wherever its leader is cancelled, a follower goes on.
#[tokio::test]
async fn a_leader_that_is_cancelled_frees_its_followers() {
    for polls in 1..10 {
        let (faulty, effects) = (Faulty::new(), Effects::new());
        let store = SharedStore::new(faulty);
        let leader = charge(&store).run_attached(effects.body(20));
        let mut leader: Call = Box::pin(leader);
        for _ in 0..polls {
            assert!(poll_once(&mut leader).is_pending());
        }
        let follower = || tokio::spawn(charge(&store).run(effects.body(1)));
        let followers: Vec<_> = (0..5).map(|_| follower()).collect();
        yields(2).await;
        drop(leader);
        for follower in followers {
            assert_eq!(follower.await.unwrap().unwrap(), 1);
        }
        assert_eq!(effects.finished(), 1);
        settled(&store).await;
    }
}

#[tokio::test]
async fn a_follower_that_is_cancelled_disturbs_nobody() {
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let store = SharedStore::new(faulty.clone());
    let mut leader: Call = Box::pin(charge(&store).run(effects.body(3)));
    poll_until(&mut leader, || effects.started() == 1).await;
    let mut follower: Call = Box::pin(charge(&store).run(effects.body(0)));
    assert!(poll_once(&mut follower).is_pending());
    drop(follower);
    assert_eq!(leader.await.unwrap(), 1);
    assert_eq!((faulty.sent_in_all(), effects.started()), (2, 1));
    settled(&store).await;
}

/// Another payload is a mistake of that caller, and is told so at once; it does not wait for the
/// flight.
#[tokio::test(start_paused = true)]
async fn another_payload_is_refused_beside_the_flight() {
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let store = SharedStore::new(faulty);
    let call = |amount: u32| charge(&store).fingerprint(&amount).run(effects.body(50));
    let mut leader: Call = Box::pin(call(1));
    poll_until(&mut leader, || effects.started() == 1).await;
    let before = tokio::time::Instant::now();
    assert!(matches!(call(2).await, Err(Error::KeyReused { .. })));
    assert_eq!(before.elapsed(), Duration::ZERO, "it waited");
    assert_eq!(leader.await.unwrap(), 1);
    assert!(matches!(call(2).await, Err(Error::KeyReused { .. })));
    assert_eq!(effects.started(), 1);
}

/// Followers of a leader that cannot reach the store are told so, and do not each try for
/// themselves.
#[tokio::test]
async fn a_store_that_is_down_is_asked_by_one() {
    let (faulty, effects) = (Faulty::new(), Effects::new());
    let store = SharedStore::new(faulty.clone());
    faulty.always(Op::Claim, Fault::NotSent);
    let mut calls: Vec<Call> = Vec::new();
    for _ in 0..20 {
        let mut call: Call = Box::pin(charge(&store).run(effects.body(0)));
        assert!(poll_once(&mut call).is_pending());
        calls.push(call);
    }
    // Followers wait on shared state: the last of them first.
    let calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    for call in calls {
        assert!(matches!(
            call.await.unwrap(),
            Err(Error::Unavailable { .. })
        ));
    }
    assert_eq!((faulty.sent_in_all(), effects.started()), (4, 0));
    settled(&store).await;
}

/// `lease_left` is what is left of the running owner's lease, however long the leader of the flight
/// means to wait.
#[tokio::test(start_paused = true)]
async fn a_follower_is_told_the_owners_lease() {
    let lease = Duration::from_millis(500);
    let faulty = Faulty::around(MemoryStore::with_clock(&ManualClock::new()));
    let effects = Effects::new();
    let elsewhere = SharedStore::new(faulty.clone());
    let store = SharedStore::new(faulty);
    let asks = || {
        let follower = charge(&store).lease(lease).wait(Duration::ZERO);
        follower.run(effects.body(0))
    };
    let mut owner: Call = Box::pin(charge(&elsewhere).lease(lease).run(effects.hang()));
    poll_until(&mut owner, || effects.started() == 1).await;
    let mut leader: Call = Box::pin(charge(&store).lease(lease).run(effects.body(0)));
    for _ in 0..12 {
        assert!(poll_once(&mut leader).is_pending());
        let error = asks().await.unwrap_err();
        assert!(error.lease_left().unwrap() <= lease, "{error:?}");
    }
    assert_eq!(effects.started(), 1);
}
