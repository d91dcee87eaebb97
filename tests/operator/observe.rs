//! `observe` and the counters: what the code around a call learns about it.

use std::{pin::Pin, time::Duration};

use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_once, poll_until, settled, yields,
};
use idempotent_fn::{
    Error, Observed, OnCrash, Operation, SharedStore,
    codec::{Codec, MessagePack},
    idempotent, observe, operation,
    store::{Counts, ManualClock, MemoryStore, NearCache},
    try_current, with_store,
};

const LEASE: Duration = Duration::from_secs(30);

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("observe.charge", &[&"k"])
        .store(store)
        .lease(LEASE)
        .wait(GENEROUS)
}

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::with_clock(&ManualClock::new()))
}

#[tokio::test]
async fn a_first_call_ran_and_the_next_was_replayed() {
    for store in [memory(), SharedStore::new(Faulty::new())] {
        let effects = Effects::new();
        let (answer, first) = observe(charge(&store).run(async {
            Ok(u32::try_from(try_current().unwrap().fencing_token() % 1_000).unwrap())
        }))
        .await;
        assert_eq!(
            (first.outcome, first.recorded, first.attempt),
            (Observed::Ran, true, Some(1))
        );
        let token = first.fencing_token.unwrap();
        assert_eq!(u64::from(answer.unwrap()), token % 1_000);
        for _ in 0..2 {
            let (_, next) = observe(charge(&store).run(effects.body(0))).await;
            assert_eq!((next.outcome, next.recorded), (Observed::Replayed, true));
            assert_eq!((next.attempt, next.fencing_token), (Some(1), Some(token)));
        }
        assert_eq!(effects.started(), 0);
        let counts = store.counters().scope("observe.charge");
        assert_eq!(
            (counts.ran, counts.replayed_by_store, counts.replayed()),
            (1, 2, 2)
        );
    }
}

#[tokio::test]
async fn what_is_not_recorded_is_said_to_be_so() {
    let faulty = Faulty::new();
    let store = SharedStore::new(faulty.clone());
    let (answer, seen) = observe(charge(&store).run(async { Err(failure()) })).await;
    assert!(answer.is_err());
    assert_eq!((seen.outcome, seen.recorded), (Observed::Ran, false));

    faulty.next(Op::Finish, [Fault::LostCommand]);
    let (answer, seen) = observe(charge(&store).run(async { Ok(1) })).await;
    assert_eq!(answer.unwrap(), 1);
    assert_eq!(
        (seen.outcome, seen.recorded, seen.attempt),
        (Observed::Ran, false, Some(2))
    );
    settled(&store).await;
    assert_eq!(
        (
            store.counters().unrecorded(),
            store.counters().recorded_later()
        ),
        (1, 1)
    );

    let (answer, seen) = observe(charge(&store).fingerprint(&1).run(async { Ok(1) })).await;
    assert_eq!((answer.unwrap(), seen.outcome), (1, Observed::Replayed));
    let small = memory().with_max_result(0);
    let (answer, seen) = observe(charge(&small).run(async { Ok(1) })).await;
    assert_eq!(
        (answer.unwrap(), seen.outcome, seen.recorded),
        (1, Observed::Ran, false)
    );
    let (_, seen) = observe(charge(&small).run(async { Ok(1) })).await;
    assert_eq!((seen.outcome, seen.attempt), (Observed::Refused, None));
}

/// An error of the library's own, as a body's `Err`.
fn failure() -> Error {
    let nothing = [0x80]; // a map without entries
    <MessagePack as Codec<Error>>::decode(&nothing).expect("it is one of ours")
}

#[tokio::test]
async fn a_duplicate_that_waited_shares() {
    let link = Faulty::new();
    let (one, other) = (SharedStore::new(link.clone()), SharedStore::new(link));
    let memory = memory();
    for (owners, waiters) in [
        (memory.clone(), memory),
        (one.clone(), one.clone()),
        (one.with_namespace("other"), other.with_namespace("other")),
    ] {
        let effects = Effects::new();
        let mut owner: Call = Box::pin(charge(&owners).run(effects.body(60)));
        poll_until(&mut owner, || effects.started() == 1).await;
        let waiter = tokio::spawn(observe(charge(&waiters).run(effects.body(0))));
        yields(20).await;
        assert_eq!(owner.await.unwrap(), 1);
        let (answer, seen) = waiter.await.unwrap();
        assert_eq!(
            (answer.unwrap(), seen.outcome, seen.recorded),
            (1, Observed::Shared, true)
        );
        assert_eq!(seen.attempt, Some(1));
    }
    assert!(one.counters().replayed_by_flight() >= 1);
    assert_eq!(other.counters().waited() + one.counters().waited(), 2);
}

#[tokio::test]
async fn an_overtaken_call_adopts() {
    let clock = ManualClock::new();
    let faulty = Faulty::around(MemoryStore::with_clock(&clock));
    let (store, elsewhere) = (SharedStore::new(faulty.clone()), SharedStore::new(faulty));
    let late = Effects::new();
    let mut owner = Box::pin(observe(charge(&store).run(late.body(3))));
    poll_until(&mut owner, || late.started() == 1).await;
    clock.advance(LEASE);
    let (_, successor) = observe(charge(&elsewhere).run(async { Ok(9) })).await;
    assert_eq!(
        (successor.outcome, successor.attempt),
        (Observed::Ran, Some(2))
    );
    let (answer, seen) = owner.await;
    assert_eq!(
        (answer.unwrap(), seen.outcome, seen.recorded),
        (9, Observed::Adopted, true)
    );
    assert_eq!(seen.fencing_token, successor.fencing_token);
    let counts = store.counters().all();
    assert_eq!((counts.adopted, counts.stale, counts.waited), (1, 1, 0));
    assert_eq!(elsewhere.counters().taken_over(), 1);
}

#[tokio::test]
async fn a_near_cache_replays() {
    let store = SharedStore::new(Faulty::new()).with_near_cache(&NearCache::new());
    charge(&store).run(async { Ok(1) }).await.unwrap();
    let (answer, seen) = observe(charge(&store).run(async { Ok(2) })).await;
    assert_eq!(
        (answer.unwrap(), seen.outcome, seen.recorded),
        (1, Observed::Replayed, true)
    );
    assert_eq!(seen.attempt, None, "the near cache does not keep it");
    assert_eq!(store.counters().replayed_by_near_cache(), 1);
}

#[idempotent(scope = "observe.inner", key = order)]
async fn inner(order: u32) -> Result<u32, Error> {
    Ok(order)
}

#[idempotent(scope = "observe.outer", key = order)]
async fn outer(order: u32) -> Result<u32, Error> {
    inner(order).await?;
    let (answer, seen) = observe(inner(order)).await;
    assert_eq!(seen.outcome, Observed::Replayed);
    answer
}

/// The function's signature stays, and what its body calls is its own affair.
#[tokio::test]
async fn calls_of_the_body_are_not_seen_from_outside() {
    with_store(memory(), async {
        assert_eq!(inner(2).await.unwrap(), 2);
        let (answer, seen) = observe(outer(2)).await;
        assert_eq!((answer.unwrap(), seen.outcome), (2, Observed::Ran));
        let ((), seen) = observe(async { drop(tokio::spawn(async {}).await) }).await;
        assert_eq!(seen.outcome, Observed::Nothing);
        let ((), seen) = observe(async {
            outer(2).await.unwrap();
            outer(3).await.unwrap();
        })
        .await;
        assert_eq!(seen.outcome, Observed::Ran, "the last one");
    })
    .await;
}

/// Every kind of refusal has a count of its own, and none is in another's.
#[tokio::test]
async fn refusals_are_counted_by_kind_and_operation() {
    let faulty = Faulty::new();
    let (memory, down) = (memory(), SharedStore::new(faulty.clone()));
    faulty.always(Op::Claim, Fault::NotSent);
    let key = |key: &'static str| {
        operation::<Answer, _>("observe.refused", &[&key])
            .store(&memory)
            .wait(Duration::ZERO)
    };
    let check =
        |store: &SharedStore, seen: idempotent_fn::Observation, what: fn(&Counts) -> u64| {
            assert_eq!(seen.outcome, Observed::Refused);
            let counts = store.counters().scope("observe.refused");
            assert_eq!(what(&counts), 1, "{counts:?}");
        };
    let answers = || async { Ok(1) };
    let (_, seen) = observe(key("").run(answers())).await;
    check(&memory, seen, |counts| counts.invalid_key);
    let (_, seen) = observe(key("config").lease(Duration::ZERO).run(answers())).await;
    check(&memory, seen, |counts| counts.misconfigured);
    let other = operation::<Answer, _>("observe.refused", &[&"k"]).store(&down);
    let (_, seen) = observe(other.run(answers())).await;
    check(&down, seen, |counts| counts.unavailable);
    key("used").fingerprint(&1).run(answers()).await.unwrap();
    let (_, seen) = observe(key("used").fingerprint(&2).run(answers())).await;
    check(&memory, seen, |counts| counts.key_reused);
    let mut owner: Call = Box::pin(
        key("busy")
            .on_crash(OnCrash::Fail)
            .run_attached(Effects::new().hang()),
    );
    assert!(poll_once(&mut owner).is_pending());
    let (_, seen) = observe(key("busy").run(answers())).await;
    check(&memory, seen, |counts| counts.in_flight);
    drop(owner);
    let (_, seen) = observe(key("busy").run(answers())).await;
    check(&memory, seen, |counts| counts.indeterminate);
    let again = memory.clone();
    let itself = key("self").run(async move {
        let again = operation::<Answer, _>("observe.refused", &[&"self"]).store(&again);
        let (_, seen) = observe(again.run(async { Ok(1) })).await;
        assert_eq!(seen.outcome, Observed::Refused);
        Ok(1)
    });
    itself.await.unwrap();
    let counts = memory.counters().scope("observe.refused");
    assert_eq!(
        (counts.reentrant, counts.refused(), counts.ran),
        (1, 6, 2),
        "{counts:?}"
    );
    assert_eq!(memory.counters().all(), counts);
    assert_eq!(memory.counters().scopes(), ["observe.refused"]);
}

/// As many keys as are being run or waited for, on every store.
#[tokio::test]
async fn keys_in_flight_are_counted_on_every_store() {
    for store in [memory(), SharedStore::new(Faulty::new())] {
        let effects = Effects::new();
        let call = |key: u32| {
            let operation = operation::<Answer, _>("observe.flying", &[&key]);
            operation.store(&store).wait(GENEROUS)
        };
        let mut owners: Vec<Call> = Vec::new();
        for key in 0..3 {
            let mut owner: Call = Box::pin(call(key).run(effects.body(20)));
            poll_until(&mut owner, || effects.started() == key + 1).await;
            owners.push(owner);
        }
        let waiter = tokio::spawn(call(0).run(effects.body(0)));
        yields(3).await;
        assert_eq!(store.in_flight(), 3, "{store:?}");
        for owner in owners {
            owner.await.unwrap();
        }
        waiter.await.unwrap().unwrap();
        assert_eq!(store.in_flight(), 0, "{store:?}");
    }
}
