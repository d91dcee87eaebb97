//! Messages that arrive late, are lost, or are carried out without an answer.

use std::time::Duration;

use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_until, settled, until,
};
use idempotent_fn::{
    Error, OnCrash, OnErr, Operation, SharedStore, Store,
    error::BodyRan,
    key::Key,
    operation,
    record::{Nonce, State},
    store::{ClaimReply, ClaimRequest, ManualClock, MemoryStore},
};

const LEASE: Duration = Duration::from_millis(300);

fn store() -> (Faulty, SharedStore, ManualClock) {
    let clock = ManualClock::new();
    let faulty = Faulty::around(MemoryStore::with_clock(&clock));
    (faulty.clone(), SharedStore::new(faulty), clock)
}

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("late", &[&"k"])
        .store(store)
        .lease(LEASE)
        .wait(GENEROUS)
}

async fn state(store: &SharedStore) -> State {
    charge(store).inspect().await.unwrap().unwrap().state
}

/// A heartbeat still on its way when the body says `OnErr::Fail` must not bring back a record that
/// lapses under `rerun`: the author has said that the effects are unknown.
#[tokio::test]
async fn a_late_heartbeat_does_not_undo_on_err_fail() {
    let (faulty, store, clock) = store();
    let effects = Effects::new();
    faulty.always(Op::Renew, Fault::Late);
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let (body, wait) = (effects.clone(), go.clone());
    let call = charge(&store).on_err(OnErr::Fail).run(async move {
        body.start();
        wait.notified().await;
        Err(Error::clone(&any_error().await))
    });
    let call = tokio::spawn(call);
    until(|| faulty.happened(Op::Renew, Fault::Late) > 0).await;
    go.notify_one();
    assert!(call.await.unwrap().is_err());
    assert_eq!(state(&store).await, State::Lost);

    assert!(faulty.deliver_late().await > 0);
    clock.advance(GENEROUS);
    let next = charge(&store).run(effects.body(0)).await;
    assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}");
    assert_eq!(effects.started(), 1);
}

/// The same for a claim that was sent twice, and once arrives late.
#[tokio::test]
async fn a_late_claim_does_not_undo_on_err_fail() {
    let (faulty, store, clock) = store();
    let effects = Effects::new();
    faulty.next(Op::Claim, [Fault::Late]);
    let body = effects.clone();
    let call = charge(&store).on_err(OnErr::Fail).run(async move {
        body.start();
        Err(any_error().await)
    });
    assert!(call.await.is_err());
    assert_eq!(state(&store).await, State::Lost);

    assert_eq!(faulty.deliver_late().await, 1);
    clock.advance(GENEROUS);
    let next = charge(&store).run(effects.body(0)).await;
    assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}");
    assert_eq!(effects.started(), 1);
}

/// A stalled server carries out a claim when it wakes. However long the stall, the claim is sent
/// again at least twice in each lease, so it is released before the lease is over: nothing ran.
#[tokio::test(start_paused = true)]
async fn a_claim_in_doubt_is_asked_for_within_each_lease() {
    let lease = Duration::from_secs(30);
    let (faulty, store, _) = store();
    let effects = Effects::new();
    faulty.always(Op::Claim, Fault::LostCommand);
    let claim = charge(&store).lease(lease).wait(Duration::ZERO);
    let claim = claim.on_crash(OnCrash::Fail).run(effects.body(0));
    let refused = claim.await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    tokio::time::sleep(lease * 10).await;
    for _ in 0..10 {
        let sent = faulty.sent(Op::Claim);
        tokio::time::sleep(lease).await;
        assert!(faulty.sent(Op::Claim) >= sent + 2);
    }
    faulty.always(Op::Claim, Fault::None);
    settled(&store).await;
    assert_eq!(effects.started(), 0);
    assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
}

/// Whatever an owner sent, arriving after everything else, changes no recorded result.
#[tokio::test]
async fn late_messages_of_a_finished_owner_change_nothing() {
    for op in [Op::Claim, Op::Renew, Op::Finish] {
        let (faulty, store, clock) = store();
        let effects = Effects::new();
        match op {
            Op::Renew => faulty.always(op, Fault::Late),
            _ => faulty.next(op, [Fault::Late]),
        }
        let mut call = Box::pin(charge(&store).run(effects.body(1_000_000)));
        poll_until(&mut call, || {
            op != Op::Renew || faulty.happened(op, Fault::Late) > 0
        })
        .await;
        drop(call);
        // The runtime finishes the body; its pauses wake it at once.
        assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
        assert!(faulty.deliver_late().await > 0, "{op:?}");
        clock.advance(GENEROUS);
        assert_eq!(state(&store).await, State::Done);
        assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
        assert_eq!((effects.started(), effects.finished()), (1, 1));
    }
}

/// Some error that an operation can return.
async fn any_error() -> Error {
    let operation = operation::<Answer, _>("", &[&"k"]);
    operation.run(async { Ok(0) }).await.unwrap_err()
}

/// By the time a grant's answer arrives, its lease may be as good as over: the body begins on a
/// fresh one.
#[tokio::test]
async fn a_body_does_not_begin_on_a_lease_that_is_nearly_over() {
    let (faulty, store, clock) = store();
    let other = SharedStore::new(faulty.clone());
    let effects = Effects::new();
    // Granted at once, and the caller learns of it at the fourth asking: more than a third of the
    // lease later.
    faulty.next(Op::Claim, [Fault::LostReply; 3]);
    let lease = Duration::from_millis(150); // three pauses are longer than a third of this
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let (body, wait) = (effects.clone(), go.clone());
    let call = tokio::spawn(charge(&store).lease(lease).run(async move {
        body.start();
        wait.notified().await;
        Ok(body.finish())
    }));
    until(|| faulty.happened(Op::Claim, Fault::LostReply) == 3).await;
    clock.advance(Duration::from_millis(149));
    until(|| effects.started() == 1).await;
    clock.advance(Duration::from_millis(2));
    let second = charge(&other)
        .wait(Duration::ZERO)
        .run(effects.body(0))
        .await;
    assert!(matches!(second, Err(Error::InFlight { .. })), "{second:?}");
    go.notify_one();
    assert_eq!(call.await.unwrap().unwrap(), 1);
    assert_eq!(effects.started(), 1);
}

/// The same, and the lease cannot be made fresh: the body does not begin.
#[tokio::test]
async fn a_body_does_not_begin_on_a_lease_that_cannot_be_renewed() {
    let (faulty, store, _) = store();
    let effects = Effects::new();
    faulty.next(Op::Claim, [Fault::LostReply; 3]);
    faulty.always(Op::Renew, Fault::LostCommand);
    let lease = Duration::from_millis(150);
    let answer = charge(&store).lease(lease).run(effects.body(0)).await;
    let error = answer.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(error.body_ran(), BodyRan::No);
    assert_eq!(faulty.happened(Op::Renew, Fault::LostCommand), 1);
    settled(&store).await;
    assert_eq!((state(&store).await, effects.started()), (State::Failed, 0));
}

/// The same, where the claim itself was answered, but slowly: it is released all the same, also
/// when the renewal was refused and nothing is in doubt but the claim.
#[tokio::test]
async fn a_slow_grant_that_cannot_be_renewed_is_released() {
    for fault in [Fault::Refused, Fault::NotSent] {
        let faulty = Faulty::new().pauses(100_000);
        let store = SharedStore::new(faulty.clone());
        let effects = Effects::new();
        faulty.always(Op::Renew, fault);
        let lease = Duration::from_millis(1);
        let call = || charge(&store).lease(lease).on_crash(OnCrash::Fail);
        let answer = call().run(effects.body(0)).await;
        assert!(matches!(answer, Err(Error::Unavailable { .. })));
        assert!(faulty.happened(Op::Renew, fault) > 0, "the grant was slow");
        settled(&store).await;
        assert_eq!((state(&store).await, effects.started()), (State::Failed, 0));
    }
}

#[tokio::test]
async fn a_claim_without_answer_is_seen_through_and_released() {
    for fault in [Fault::LostReply, Fault::LostCommand, Fault::Late] {
        let (faulty, store, _) = store();
        let effects = Effects::new();
        faulty.next(Op::Claim, [fault; 6]);
        let answer = charge(&store).wait(Duration::ZERO).run(effects.body(0));
        let error = answer.await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert_eq!(error.body_ran(), BodyRan::No);
        settled(&store).await;
        assert_eq!(faulty.happened(Op::Claim, fault), 6);
        assert_eq!(state(&store).await, State::Failed);
        assert_eq!(charge(&store).run(effects.body(0)).await.unwrap(), 1);
        assert_eq!(effects.started(), 1);
    }
}

#[tokio::test]
async fn a_claim_that_was_refused_is_not_repeated() {
    for (fault, sent) in [(Fault::Refused, 1), (Fault::NotSent, 4)] {
        let (faulty, store, _) = store();
        let effects = Effects::new();
        faulty.always(Op::Claim, fault);
        let answer = charge(&store).run(effects.body(0)).await;
        assert!(matches!(answer, Err(Error::Unavailable { .. })));
        settled(&store).await;
        assert_eq!(faulty.sent_in_all(), sent, "{fault:?}");
        assert_eq!(effects.started(), 0);
    }
}

/// A finish without an answer is a store's failure, never the body's.
#[tokio::test]
async fn a_finish_without_answer_is_delivered_in_the_background() {
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        for fault in [
            Fault::LostReply,
            Fault::LostCommand,
            Fault::NotSent,
            Fault::Refused,
        ] {
            let (faulty, store, _) = store();
            let effects = Effects::new();
            faulty.next(Op::Finish, [fault; 3]);
            let call = || charge(&store).on_crash(on_crash);
            assert_eq!(call().run(effects.body(1)).await.unwrap(), 1);
            assert_eq!(store.counters().unrecorded(), 1);
            settled(&store).await;
            assert_eq!(faulty.happened(Op::Finish, fault), 3);
            assert_eq!(call().run(effects.body(1)).await.unwrap(), 1);
            assert_eq!((effects.started(), store.counters().record_lost()), (1, 0));
        }
    }
}

/// Duplicates of an owner whose finish is not answered wait for the record; they get no unrecorded
/// value.
#[tokio::test]
async fn an_unrecorded_result_is_not_shared_before_it_is_recorded() {
    let (faulty, store, _) = store();
    let effects = Effects::new();
    faulty.next(Op::Finish, [Fault::LostCommand; 4]);
    let mut owner = Box::pin(charge(&store).run(effects.body(1)));
    poll_until(&mut owner, || effects.started() == 1).await;
    let duplicate = tokio::spawn(charge(&store).run(effects.body(1)));
    assert_eq!(owner.await.unwrap(), 1);
    assert_eq!(duplicate.await.unwrap().unwrap(), 1);
    assert_eq!(faulty.happened(Op::Finish, Fault::LostCommand), 4);
    assert_eq!(effects.started(), 1);
    settled(&store).await;
}

/// Heartbeats that get no answer stop nothing.
#[tokio::test]
async fn heartbeats_without_answer_do_not_stop_the_body() {
    for fault in [Fault::LostReply, Fault::LostCommand, Fault::NotSent] {
        let (faulty, store, _) = store();
        let effects = Effects::new();
        faulty.always(Op::Renew, fault);
        let (body, renews) = (effects.clone(), faulty.clone());
        let call = charge(&store).lease(Duration::from_millis(3));
        let answer = call.run(async move {
            body.start();
            until(|| renews.happened(Op::Renew, fault) >= 3).await;
            Ok(body.finish())
        });
        assert_eq!(answer.await.unwrap(), 1);
        assert_eq!(effects.started(), 1);
    }
}

/// Under `fail`, an owner that was given up for lost is alive again as soon as it is heard of.
#[tokio::test]
async fn a_late_heartbeat_revives_a_lost_owner() {
    let (faulty, store, clock) = store();
    let effects = Effects::new();
    let call = || charge(&store).on_crash(OnCrash::Fail);
    let mut owner = Box::pin(call().run(effects.hang()));
    poll_until(&mut owner, || effects.started() == 1).await;
    clock.advance(LEASE);
    let next = call().run(effects.body(0)).await;
    assert!(matches!(next, Err(Error::Indeterminate { .. })), "{next:?}");
    assert_eq!(state(&store).await, State::Lost);

    let owner = tokio::spawn(owner);
    until(|| faulty.sent(Op::Renew) > 0).await;
    let next = call().wait(Duration::ZERO).run(effects.body(0)).await;
    assert!(
        matches!(
            next,
            Err(Error::InFlight { .. } | Error::Indeterminate { .. })
        ),
        "{next:?}"
    );
    while state(&store).await != State::Running {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    owner.abort();
    assert_eq!(effects.started(), 1);
}

/// An overtaken body is stopped at its next heartbeat, and its caller gets its successor's result.
#[tokio::test]
async fn a_refused_heartbeat_stops_the_body() {
    let (faulty, store, clock) = store();
    let elsewhere = SharedStore::new(faulty);
    let late = Effects::new();
    let mut owner = Box::pin(charge(&store).run(late.hang()));
    poll_until(&mut owner, || late.started() == 1).await;
    clock.advance(LEASE);
    assert_eq!(charge(&elsewhere).run(async { Ok(9) }).await.unwrap(), 9);
    assert_eq!(owner.await.unwrap(), 9);
    assert_eq!(store.counters().stale(), 1);
    assert_eq!((late.started(), late.finished()), (1, 0));
}

/// An overtaken call whose successor has died asks less and less often whether there is a result
/// after all.
#[tokio::test(start_paused = true)]
async fn an_overtaken_call_whose_successor_died_asks_now_and_then() {
    for push in [true, false] {
        let clock = ManualClock::new();
        let faulty = Faulty::around(MemoryStore::with_clock(&clock));
        let faulty = if push { faulty } else { faulty.without_push() };
        let store = SharedStore::new(faulty.clone());
        let effects = Effects::new();
        let wait = Duration::from_secs(60);
        let mut owner = Box::pin(charge(&store).wait(wait).run(effects.hang()));
        poll_until(&mut owner, || effects.started() == 1).await;
        clock.advance(LEASE);
        let mut request = ClaimRequest::new(Nonce::from_bytes([9; 16]));
        request.lease = LEASE;
        request.ttl = wait;
        let key = Key::new("late", &[&"k"]).unwrap();
        let granted = faulty.claim(&key, &request).await.unwrap();
        assert!(matches!(granted, ClaimReply::Granted { .. }));
        clock.advance(LEASE * 8);
        let sent = faulty.sent_in_all();
        let error = owner.await.unwrap_err();
        assert!(matches!(error, Error::Superseded { .. }), "{error:?}");
        let asked = faulty.sent_in_all() - sent;
        // At most twice a second, and some more at first.
        assert!((5..=260).contains(&asked), "{asked} commands in a minute");
    }
}
