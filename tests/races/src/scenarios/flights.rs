// Included once for each variant of `flight`.

use std::{sync::Arc, time::Duration};

use idempotent_runtime::{
    Key, OnCrash,
    record::{Nonce, Record},
    store::ClaimRequest,
};
use shuttle::{
    future::{block_on, spawn, yield_now},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use self::flight::{Flights, Followed, Landing, Place, SEEN, join};
use crate::shim::tokio::time::{self, Instant};

const LEASE: Duration = Duration::from_secs(10);

/// What a flight asks of a call.
pub(super) mod execution {
    use super::{Arc, ClaimRequest, Flights, Key};

    pub(in super::super) struct Attempt {
        pub(super) key: Key,
        pub(super) request: ClaimRequest,
        pub(super) store: Arc<Store>,
    }

    #[derive(Default)]
    pub(in super::super) struct Store(Flights);

    impl Store {
        pub(super) fn flights(&self) -> &Flights {
            &self.0
        }
    }
}

use self::execution::{Attempt, Store};

#[derive(Default)]
struct World {
    store: Arc<Store>,
    recorded: AtomicBool,
    /// Who leads right now, and is believed to.
    leaders: AtomicUsize,
    ran: AtomicUsize,
}

impl World {
    fn attempt(&self) -> Arc<Attempt> {
        Arc::new(Attempt {
            key: Key::new("races", &[&"k"]).expect("a valid key"),
            request: ClaimRequest {
                nonce: Nonce::from_bytes([1; 16]),
                lease: LEASE,
                on_crash: OnCrash::Rerun,
                fingerprint: None,
                ttl: BELIEVED,
                owner: None,
                trace: None,
            },
            store: Arc::clone(&self.store),
        })
    }

    fn record(&self) -> Arc<Record> {
        Arc::new(self.attempt().request.record())
    }
}

/// A call as `admit` makes it. It gives up while it leads, or goes on to the end.
async fn call(world: Arc<World>, gives_up: bool) {
    loop {
        let attempt = world.attempt();
        let follow = match join(&attempt) {
            Place::Leader(lead) => {
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
                    lead.land(Landing::Record(world.record()));
                }
                return;
            }
            Place::Follower(follow) => follow,
            Place::Aside => panic!("there is one payload"),
        };
        let patience = Instant::now() + LEASE * 100;
        match follow.landed(patience, patience).await {
            Followed::Landed(Landing::Record(_)) => {
                assert!(world.recorded.load(Ordering::SeqCst), "answered with nothing recorded");
                return;
            }
            Followed::Landed(Landing::Free) | Followed::Stalled => {}
            Followed::Landed(Landing::Failed(_)) => panic!("nothing failed"),
            Followed::TimedOut(_) | Followed::Unanswered => panic!("nobody waited for so long"),
        }
    }
}

/// Three calls at once, of which the first ones give up when they lead.
#[allow(dead_code, reason = "not every mutant is asked for this")]
pub(super) fn duplicates(given_up: usize) {
    time::restart();
    let world = Arc::new(World::default());
    let calls: Vec<_> = (0..3).map(|number| spawn(call(Arc::clone(&world), number < given_up))).collect();
    for call in calls {
        block_on(call).expect("it ends");
    }
    assert_eq!(world.store.flights().len(), 0, "a flight is left");
    assert_eq!(world.ran.load(Ordering::SeqCst), 1);
}

/// A leader that is silent for too long, and comes back while others go on.
#[allow(dead_code, reason = "not every mutant is asked for this")]
pub(super) fn stalled() {
    time::restart();
    let world = Arc::new(World::default());
    let attempt = world.attempt();
    let Place::Leader(lead) = join(&attempt) else {
        panic!("it is the first one");
    };
    let mut calls: Vec<_> = (0..3).map(|_| spawn(call(Arc::clone(&world), false))).collect();
    calls.push(spawn(async move {
        time::advance(SEEN);
        yield_now().await;
        drop(lead);
    }));
    for call in calls {
        block_on(call).expect("it ends");
    }
    assert_eq!(world.store.flights().len(), 0, "a flight is left");
    assert_eq!(world.ran.load(Ordering::SeqCst), 1);
}
