//! Duplicates in one process: one leads, and whatever happens to it, the others go on.

use std::{sync::Arc, time::Duration};

use shuttle::{
    future::{block_on, spawn, yield_now},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::{key, request};
use crate::{
    SharedStore,
    store::{
        MemoryStore,
        single_flight::{FlightOutcome, FollowResult, LEADER_TIMEOUT, Role},
    },
    sync::time,
};

const LEASE: Duration = Duration::from_secs(30);

struct World {
    /// Not asked: it has the flights.
    store: SharedStore,
    recorded: AtomicBool,
    /// Who leads right now, and is believed to.
    leaders: AtomicUsize,
    ran: AtomicUsize,
}

impl World {
    fn new() -> Arc<Self> {
        time::restart();
        Arc::new(Self {
            store: SharedStore::new(MemoryStore::new()),
            recorded: AtomicBool::default(),
            leaders: AtomicUsize::default(),
            ran: AtomicUsize::default(),
        })
    }

    fn join(&self) -> Role {
        self.store.flights().join(&key(1), request(1).fingerprint)
    }

    fn check_end(&self) {
        assert_eq!(self.store.flights().len(), 0, "a flight is left");
        assert_eq!(self.ran.load(Ordering::SeqCst), 1);
    }
}

/// A call as `acquire` makes it. It gives up while it leads, or goes on to the end.
async fn call(world: Arc<World>, gives_up: bool) {
    loop {
        let follow = match world.join() {
            Role::Leader(lead) => {
                assert_eq!(world.leaders.fetch_add(1, Ordering::SeqCst), 0, "two lead");
                yield_now().await;
                let recorded = world.recorded.load(Ordering::SeqCst);
                if !recorded && !gives_up {
                    world.ran.fetch_add(1, Ordering::SeqCst);
                    yield_now().await;
                    world.recorded.store(true, Ordering::SeqCst);
                }
                world.leaders.fetch_sub(1, Ordering::SeqCst);
                if recorded || !gives_up {
                    lead.land(FlightOutcome::Record(Arc::new(request(1).record())));
                }
                return;
            }
            Role::Follower(follow) => follow,
            Role::Bypass => panic!("there is one payload"),
        };
        let patience = time::now() + LEASE * 100;
        match follow.wait_landed(patience, patience).await {
            FollowResult::Landed(FlightOutcome::Record(_)) => {
                let recorded = world.recorded.load(Ordering::SeqCst);
                assert!(recorded, "answered with nothing recorded");
                return;
            }
            FollowResult::Landed(FlightOutcome::Free) | FollowResult::Stalled => {}
            FollowResult::Landed(FlightOutcome::Failed(_)) => panic!("nothing failed"),
            FollowResult::TimedOut(_) | FollowResult::Unanswered => {
                panic!("nobody waited for so long")
            }
        }
    }
}

/// Three calls at once, of which the first ones give up when they lead.
pub fn duplicates(given_up: usize) {
    let world = World::new();
    let calls = (0..3).map(|number| spawn(call(Arc::clone(&world), number < given_up)));
    for call in calls.collect::<Vec<_>>() {
        block_on(call).expect("it ends");
    }
    world.check_end();
}

/// A leader that is silent for too long, and comes back while others go on.
pub fn stalled() {
    let world = World::new();
    let Role::Leader(lead) = world.join() else {
        panic!("it is the first one");
    };
    let calls = (0..3).map(|_| spawn(call(Arc::clone(&world), false)));
    let mut calls: Vec<_> = calls.collect();
    calls.push(spawn(async move {
        time::advance(LEADER_TIMEOUT);
        yield_now().await;
        drop(lead);
    }));
    for call in calls {
        block_on(call).expect("it ends");
    }
    world.check_end();
}
