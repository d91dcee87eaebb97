//! Concurrent calls: one body runs for a key, and no key waits for another.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::common::{
    Answer, Effects, GENEROUS, faulty::Faulty, poll_once, poll_until, settled, until, yields,
};
use idempotent_fn::{Error, Operation, SharedStore, operation, store::MemoryStore};
use tokio::{sync::Barrier, time::Instant};

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One that is asked as a map is, one that is asked as a server is, and one that tells of no
/// changes.
fn stores() -> [SharedStore; 3] {
    [
        SharedStore::new(MemoryStore::new()),
        SharedStore::new(Faulty::new()),
        SharedStore::new(Faulty::new().without_push()),
    ]
}

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    charge_for(store, 0)
}

fn charge_for(store: &SharedStore, key: usize) -> Operation<u32, Error> {
    operation::<Answer, _>("concurrency", &[&key])
        .store(store)
        .wait(GENEROUS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_run_one_body() {
    for store in stores() {
        let effects = Effects::new();
        let call = || tokio::spawn(charge(&store).run(effects.body(5)));
        let calls: Vec<_> = (0..50).map(|_| call()).collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), 1);
        }
        assert_eq!(effects.started(), 1, "{store:?}");
        assert_eq!(store.counters().ran(), 1);
        settled(&store).await;
    }
}

/// Rounds are counted by a task that goes to the end of the queue whenever it is polled: from one
/// of its polls to the next, every task that was ready is polled once.
#[tokio::test]
async fn duplicates_are_answered_within_one_scheduling_round() {
    const DUPLICATES: usize = 100;
    for store in stores().into_iter().take(2) {
        let round = Arc::new(AtomicU32::new(0));
        let counting = tokio::spawn({
            let round = Arc::clone(&round);
            async move {
                loop {
                    round.fetch_add(1, Ordering::SeqCst);
                    yields(1).await;
                }
            }
        });
        let (end, ended) = tokio::sync::oneshot::channel();
        let answered = |call: Call| {
            let round = Arc::clone(&round);
            tokio::spawn(async move { (call.await.unwrap(), round.load(Ordering::SeqCst)) })
        };
        let effects = Effects::new();
        let body = effects.body(0);
        let owner = answered(Box::pin(charge(&store).run(async {
            ended.await.unwrap();
            body.await
        })));
        let duplicate = || answered(Box::pin(charge(&store).run(effects.hang())));
        let duplicates: Vec<_> = (0..DUPLICATES).map(|_| duplicate()).collect();
        let since = round.load(Ordering::SeqCst);
        while round.load(Ordering::SeqCst) < since + 20 {
            tokio::task::yield_now().await; // until all of them wait
        }
        end.send(()).unwrap();
        let (answer, completed) = owner.await.unwrap();
        assert_eq!(answer, 1);
        for duplicate in duplicates {
            let (answer, answered) = duplicate.await.unwrap();
            assert_eq!(answer, 1);
            assert!(
                answered <= completed + 1,
                "{store:?}: {} rounds",
                answered - completed
            );
        }
        assert_eq!(effects.started(), 1);
        counting.abort();
    }
}

/// All bodies have to be running at the same time, or none of them ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_keys_do_not_wait_for_each_other() {
    const KEYS: usize = 200;
    for store in stores() {
        let (effects, all) = (Effects::new(), Arc::new(Barrier::new(KEYS)));
        let call = |key| {
            let (effects, all) = (effects.clone(), all.clone());
            tokio::spawn(charge_for(&store, key).run(async move {
                effects.start();
                all.wait().await;
                Ok(effects.finish())
            }))
        };
        let calls: Vec<_> = (0..KEYS).map(call).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(effects.finished() as usize, KEYS);
    }
}

/// Each is a retry its caller asked for; but never two at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_an_err_the_others_run_one_after_another() {
    for store in stores() {
        let (effects, inside) = (Effects::new(), Arc::new(AtomicU32::new(0)));
        let call = || {
            let (effects, inside) = (effects.clone(), inside.clone());
            let operation = operation::<Result<u32, String>, _>("concurrency", &[&0]).store(&store);
            let operation = operation.wait(GENEROUS).map_err(|error| error.to_string());
            tokio::spawn(operation.run(async move {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
                effects.start();
                yields(3).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                match effects.finish() {
                    6 => Ok(6),
                    _ => Err("declined".to_owned()),
                }
            }))
        };
        let calls: Vec<_> = (0..10).map(|_| call()).collect();
        let mut declined = 0;
        for call in calls {
            match call.await.unwrap() {
                Ok(answer) => assert_eq!(answer, 6),
                Err(error) => {
                    assert_eq!(error, "declined");
                    declined += 1;
                }
            }
        }
        assert_eq!((effects.started(), declined), (6, 5), "{store:?}");
        settled(&store).await;
    }
}

#[tokio::test]
async fn a_duplicate_that_does_not_wait_is_told_to_come_back_soon_whatever_the_lease() {
    for store in stores() {
        let effects = Effects::new();
        let lease = Duration::from_secs(60 * 60);
        let mut owner: Call = Box::pin(charge(&store).lease(lease).run(effects.hang()));
        poll_until(&mut owner, || effects.started() == 1).await;
        let duplicate = charge(&store).wait(Duration::ZERO).run(effects.body(0));
        let error = duplicate.await.unwrap_err();
        assert!(matches!(error, Error::InFlight { .. }), "{error:?}");
        assert_eq!(
            error.retry_after(),
            Some(Duration::from_secs(1)),
            "{error:?}"
        );
        let left = error.lease_left().unwrap();
        assert!(left <= lease && left > lease / 2, "{error:?}");
        assert!(
            error.to_string().ends_with("is in flight; retry after 1 s"),
            "{error}"
        );
        assert!(error.is_retryable());
        assert_eq!(effects.started(), 1);
    }
}

/// Who has waited for long already is told to stay away for longer.
#[tokio::test(start_paused = true)]
async fn the_hint_to_come_back_grows_with_the_waiting() {
    for store in stores() {
        let effects = Effects::new();
        let call = |wait| charge(&store).wait(Duration::from_secs(wait));
        let mut owner: Call = Box::pin(charge(&store).run(effects.hang()));
        poll_until(&mut owner, || effects.started() == 1).await;
        let owner = tokio::spawn(owner);
        let mut last = Duration::ZERO;
        for wait in [1, 20, 100, 1_000] {
            let error = call(wait).run(effects.body(0)).await.unwrap_err();
            let hint = error.retry_after().unwrap();
            assert!(
                hint > last && hint <= Duration::from_secs(30),
                "{wait} s: {error:?}"
            );
            last = hint;
        }
        owner.abort();
    }
}

/// With tokio's clock stopped, a waiter that slept at all would show. The owner finishes while the
/// waiter is anywhere between asking, subscribing and sleeping.
#[tokio::test(start_paused = true)]
async fn a_waiter_is_woken_without_polling() {
    for polls in 0..20 {
        let faulty = Faulty::new();
        let elsewhere = SharedStore::new(faulty.clone());
        let memory = SharedStore::new(MemoryStore::new());
        for (owners, waiters) in [
            (memory.clone(), memory),
            // Two handles that share nothing but the records, as two processes do.
            (SharedStore::new(faulty), elsewhere),
        ] {
            let effects = Effects::new();
            let mut owner: Call = Box::pin(charge(&owners).run(effects.body(3)));
            poll_until(&mut owner, || effects.started() == 1).await;
            let mut waiter: Call = Box::pin(charge(&waiters).run(effects.body(0)));
            for _ in 0..polls {
                assert!(poll_once(&mut waiter).is_pending());
            }
            let before = Instant::now();
            assert_eq!(owner.await.unwrap(), 1);
            assert_eq!(waiter.await.unwrap(), 1);
            assert_eq!(before.elapsed(), Duration::ZERO, "after {polls} polls");
            assert_eq!(effects.started(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_polls_where_nothing_is_told() {
    let faulty = Faulty::new().without_push();
    let elsewhere = SharedStore::new(faulty.clone());
    let store = SharedStore::new(faulty);
    let effects = Effects::new();
    let mut owner: Call = Box::pin(charge(&store).run(effects.body(50)));
    poll_until(&mut owner, || effects.started() == 1).await;
    let waiter = tokio::spawn(charge(&elsewhere).run(effects.body(0)));
    yields(20).await;
    assert_eq!(owner.await.unwrap(), 1);
    assert_eq!(waiter.await.unwrap().unwrap(), 1);
    assert_eq!(effects.started(), 1);
}

#[tokio::test]
async fn a_body_that_calls_itself_with_its_key_is_refused() {
    for store in stores() {
        let inner = charge(&store).run(async { Ok(0) });
        let outer = charge(&store).run(inner);
        assert!(matches!(outer.await, Err(Error::Reentrant { .. })));
        // It was an `Err`, so the key is free; and another key is no re-entry.
        let inner = charge_for(&store, 1).run(async { Ok(5) });
        assert_eq!(charge(&store).run(inner).await.unwrap(), 5);
    }
}

#[tokio::test]
async fn a_body_that_calls_itself_through_another_operation_is_refused() {
    for store in stores() {
        let innermost = charge(&store).run_attached(async { Ok(0) });
        let between = operation::<Answer, _>("concurrency.between", &[&0]).store(&store);
        let outer = charge(&store).run_attached(between.run_attached(innermost));
        assert!(matches!(outer.await, Err(Error::Reentrant { .. })));
    }
}

#[tokio::test]
async fn the_same_key_of_another_store_or_namespace_is_no_reentry() {
    let [memory, other, _] = stores();
    for inner in [other, memory.with_namespace("staging")] {
        let nested = charge(&inner).run(async { Ok(3) });
        assert_eq!(charge(&memory).run(nested).await.unwrap(), 3);
        charge(&memory).forget().await.unwrap();
    }
}

#[tokio::test]
async fn duplicates_side_by_side_in_one_task_are_no_reentry() {
    for store in stores() {
        let effects = Effects::new();
        let call = || charge(&store).run(effects.body(2));
        let answers = tokio::join!(call(), call(), call());
        assert!(
            matches!(answers, (Ok(1), Ok(1), Ok(1))),
            "{store:?}: {answers:?}"
        );
        let both = async { tokio::join!(call(), call()).0 };
        let outer = charge_for(&store, 1).run_attached(both);
        assert_eq!(outer.await.unwrap(), 1, "inside of another body, too");
        assert_eq!(effects.started(), 1);
    }
}

/// Whoever tries again at once, on the one thread that the owner needs too, gives way to it.
#[tokio::test]
async fn a_loop_that_tries_again_at_once_lets_the_owner_end() {
    const TRIES: u32 = 100_000;
    for store in stores() {
        for attached in [false, true] {
            charge(&store).forget().await.unwrap();
            let effects = Effects::new();
            let looks = Arc::new(AtomicU32::new(0));
            let (body, seen) = (effects.clone(), looks.clone());
            let owner = tokio::spawn(charge(&store).run(async move {
                body.start();
                while seen.load(Ordering::SeqCst) == 0 {
                    tokio::task::yield_now().await;
                }
                Ok(body.finish())
            }));
            until(|| effects.started() == 1).await;
            let answer = loop {
                let tries = looks.fetch_add(1, Ordering::SeqCst);
                assert!(tries < TRIES, "the owner is not let end: {store:?}");
                let call = charge(&store).wait(Duration::ZERO);
                let answer = if attached {
                    call.run_attached(effects.body(0)).await
                } else {
                    call.run(effects.body(0)).await
                };
                match answer {
                    Err(error) if error.is_retryable() => {}
                    answer => break answer,
                }
            };
            assert_eq!(answer.unwrap(), owner.await.unwrap().unwrap());
            assert_eq!(effects.started(), 1);
        }
    }
}

/// A replay waits for nothing; a loop of them lets others run all the same, in its task and on its
/// thread.
#[tokio::test]
async fn a_loop_of_replays_lets_others_run() {
    const REPLAYS: u32 = 100_000;
    for store in stores() {
        for attached in [false, true] {
            charge(&store).forget().await.unwrap();
            let effects = Effects::new();
            charge(&store).run(effects.body(0)).await.unwrap();
            let turns = Arc::new(AtomicU32::new(0));
            let taken = Arc::clone(&turns);
            let elsewhere = tokio::spawn(async move {
                for _ in 0..3 {
                    taken.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            });
            let beside = async {
                for _ in 0..3 {
                    turns.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            };
            let replays = async {
                for _ in 0..REPLAYS {
                    if turns.load(Ordering::SeqCst) == 6 {
                        return;
                    }
                    let call = charge(&store);
                    let replayed = if attached {
                        call.run_attached(effects.body(0)).await
                    } else {
                        call.run(effects.body(0)).await
                    };
                    assert_eq!(replayed.unwrap(), 1);
                }
                panic!("others had {turns:?} of 6 turns: {store:?}");
            };
            tokio::join!(replays, beside);
            elsewhere.await.unwrap();
        }
    }
}
