//! Drops a call that waits, takes over or adopts at every await point.

use std::{pin::Pin, task::Poll, time::Duration};

use crate::common::{
    Answer, Effects, GENEROUS,
    faulty::{Fault, Faulty, Op},
    poll_once, poll_until, settled,
};
use idempotent_fn::{
    Error, OnCrash, Operation, SharedStore, operation,
    store::{ManualClock, MemoryStore},
};

const LEASE: Duration = Duration::from_secs(30);
const PAUSES: usize = 3;

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Two processes, so to say, with one store.
struct Setting {
    here: SharedStore,
    there: SharedStore,
    faulty: Faulty,
    clock: ManualClock,
    effects: Effects,
    on_crash: OnCrash,
}

impl Setting {
    fn new(on_crash: OnCrash) -> Self {
        let clock = ManualClock::new();
        let faulty = Faulty::around(MemoryStore::with_clock(&clock));
        Self {
            here: SharedStore::new(faulty.clone()),
            there: SharedStore::new(faulty.clone()),
            faulty,
            clock,
            effects: Effects::new(),
            on_crash,
        }
    }

    fn charge(&self, store: &SharedStore) -> Operation<u32, Error> {
        operation::<Answer, _>("cancelled_waiting", &[&"k"])
            .store(store)
            .on_crash(self.on_crash)
            .lease(LEASE)
            .wait(GENEROUS)
    }

    fn call(&self, store: &SharedStore, attached: bool) -> Call {
        let (operation, body) = (self.charge(store), self.effects.body(PAUSES));
        if attached {
            Box::pin(operation.run_attached(body))
        } else {
            Box::pin(operation.run(body))
        }
    }

    async fn running(&self, store: &SharedStore) -> Call {
        let mut owner = self.call(store, false);
        let before = self.effects.started();
        poll_until(&mut owner, || self.effects.started() > before).await;
        owner
    }

    async fn is_quiet(&self) {
        settled(&self.here).await;
        settled(&self.there).await;
    }
}

/// Polls `polls` times, moving tokio's stopped clock a little in between; true once it has
/// completed.
async fn completes(call: &mut Call, polls: usize) -> bool {
    for _ in 0..polls {
        if let Poll::Ready(answer) = poll_once(call) {
            assert!(answer.is_ok(), "{answer:?}");
            return true;
        }
        tokio::time::advance(Duration::from_millis(7)).await;
    }
    false
}

fn policies() -> impl Iterator<Item = (OnCrash, bool)> {
    let both = [OnCrash::Rerun, OnCrash::Fail];
    both.into_iter()
        .flat_map(|on_crash| [(on_crash, false), (on_crash, true)])
}

/// It waits for another process' owner, who finishes at some time; or, in the end, for nobody.
#[tokio::test(start_paused = true)]
async fn while_it_waits() {
    for (on_crash, attached) in policies() {
        for polls in 0.. {
            let setting = Setting::new(on_crash);
            let mut owner = setting.running(&setting.there).await;
            let mut waiter = setting.call(&setting.here, attached);
            assert!(!completes(&mut waiter, polls.min(14)).await);
            let ended = if polls > 14 {
                assert!(completes(&mut owner, 100).await);
                completes(&mut waiter, polls - 14).await
            } else {
                false
            };
            drop(waiter);
            if polls <= 14 {
                assert!(completes(&mut owner, 100).await);
            }
            let next = setting.call(&setting.here, attached).await;
            assert_eq!(next.unwrap(), 1, "dropped after {polls} polls");
            assert_eq!(setting.effects.started(), 1);
            setting.is_quiet().await;
            if ended {
                break;
            }
        }
    }
}

/// It takes over from a silent owner.
#[tokio::test(start_paused = true)]
async fn while_it_takes_over() {
    for attached in [false, true] {
        for polls in 0.. {
            let setting = Setting::new(OnCrash::Rerun);
            let silent = setting.charge(&setting.there).run(setting.effects.hang());
            let mut silent: Call = Box::pin(silent);
            poll_until(&mut silent, || setting.effects.started() == 1).await;
            std::mem::forget(silent);
            setting.clock.advance(LEASE);

            let mut successor = setting.call(&setting.here, attached);
            let ended = completes(&mut successor, polls).await;
            drop(successor);
            let next = setting.call(&setting.here, attached).await;
            assert_eq!(next.unwrap(), 1, "dropped after {polls} polls");
            assert_eq!(setting.effects.finished(), 1);
            let most = if attached { 3 } else { 2 };
            assert!(setting.effects.started() <= most);
            settled(&setting.here).await;
            if ended {
                break;
            }
        }
    }
}

/// It comes late, is refused, and waits for its successor.
#[tokio::test(start_paused = true)]
async fn while_it_adopts() {
    for polls in 0.. {
        let setting = Setting::new(OnCrash::Rerun);
        let mut late = setting.running(&setting.there).await;
        setting.clock.advance(LEASE);
        let mut successor = setting.running(&setting.here).await;
        assert!(!completes(&mut late, polls.min(16)).await);
        let mut ended = false;
        if polls > 16 {
            assert!(completes(&mut successor, 100).await);
            ended = completes(&mut late, polls - 16).await;
        }
        drop(late);
        if polls <= 16 {
            assert!(completes(&mut successor, 100).await);
        }
        let next = setting.call(&setting.there, false).await.unwrap();
        let recorded = setting.call(&setting.here, false).await.unwrap();
        assert_eq!(next, recorded, "dropped after {polls} polls");
        assert_eq!(setting.effects.started(), 2);
        setting.is_quiet().await;
        if ended {
            break;
        }
    }
}

/// The store does not answer at all while the call is dropped.
#[tokio::test(start_paused = true)]
async fn while_the_store_is_silent() {
    for op in [Op::Claim, Op::Read, Op::Subscribe, Op::Finish] {
        let mut happened = 0;
        for (on_crash, attached) in policies() {
            for polls in 0..20 {
                let setting = Setting::new(on_crash);
                let mut owner = setting.running(&setting.there).await;
                setting.faulty.next(op, [Fault::Hang]);
                let mut waiter = setting.call(&setting.here, attached);
                assert!(!completes(&mut waiter, polls).await);
                drop(waiter);
                assert!(completes(&mut owner, 10_000).await);
                let next = setting.call(&setting.here, attached).await;
                assert_eq!(next.unwrap(), 1, "{op:?} dropped after {polls} polls");
                assert_eq!(setting.effects.started(), 1);
                setting.is_quiet().await;
                happened += setting.faulty.happened(op, Fault::Hang);
            }
        }
        assert!(happened > 0, "{op:?} was never sent");
    }
}
