//! A key with two payloads is refused on every path, before anything else is answered.

use std::{pin::Pin, time::Duration};

use crate::common::{Answer, Effects, GENEROUS, faulty::Faulty, poll_once, poll_until, settled};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore,
    error::BodyRan,
    operation,
    operation::Resolution,
    store::{ManualClock, MemoryStore},
};

const LEASE: Duration = Duration::from_secs(30);

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

struct Setting {
    /// Where the record comes from.
    there: SharedStore,
    /// Where it is asked for: the same handle, or another "process".
    here: SharedStore,
    /// Another process.
    apart: SharedStore,
    clock: ManualClock,
}

fn settings() -> Vec<Setting> {
    let memory = || {
        let clock = ManualClock::new();
        (MemoryStore::with_clock(&clock), clock)
    };
    let (memory, faulty) = (memory(), memory());
    let link = Faulty::around(faulty.0);
    let (local, linked) = (
        SharedStore::new(memory.0.clone()),
        SharedStore::new(link.clone()),
    );
    let setting = |there: &SharedStore,
                   here: &SharedStore,
                   apart: SharedStore,
                   clock: &ManualClock| Setting {
        there: there.clone(),
        here: here.clone(),
        apart,
        clock: clock.clone(),
    };
    let (one, two) = (SharedStore::new(link.clone()), SharedStore::new(link));
    vec![
        setting(&local, &local, SharedStore::new(memory.0), &memory.1),
        setting(&linked, &linked, one.clone(), &faulty.1),
        setting(
            &linked.with_namespace("n"),
            &one.with_namespace("n"),
            two.with_namespace("n"),
            &faulty.1,
        ),
    ]
}

fn charge(store: &SharedStore, amount: Option<u32>) -> Operation<u32, Error> {
    let operation = operation::<Answer, _>("reused", &[&"k"]).store(store);
    let operation = operation
        .lease(LEASE)
        .wait(GENEROUS)
        .on_crash(OnCrash::Fail);
    match amount {
        Some(amount) => operation.fingerprint(&amount),
        None => operation,
    }
}

async fn refused(store: &SharedStore) {
    let answer = charge(store, Some(2)).run(async { Ok(99) }).await;
    let error = answer.unwrap_err();
    assert!(matches!(error, Error::KeyReused { .. }), "{error:?}");
    assert_eq!(
        (error.is_retryable(), error.body_ran()),
        (false, BodyRan::No)
    );
}

#[tokio::test]
async fn while_it_runs() {
    for Setting { there, here, .. } in settings() {
        let effects = Effects::new();
        let mut owner: Call = Box::pin(charge(&there, Some(1)).run(effects.body(100)));
        poll_until(&mut owner, || effects.started() == 1).await;
        refused(&here).await;
        assert_eq!(owner.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn once_it_is_done() {
    for Setting { there, here, .. } in settings() {
        let effects = Effects::new();
        let first = charge(&there, Some(1)).run(effects.body(1));
        assert_eq!(first.await.unwrap(), 1);
        refused(&here).await;
        for same in [Some(1), None] {
            let replay = charge(&here, same).run(effects.body(1)).await;
            assert_eq!(replay.unwrap(), 1, "none matches any");
        }
        assert_eq!(effects.started(), 1);
    }
}

#[tokio::test]
async fn when_it_is_lost() {
    for Setting {
        there,
        here,
        apart,
        clock,
    } in settings()
    {
        let effects = Effects::new();
        let mut owner: Call = Box::pin(charge(&there, Some(1)).run_attached(effects.hang()));
        poll_until(&mut owner, || effects.started() == 1).await;
        std::mem::forget(owner);
        clock.advance(LEASE);
        // The lease has lapsed: still it is the payload that is answered first.
        refused(&here).await;
        let lost = charge(&apart, Some(1)).run(async { Ok(98) }).await;
        assert!(matches!(lost, Err(Error::Indeterminate { .. })), "{lost:?}");
        refused(&here).await;
        refused(&apart).await;
        assert_eq!(effects.finished(), 0);
    }
}

/// A silent owner's payload still counts: nobody takes over with another one.
#[tokio::test]
async fn when_its_owner_is_silent() {
    for Setting {
        there, here, clock, ..
    } in settings()
    {
        let call = |store, amount| charge(store, Some(amount)).on_crash(OnCrash::Rerun);
        let effects = Effects::new();
        let mut owner: Call = Box::pin(call(&there, 1).run_attached(effects.hang()));
        poll_until(&mut owner, || effects.started() == 1).await;
        clock.advance(LEASE);
        let other = call(&here, 2).run(effects.body(0)).await;
        assert!(matches!(other, Err(Error::KeyReused { .. })), "{other:?}");
        assert_eq!(effects.started(), 1);
    }
}

/// A waiter without a payload waits for the owner; one that learns of another payload while it
/// waits is refused.
#[tokio::test]
async fn while_waiting() {
    for Setting { there, here, .. } in settings() {
        let effects = Effects::new();
        let mut owner: Call = Box::pin(charge(&there, None).run(effects.body(200)));
        poll_until(&mut owner, || effects.started() == 1).await;
        let mut waiter: Call = Box::pin(charge(&here, Some(2)).run(effects.body(0)));
        for _ in 0..10 {
            assert!(poll_once(&mut waiter).is_pending());
            tokio::task::yield_now().await;
        }
        assert_eq!(owner.await.unwrap(), 1);
        assert_eq!(waiter.await.unwrap(), 1);
        assert_eq!(effects.started(), 1);
    }
}

/// What was released pins nothing: the next caller's payload counts.
#[tokio::test]
async fn not_after_an_err() {
    for Setting { there, here, .. } in settings() {
        let operation = operation::<Result<u32, String>, _>("reused", &[&"k"]).store(&there);
        let operation = operation.map_err(|error| error.to_string());
        let first = operation
            .fingerprint(&1_u32)
            .run(async { Err("no".into()) });
        assert_eq!(first.await.unwrap_err(), "no");
        let second = charge(&here, Some(2)).run(async { Ok(2) });
        assert_eq!(second.await.unwrap(), 2);
        let third = charge(&here, Some(1)).run(async { Ok(3) }).await;
        assert!(matches!(third, Err(Error::KeyReused { .. })));
    }
}

/// An operator who gives a payload's result pins that payload, and cannot give it to another one's
/// record.
#[tokio::test]
async fn by_an_operator() {
    for Setting { there, here, .. } in settings() {
        let declines = operation::<Result<u32, String>, _>("reused", &[&"k"]).store(&there);
        let declines = declines.map_err(|error| error.to_string());
        let declined = declines
            .fingerprint(&1_u32)
            .run(async { Err("no".into()) })
            .await;
        assert_eq!(declined.unwrap_err(), "no");
        // Released, so it pins nothing.
        let done = charge(&here, Some(2)).resolve(Resolution::Done(7));
        done.await.unwrap();
        let replay = charge(&there, Some(2)).run(async { Ok(0) });
        assert_eq!(replay.await.unwrap(), 7);
        let other = charge(&there, Some(1)).run(async { Ok(0) }).await;
        assert!(matches!(other, Err(Error::KeyReused { .. })), "{other:?}");
    }
}

#[tokio::test]
async fn by_an_operator_who_names_another_payload() {
    for Setting { there, here, .. } in settings() {
        let effects = Effects::new();
        let mut owner: Call = Box::pin(charge(&there, Some(1)).run_attached(effects.hang()));
        poll_until(&mut owner, || effects.started() == 1).await;
        drop(owner);
        settled(&there).await;
        for resolution in [Resolution::Rerun, Resolution::Done(7)] {
            let wrong = charge(&here, Some(2)).resolve(resolution).await;
            assert!(matches!(wrong, Err(Error::KeyReused { .. })), "{wrong:?}");
        }
        let right = charge(&here, None).resolve(Resolution::Done(7));
        right.await.unwrap();
        refused(&there).await;
        let replay = charge(&there, Some(1)).run(async { Ok(0) });
        assert_eq!(replay.await.unwrap(), 7);
    }
}
