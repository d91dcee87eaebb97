//! What a caller leaves behind when it goes away: the runtime finishes it, wherever and whenever.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_once, poll_until, settled, until, yields,
};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, operation, store::MemoryStore, with_store,
};
use tokio::runtime::{Builder, Runtime};

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("handover", &[&"k"])
        .store(store)
        .wait(GENEROUS)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A call whose body was polled once, inside `runtime`.
fn started(runtime: &Runtime, call: impl Future<Output = Answer> + Send + 'static) -> Call {
    let mut call: Call = Box::pin(call);
    runtime.block_on(async { assert!(poll_once(&mut call).is_pending()) });
    call
}

#[test]
fn a_drop_outside_of_any_runtime_is_finished_inside() {
    for store in [memory(), SharedStore::new(Faulty::new())] {
        let (runtime, effects) = (runtime(), Effects::new());
        let mut call: Call = Box::pin(charge(&store).run(effects.body(2)));
        runtime.block_on(poll_until(&mut call, || effects.started() == 1));
        drop(call);
        runtime.block_on(async {
            settled(&store).await;
            assert_eq!(effects.finished(), 1);
            assert_eq!(charge(&store).run(effects.body(2)).await.unwrap(), 1);
        });
        assert_eq!(effects.started(), 1);
    }
}

#[test]
fn an_attached_drop_outside_of_any_runtime_is_settled() {
    for (on_crash, runs) in [(OnCrash::Rerun, 2), (OnCrash::Fail, 1)] {
        let (runtime, effects, store) = (runtime(), Effects::new(), memory());
        let call = charge(&store).on_crash(on_crash);
        drop(started(&runtime, call.run_attached(effects.body(2))));
        let next = charge(&store).on_crash(on_crash).run(effects.body(2));
        let next = runtime.block_on(next);
        assert_eq!(next.is_ok(), on_crash == OnCrash::Rerun, "{next:?}");
        assert_eq!(effects.started(), runs);
    }
}

/// A destructor that ran the user's code would deadlock here: the one who drops holds what the body
/// needs.
#[test]
fn a_drop_runs_none_of_the_users_code() {
    let (runtime, store) = (runtime(), memory());
    let account = Arc::new(Mutex::new(0));
    let body = account.clone();
    let call = charge(&store).run(async move {
        yields(1).await;
        *body
            .try_lock()
            .expect("the body runs inside of its caller's drop") += 1;
        Ok(1)
    });
    let call = started(&runtime, call);
    let held = account.lock().unwrap();
    drop(call);
    drop(held);
    runtime.block_on(settled(&store));
    assert_eq!(*account.lock().unwrap(), 1);
}

/// A body that panics after its caller has gone is its task's own matter, and means what a panic
/// always means.
#[test]
fn a_body_that_panics_after_the_drop_does_not_panic_in_it() {
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        let (runtime, effects, store) = (runtime(), Effects::new(), memory());
        let body = effects.clone();
        let call = charge(&store).on_crash(on_crash).run(async move {
            body.start();
            yields(1).await;
            panic!("the test's own panic")
        });
        let call = started(&runtime, call);
        // Dropped while unwinding, where a second panic would abort the process.
        let unwound = catch_unwind(AssertUnwindSafe(move || {
            let _call = call;
            panic!("the caller's panic")
        }));
        assert_eq!(
            unwound.unwrap_err().downcast_ref(),
            Some(&"the caller's panic")
        );
        runtime.block_on(async {
            settled(&store).await;
            let next = charge(&store).on_crash(on_crash).run(effects.body(0)).await;
            assert_eq!(next.is_ok(), on_crash == OnCrash::Rerun, "{next:?}");
        });
    }
}

/// A runtime that ends midway abandons its bodies: what is kept in this process is settled at once.
#[test]
fn a_runtime_that_ends_midway_abandons_its_bodies() {
    is_abandoned(|ending, effects, call| {
        ending.spawn(call);
        ending.block_on(until(|| effects.started() == 1));
        drop(ending);
    });
}

/// The same when the call itself outlives its runtime.
#[test]
fn a_call_dropped_after_its_runtime_has_ended_is_abandoned() {
    is_abandoned(|ending, _, call| {
        let call = started(&ending, call);
        drop(ending);
        drop(call);
    });
}

/// A call whose body has started when `end` ends its runtime is settled as `on_crash` says.
fn is_abandoned(end: fn(Runtime, &Effects, Call)) {
    for (on_crash, runs) in [(OnCrash::Rerun, 2), (OnCrash::Fail, 1)] {
        let (ending, effects, store) = (runtime(), Effects::new(), memory());
        let (body, call) = (effects.clone(), charge(&store).on_crash(on_crash));
        let call = call.run(async move {
            body.start();
            tokio::time::sleep(GENEROUS).await;
            Ok(body.finish())
        });
        end(ending, &effects, Box::pin(call));
        runtime().block_on(async {
            settled(&store).await;
            let next = charge(&store).on_crash(on_crash).run(effects.body(0)).await;
            assert_eq!(next.is_ok(), on_crash == OnCrash::Rerun, "{next:?}");
        });
        assert_eq!(effects.started(), runs);
    }
}

/// The context of a call is that of its body, also after the caller has gone.
#[tokio::test]
async fn a_body_keeps_its_default_store() {
    let (outer, inner) = (memory(), memory());
    let effects = Effects::new();
    let body = effects.clone();
    let call = async {
        let outside = operation::<Answer, _>("handover.outer", &[&"k"]);
        let nested = async move {
            body.start();
            yields(1).await;
            let nested = operation::<Answer, _>("handover.nested", &[&"k"]);
            nested.run(body.body(1)).await
        };
        outside.run(nested).await
    };
    let mut call = Box::pin(with_store(inner.clone(), call));
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    settled(&inner).await;
    let recorded = |store| {
        let nested = operation::<Answer, _>("handover.nested", &[&"k"]);
        nested.store(store).inspect()
    };
    assert!(recorded(&inner).await.unwrap().is_some());
    assert!(recorded(&outer).await.unwrap().is_none());
    assert_eq!(effects.finished(), 1);
}

/// `drain` waits for what was handed over, and says what is left when its time is over.
#[tokio::test]
async fn drain_counts_what_is_left() {
    let store = memory();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let call = charge(&store).run(async move {
        gone.await.ok();
        Ok(1)
    });
    let mut call: Call = Box::pin(call);
    assert!(poll_once(&mut call).is_pending());
    drop(call);
    assert!(idempotent_fn::drain(Duration::from_millis(1)).await >= 1);
    go.send(()).unwrap();
    settled(&store).await;
    let inspection = charge(&store).inspect().await.unwrap().unwrap();
    assert!(inspection.has_result);
}

/// A store that never answers takes nobody's time for ever, and its key is free once it answers
/// again.
#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_given_up() {
    let waits = [Duration::ZERO, Duration::from_secs(10)];
    for (op, wait) in [Op::Claim, Op::Finish]
        .into_iter()
        .flat_map(|op| waits.map(|wait| (op, wait)))
    {
        let (faulty, effects) = (Faulty::new(), Effects::new());
        let store = SharedStore::new(faulty.clone());
        faulty.next(op, [Fault::Hang]);
        let call = charge(&store).wait(wait).run(effects.body(1));
        let answer = tokio::time::timeout(Duration::from_secs(100), call).await;
        match op {
            Op::Claim => assert!(matches!(answer, Ok(Err(Error::Unavailable { .. })))),
            _ => assert!(matches!(answer, Ok(Ok(1)))),
        }
        assert_eq!(faulty.happened(op, Fault::Hang), 1);
        settled(&store).await;
        assert_eq!(charge(&store).run(effects.body(1)).await.unwrap(), 1);
        assert_eq!(effects.started(), 1);
    }
}

/// `Duration::MAX` is a way to say "for ever".
#[tokio::test]
async fn for_ever_is_a_duration() {
    let faulty = Faulty::new();
    let (store, effects) = (SharedStore::new(faulty.clone()), Effects::new());
    faulty.next(Op::Finish, [Fault::LostCommand; 2]);
    let call = || charge(&store).wait(Duration::MAX).ttl(Duration::MAX);
    let mut owner: Call = Box::pin(call().run(effects.body(3)));
    poll_until(&mut owner, || effects.started() == 1).await;
    let duplicate = tokio::spawn(call().run(effects.body(1)));
    assert_eq!(owner.await.unwrap(), 1);
    assert_eq!(duplicate.await.unwrap().unwrap(), 1);
    settled(&store).await;
    assert_eq!(effects.started(), 1);
}
