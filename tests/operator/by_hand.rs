//! Operators' decisions: `inspect`, `resolve`, `forget`. Nothing late undoes them.

use std::{pin::Pin, time::Duration};

use crate::common::{Answer, Effects, GENEROUS, faulty::Faulty, poll_until, settled, until};
use idempotent_fn::{
    Error, OnCrash, OnErr, Operation, SharedStore,
    key::Key,
    operation,
    operation::{Inspection, Resolution},
    operation_at,
    record::State,
    store::{Filter, ManualClock, MemoryStore, Settled, Store},
};

const LEASE: Duration = Duration::from_secs(30);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn stores() -> Vec<(SharedStore, ManualClock)> {
    let memory = || {
        let clock = ManualClock::new();
        (MemoryStore::with_clock(&clock), clock)
    };
    let ((local, local_clock), (behind, clock)) = (memory(), memory());
    vec![
        (SharedStore::new(local), local_clock),
        (SharedStore::new(Faulty::around(behind)), clock),
    ]
}

fn charge(store: &SharedStore, on_crash: OnCrash) -> Operation<u32, Error> {
    operation::<Answer, _>("operator", &[&"k"])
        .store(store)
        .lease(LEASE)
        .on_crash(on_crash)
        .wait(GENEROUS)
}

fn fail(store: &SharedStore) -> Operation<u32, Error> {
    charge(store, OnCrash::Fail)
}

/// An error that a body can return.
async fn refusal() -> Error {
    let unnamed = operation::<Answer, _>("", &[&"k"]).store(MemoryStore::new());
    unnamed.run(async { Ok(1) }).await.unwrap_err()
}

async fn look(store: &SharedStore) -> Inspection {
    let seen = fail(store).inspect().await.unwrap();
    seen.expect("there is a record")
}

/// An owner that is polled until its body runs.
async fn running(operation: Operation<u32, Error>, effects: &Effects, pauses: usize) -> Call {
    let before = effects.started();
    let mut owner: Call = Box::pin(operation.run_attached(effects.body(pauses)));
    poll_until(&mut owner, || effects.started() > before).await;
    owner
}

#[tokio::test]
async fn every_state_can_be_looked_at() {
    for (store, clock) in stores() {
        let effects = Effects::new();
        assert_eq!(fail(&store).inspect().await.unwrap(), None);

        let owner = running(fail(&store), &effects, 1000).await;
        clock.advance(Duration::from_secs(10));
        let seen = look(&store).await;
        assert_eq!((seen.state, seen.attempts), (State::Running, 1));
        assert_eq!(seen.lease_left, Duration::from_secs(20));
        assert_eq!(seen.on_crash, OnCrash::Fail);
        assert_eq!((seen.expires, seen.has_result), (None, false));
        assert!(seen.fencing_token > 0);
        let age = clock.now().duration_since(seen.since).unwrap();
        assert_eq!(
            age,
            Duration::from_secs(10),
            "the token is the time of the grant"
        );
        let name = seen.owner.expect("somebody runs it").to_string();
        assert!(
            name.ends_with(&format!(":{}", std::process::id())),
            "{name}"
        );

        drop(owner);
        settled(&store).await;
        let lost = look(&store).await;
        assert_eq!((lost.state, lost.lease_left), (State::Lost, Duration::ZERO));
        assert_eq!(lost.fencing_token, seen.fencing_token);

        fail(&store).resolve(Resolution::Rerun).await.unwrap();
        let failed = look(&store).await;
        assert_eq!(failed.state, State::Failed);
        assert!(failed.fencing_token > lost.fencing_token);

        fail(&store).run(effects.body(0)).await.unwrap();
        let done = look(&store).await;
        assert_eq!((done.state, done.attempts), (State::Done, 2));
        assert!(done.has_result && done.expires.is_some());
        assert!(done.fencing_token > failed.fencing_token);
    }
}

/// Who runs it and in which trace is in the record, for whoever looks or lists.
#[tokio::test]
async fn a_record_tells_who_runs_it_and_in_which_trace() {
    for (store, _) in stores() {
        let effects = Effects::new();
        let named = store
            .with_owner("worker-7@eu")
            .with_trace(|| Some([0xab; 16]));
        let owner = running(fail(&named), &effects, 1000).await;
        let seen = look(&store).await;
        let name = seen.owner.as_ref().map(ToString::to_string);
        assert_eq!(
            (name.as_deref(), seen.trace),
            (Some("worker-7@eu"), Some([0xab; 16]))
        );
        let filter = Filter::new()
            .with_prefix("operator")
            .with_state(State::Running);
        if let Ok(page) = store.list(&filter, None).await {
            for listed in page.records {
                assert_eq!(listed.record.unwrap(), seen);
                assert_eq!(listed.key.scope(), "operator");
            }
        }
        drop(owner);
        settled(&store).await;
        let lost = look(&store).await;
        assert_eq!(
            (lost.state, lost.owner, lost.trace),
            (State::Lost, seen.owner, seen.trace)
        );
        fail(&named).resolve(Resolution::Done(1)).await.unwrap();
        assert_eq!(look(&store).await.owner, None, "nobody runs it any more");

        let long = store.with_owner(&"x".repeat(100));
        fail(&long).forget().await.unwrap();
        let owner = running(fail(&long), &effects, 1000).await;
        let name = look(&store).await.owner.expect("a name").to_string();
        assert_eq!(name, "x".repeat(64), "it is cut");
        drop(owner);
        settled(&store).await;
    }
}

#[tokio::test]
async fn what_is_in_doubt_is_run_again() {
    for (store, _) in stores() {
        let effects = Effects::new();
        drop(running(fail(&store), &effects, 1000).await);
        let doubt = fail(&store).run(effects.body(0)).await;
        assert!(matches!(doubt, Err(Error::Indeterminate { .. })));
        fail(&store).resolve(Resolution::Rerun).await.unwrap();
        assert_eq!(fail(&store).run(effects.body(0)).await.unwrap(), 1);
        assert_eq!(effects.started(), 2);
    }
}

#[tokio::test]
async fn what_is_in_doubt_is_given_a_result() {
    for (store, clock) in stores() {
        let effects = Effects::new();
        let owner = running(fail(&store), &effects, 1000).await;
        drop(owner);
        settled(&store).await;
        let ttl = Duration::from_secs(60);
        let resolve = fail(&store).ttl(ttl).resolve(Resolution::Done(42));
        resolve.await.unwrap();
        clock.advance(Duration::from_millis(59_999));
        assert_eq!(fail(&store).run(effects.body(0)).await.unwrap(), 42);
        clock.advance(Duration::from_millis(1));
        assert_eq!(fail(&store).run(effects.body(0)).await.unwrap(), 1);
    }
}

/// A released key takes any payload, but a result that is given to it is that of one payload: of the
/// one that the decision names, or else of the last attempt's.
#[tokio::test]
async fn a_result_given_to_a_released_key_is_bound_to_a_payload() {
    let paying = |store: &SharedStore, cents: u32| fail(store).fingerprint(&cents);
    for (store, _) in stores() {
        for (released_by, named, bound, other) in [
            ("err", None, 5, 6),
            ("rerun", None, 5, 6),
            ("forget", None, 5, 6),
            ("forget twice", None, 5, 6),
            ("err", Some(6), 6, 5),
            ("rerun", Some(6), 6, 5),
            ("forget", Some(6), 6, 5),
        ] {
            let effects = Effects::new();
            fail(&store).forget().await.unwrap();
            if released_by == "err" {
                let unnamed = operation::<Answer, _>("", &[&"k"]).store(&store);
                let refused = unnamed.run(async { Ok(1) }).await;
                let attempt = paying(&store, 5).on_err(OnErr::Rerun);
                attempt.run(async { refused }).await.unwrap_err();
            } else {
                drop(running(paying(&store, 5), &effects, 1000).await);
                settled(&store).await;
            }
            match released_by {
                "err" => {}
                "rerun" => fail(&store).resolve(Resolution::Rerun).await.unwrap(),
                _ => fail(&store).forget().await.unwrap(),
            }
            if released_by == "forget twice" {
                fail(&store).forget().await.unwrap();
            }
            assert_eq!(look(&store).await.state, State::Failed);
            let decision = match named {
                Some(cents) => paying(&store, cents),
                None => fail(&store),
            };
            decision.resolve(Resolution::Done(42)).await.unwrap();
            let reused = paying(&store, other).run(effects.body(0)).await;
            assert!(
                matches!(reused, Err(Error::KeyReused { .. })),
                "{released_by}, {named:?}: {reused:?}"
            );
            let replay = paying(&store, bound).run(effects.body(0)).await;
            assert_eq!(replay.unwrap(), 42);
        }
    }
}

/// Where no attempt has said which payload it is, the decision can.
#[tokio::test]
async fn a_result_given_to_an_unseen_key_is_bound_to_the_payload_that_is_named() {
    for (store, _) in stores() {
        let effects = Effects::new();
        let decision = fail(&store).fingerprint(&5);
        let resolve = decision.resolve_unseen(Resolution::Done(42));
        resolve.await.unwrap();
        let reused = fail(&store).fingerprint(&6).run(effects.body(0)).await;
        assert!(matches!(reused, Err(Error::KeyReused { .. })), "{reused:?}");
        assert_eq!(effects.started(), 0);
    }
}

/// A prefix is the beginning of scopes; a scope is one, also where others begin with it.
#[tokio::test]
async fn a_listing_is_of_one_scope_or_of_all_that_begin_so() {
    let store = SharedStore::new(MemoryStore::new());
    let all = [
        "pay.charge",
        "pay.charge|x",
        "pay.charge.late",
        "pay.chargeback",
    ];
    for handle in [store.clone(), store.with_namespace("eu")] {
        for scope in all {
            let operation = operation::<Answer, _>(scope, &[&"k"]).store(&handle);
            operation.run(async { Ok(1) }).await.unwrap();
        }
        let listed = async |filter: Filter| {
            let page = handle.list(&filter, None).await.unwrap();
            let scopes = page.records.iter().map(|listed| listed.key.scope());
            let mut scopes: Vec<_> = scopes.map(str::to_owned).collect();
            scopes.sort();
            scopes
        };
        let whole = Filter::new().with_scope("pay.charge");
        assert_eq!(listed(whole.clone()).await, ["pay.charge"]);
        let odd = listed(Filter::new().with_scope("pay.charge|x")).await;
        assert_eq!(odd, ["pay.charge%7Cx"]);
        assert_eq!(listed(whole.with_prefix("pay.charge")).await.len(), 4);
    }
}

/// A given result is asked about its `ttl` as the body's own is.
#[tokio::test]
async fn a_given_result_is_kept_for_as_long_as_it_says_itself() {
    let by_result = |store: &SharedStore| {
        fail(store).ttl_with(|result| Duration::from_secs((*result.as_ref().unwrap_or(&1)).into()))
    };
    for (store, clock) in stores() {
        let effects = Effects::new();
        drop(running(by_result(&store), &effects, 1000).await);
        settled(&store).await;
        let resolve = by_result(&store).ttl(Duration::from_secs(7));
        resolve.resolve(Resolution::Done(60)).await.unwrap();
        assert_eq!(look(&store).await.ttl, Duration::from_secs(60));
        clock.advance(Duration::from_millis(59_999));
        assert_eq!(fail(&store).run(effects.body(0)).await.unwrap(), 60);
        clock.advance(Duration::from_millis(1));
        drop(running(by_result(&store), &effects, 1000).await);
        settled(&store).await;
        // Nothing is at hand to be asked.
        by_result(&store).resolve(Resolution::Rerun).await.unwrap();
        assert_eq!(
            look(&store).await.ttl,
            idempotent_fn::operation::DEFAULT_TTL
        );
        // Less than a millisecond is a millisecond, as it is for a body's result.
        by_result(&store)
            .resolve(Resolution::Done(0))
            .await
            .unwrap();
        assert_eq!(look(&store).await.ttl, Duration::from_millis(1));
    }
}

/// Whoever resolves by hand does not know the function's options: the record does.
#[tokio::test]
async fn a_given_result_is_kept_for_the_ttl_of_the_attempt_in_doubt() {
    for (store, clock) in stores() {
        let effects = Effects::new();
        drop(running(fail(&store).ttl(WEEK), &effects, 1000).await);
        settled(&store).await;
        assert_eq!(look(&store).await.ttl, WEEK);
        fail(&store).resolve(Resolution::Done(42)).await.unwrap();
        let done = look(&store).await;
        assert_eq!((done.state, done.ttl), (State::Done, WEEK));
        clock.advance(Duration::from_millis(7 * 24 * 60 * 60 * 1000 - 1));
        assert_eq!(fail(&store).run(effects.body(0)).await.unwrap(), 42);
        clock.advance(Duration::from_millis(1));
        assert_eq!(fail(&store).run(effects.body(0)).await.unwrap(), 1);
    }
}

/// Lease, policy, payload and attempts are the record's as well, and what a rerun of it was asked
/// for.
#[tokio::test]
async fn a_decision_by_hand_keeps_what_it_does_not_know() {
    let hour = Duration::from_secs(60 * 60);
    for (store, _) in stores() {
        for resolution in [Resolution::Done(42), Resolution::Rerun] {
            let effects = Effects::new();
            fail(&store).forget().await.unwrap();
            let call = fail(&store).ttl(hour).lease(hour).fingerprint(&1);
            let before = look(&store).await;
            drop(running(call, &effects, 1000).await);
            settled(&store).await;
            let by_hand = operation::<Result<u32, Error>, _>("operator", &[&"k"]).store(&store);
            by_hand.resolve(resolution).await.unwrap();
            let seen = look(&store).await;
            assert_eq!((seen.ttl, seen.on_crash), (hour, OnCrash::Fail));
            assert_eq!(seen.attempts, before.attempts + 1);
            let other = fail(&store).fingerprint(&2).run(effects.body(0)).await;
            match resolution {
                Resolution::Done(_) => assert!(matches!(other, Err(Error::KeyReused { .. }))),
                _ => assert!(other.is_ok(), "nothing happened, so any payload may come"),
            }
        }
    }
}

/// Two operators, or one whose answer was lost: the second changes nothing that the first has
/// settled.
#[tokio::test]
async fn a_result_that_is_recorded_is_not_resolved() {
    for (store, _) in stores() {
        let first = fail(&store).resolve_unseen(Resolution::Done(1));
        first.await.unwrap();
        for again in [Resolution::Rerun, Resolution::Done(2)] {
            let refused = fail(&store).resolve(again).await;
            assert!(
                matches!(refused, Err(Error::AlreadyRecorded { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(fail(&store).run(async { Ok(3) }).await.unwrap(), 1);
    }
}

/// In one step: the key is never free, and what the operator does not know stays.
#[tokio::test]
async fn a_recorded_result_is_corrected_in_one_step() {
    for (store, clock) in stores() {
        let effects = Effects::new();
        fail(&store).ttl(WEEK).run(async { Ok(1) }).await.unwrap();
        let before = look(&store).await;
        clock.advance(Duration::from_secs(1));
        for value in [2, 3, 3] {
            fail(&store).correct(value).await.unwrap();
            assert_eq!(fail(&store).run(effects.body(0)).await.unwrap(), value);
        }
        let after = look(&store).await;
        assert_eq!((after.state, after.ttl), (State::Done, WEEK));
        assert_eq!(after.attempts, before.attempts);
        assert!(after.fencing_token > before.fencing_token);
        assert!(after.expires > before.expires, "its `ttl` begins anew");
        assert_eq!(effects.started(), 0);
        // Another payload's result is not this operation's to correct.
        let other = operation::<Result<u32, Error>, _>("by_hand.print", &[&"k"]).store(&store);
        other.fingerprint(&1).run(async { Ok(1) }).await.unwrap();
        let other = operation::<Result<u32, Error>, _>("by_hand.print", &[&"k"]).store(&store);
        let refused = other.fingerprint(&2).correct(2).await;
        assert!(
            matches!(refused, Err(Error::KeyReused { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn only_a_recorded_result_is_corrected() {
    for (store, _) in stores() {
        let no_result = async |what: &str| {
            let refused = fail(&store).correct(2).await.unwrap_err();
            let text = refused.to_string();
            assert!(
                text.contains("no recorded result to correct"),
                "{what}: {text}"
            );
        };
        no_result("no record").await;
        let owner = running(fail(&store), &Effects::new(), 1).await;
        let refused = fail(&store).correct(2).await;
        assert!(
            matches!(refused, Err(Error::InFlight { .. })),
            "{refused:?}"
        );
        drop(owner);
        settled(&store).await;
        fail(&store).forget().await.unwrap();
        no_result("released").await;
        let doubt = fail(&store)
            .on_err(OnErr::Fail)
            .run(async { Err(refusal().await) });
        doubt.await.unwrap_err();
        no_result("in doubt").await;
        // It was recorded, and has no result to replay.
        fail(&store).resolve(Resolution::Done(1)).await.unwrap();
        fail(&store).correct(2).await.unwrap();
        assert_eq!(fail(&store).run(async { Ok(7) }).await.unwrap(), 2);
    }
}

/// A slip in the key must not pass for a decision.
#[tokio::test]
async fn a_key_that_has_no_record_is_resolved_only_where_that_is_said() {
    for (store, clock) in stores() {
        for resolution in [Resolution::Rerun, Resolution::Done(42)] {
            let refused = fail(&store).resolve(resolution).await.unwrap_err();
            assert!(
                refused.to_string().contains("`resolve_unseen`"),
                "{refused}"
            );
            assert_eq!(fail(&store).inspect().await.unwrap(), None);
            fail(&store).resolve_unseen(resolution).await.unwrap();
            let expected = if let Resolution::Done(value) = resolution {
                value
            } else {
                7
            };
            assert_eq!(fail(&store).run(async { Ok(7) }).await.unwrap(), expected);
            // Past its end, a record is as none.
            clock.advance(Duration::from_secs(24 * 60 * 60));
        }
    }
}

/// What a listing shows is all that an operator's tool knows of a key.
#[tokio::test]
async fn what_a_listing_shows_can_be_inspected_resolved_and_forgotten() {
    let long = "x".repeat(2000);
    {
        let store = SharedStore::new(MemoryStore::new()).with_namespace("tenant@a");
        let effects = Effects::new();
        let scopes = ["plain", "odd|scope%7C@{~}é"];
        for (scope, part) in scopes.into_iter().zip(["a|b", &long]) {
            let call = operation::<Answer, _>(scope, &(&part, &1)).on_crash(OnCrash::Fail);
            let call = call.store(&store);
            drop(running(call, &effects, 1000).await);
        }
        settled(&store).await;
        let lost = store
            .list(&Filter::new().with_state(State::Lost), None)
            .await
            .unwrap();
        assert_eq!(lost.records.len(), 2);
        for (scope, part) in scopes.into_iter().zip(["a|b", &long]) {
            let again = || operation::<Answer, _>(scope, &(&part, &1)).store(&store);
            let expected = Key::new(scope, &[&part, &1]).unwrap();
            let listed = lost.records.iter().find(|listed| listed.key == expected);
            let at = || operation_at::<Answer, _>(&listed.unwrap().key).store(&store);
            assert_eq!(
                at().inspect().await.unwrap(),
                again().inspect().await.unwrap()
            );
            at().resolve(Resolution::Done(42)).await.unwrap();
            assert_eq!(again().run(async { Ok(0) }).await.unwrap(), 42);
            at().forget().await.unwrap();
            assert_eq!(again().run(async { Ok(8) }).await.unwrap(), 8);
            let refused = at()
                .resolve(Resolution::Rerun)
                .await
                .unwrap_err()
                .to_string();
            assert!(refused.contains(scope), "{refused}");
        }
    }
}

/// Whoever waits under `fail` takes a first attempt for a lost record.
#[tokio::test]
async fn attempts_count_on_where_a_decision_finds_a_record_past_its_end() {
    for (store, clock) in stores() {
        let effects = Effects::new();
        let ttl = Duration::from_millis(1);
        fail(&store).ttl(ttl).run(effects.body(0)).await.unwrap();
        clock.advance(ttl);
        assert_eq!(fail(&store).inspect().await.unwrap(), None);
        fail(&store)
            .resolve_unseen(Resolution::Rerun)
            .await
            .unwrap();
        fail(&store).run(effects.body(0)).await.unwrap();
        assert_eq!(look(&store).await.attempts, 2);
    }
}

#[tokio::test]
async fn a_running_owner_is_not_resolved() {
    for (store, clock) in stores() {
        let effects = Effects::new();
        let owner = running(fail(&store), &effects, 3).await;
        clock.advance(Duration::from_millis(29_995));
        let refused = fail(&store).resolve(Resolution::Rerun).await.unwrap_err();
        assert_eq!(refused.lease_left(), Some(Duration::from_millis(5)));
        assert_eq!(owner.await.unwrap(), 1);
    }
}

/// The owner renews its lease after the operator has seen that it was over: it goes on, and nothing
/// is decided.
#[tokio::test]
async fn an_owner_that_renews_after_the_look_is_not_resolved() {
    for on_crash in [OnCrash::Fail, OnCrash::Rerun] {
        for resolution in [Resolution::Rerun, Resolution::Done(42)] {
            let (effects, clock) = (Effects::new(), ManualClock::new());
            let memory = MemoryStore::with_clock(&clock);
            let faulty = Faulty::around(memory.clone());
            let store = SharedStore::new(faulty.clone());
            let owner = running(charge(&store, on_crash), &effects, 3).await;
            clock.advance(LEASE);
            let sent = faulty.sent_in_all();
            let mut resolving = Box::pin(charge(&store, on_crash).resolve(resolution));
            // It has looked, and what it decides is on its way.
            poll_until(&mut resolving, || faulty.sent_in_all() == sent + 2).await;
            let key = Key::new("operator", &[&"k"]).unwrap();
            let (owned, _) = memory.read(&key).await.unwrap().expect("the owner's");
            let renewed = memory.renew(&key, &owned).await.unwrap();
            assert!(matches!(renewed, Settled::Applied), "{renewed:?}");
            let refused = resolving.await.expect_err("an owner runs");
            assert_eq!(refused.lease_left(), Some(LEASE), "{refused:?}");
            assert_eq!(owner.await.unwrap(), 1);
        }
    }
}

/// A silent owner that was resolved comes back: it is refused, and told what was decided.
#[tokio::test]
async fn a_late_owner_does_not_undo_a_resolution() {
    for (store, clock) in stores() {
        for resolution in [Resolution::Rerun, Resolution::Done(42)] {
            let effects = Effects::new();
            let owner = running(fail(&store), &effects, 3).await;
            clock.advance(LEASE);
            fail(&store).resolve(resolution).await.unwrap();
            let answer = owner.await;
            let next = fail(&store).run(async { Ok(5) }).await.unwrap();
            if let Resolution::Done(value) = resolution {
                assert_eq!((answer.unwrap(), next), (value, value));
            } else {
                assert!(matches!(answer, Err(Error::Superseded { .. })));
                assert_eq!(next, 5);
            }
            assert_eq!(effects.finished(), 1);
            fail(&store).forget().await.unwrap();
        }
    }
}

#[tokio::test]
async fn forgetting_frees_the_key_in_every_state() {
    for (store, _) in stores() {
        let effects = Effects::new();
        let forget = || charge(&store, OnCrash::Fail).forget();
        let run = || charge(&store, OnCrash::Fail).run(effects.body(0));
        forget().await.unwrap();
        assert_eq!(run().await.unwrap(), 1, "nothing");
        forget().await.unwrap();
        assert_eq!(run().await.unwrap(), 2, "done");
        forget().await.unwrap();
        drop(running(fail(&store), &effects, 1000).await);
        settled(&store).await;
        assert_eq!(look(&store).await.state, State::Lost);
        forget().await.unwrap();
        assert_eq!(run().await.unwrap(), 3, "lost");
        forget().await.unwrap();
        forget().await.unwrap();
        assert_eq!(run().await.unwrap(), 4, "forgotten");
    }
}

/// The owner's finish is refused, and a caller elsewhere does not wait for it.
#[tokio::test]
async fn forgetting_a_running_owner_leaves_its_result_unrecorded() {
    let clock = ManualClock::new();
    let faulty = Faulty::around(MemoryStore::with_clock(&clock));
    let (store, elsewhere) = (SharedStore::new(faulty.clone()), SharedStore::new(faulty));
    let effects = Effects::new();
    let owner = running(fail(&store), &effects, 3).await;
    fail(&elsewhere).forget().await.unwrap();
    let next = fail(&elsewhere).run(async { Ok(8) });
    assert_eq!(next.await.unwrap(), 8);
    assert_eq!(owner.await.unwrap(), 8, "it adopts what is recorded");
    assert_eq!(store.counters().stale(), 1);
}

/// A body that is forgotten is stopped by its next heartbeat.
#[tokio::test]
async fn forgetting_stops_a_body_that_still_runs() {
    for (store, _) in stores() {
        let effects = Effects::new();
        let call = fail(&store).lease(Duration::from_millis(3));
        let owner = tokio::spawn(call.run(effects.hang()));
        until(|| effects.started() == 1).await;
        fail(&store).forget().await.unwrap();
        let answer = owner.await.unwrap();
        assert!(
            matches!(answer, Err(Error::Superseded { .. })),
            "{answer:?}"
        );
    }
}
