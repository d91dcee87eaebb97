//! Duplicates in one process: one of them asks the store, the others wait for what it learns.
//!
//! They wait on shared state, never on the leader's future: a leader that nobody polls stops holding them up as soon as
//! its lease must have lapsed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dashmap::{DashMap, Entry};
use tokio::{
    sync::Notify,
    time::{self, Instant},
};

use crate::{StoreError, execution::Attempt, fingerprint::Fingerprint, key::Key, record::Record};

/// The flights of one store.
#[derive(Default)]
pub(crate) struct Flights {
    by_key: DashMap<Key, Arc<Flight>, foldhash::fast::RandomState>,
}

/// It costs a call little that nobody follows, as nearly all are: no more than a lock and a list that is empty.
struct Flight {
    fingerprint: Option<Fingerprint>,
    phase: Mutex<Phase>,
    /// Told of each new phase.
    changed: Notify,
}

impl Flight {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.phase() = phase;
        self.changed.notify_waiters();
    }
}

enum Phase {
    Flying(Belief),
    Landed(Landing),
}

/// What is believed of a flight.
#[derive(Clone, Copy)]
struct Belief {
    /// The leader is at work until then.
    leader: Instant,
    /// Whoever runs, the leader or another process' owner, holds its lease until then.
    owner: Instant,
}

impl Belief {
    fn new(leader: Duration, owner: Duration) -> Self {
        let now = Instant::now();
        Self {
            leader: now + leader,
            owner: now + owner,
        }
    }
}

/// What a flight ended with.
#[derive(Clone)]
pub(crate) enum Landing {
    /// The recorded result.
    Record(Arc<Record>),
    /// Nothing to share: the next one asks the store.
    Free,
    /// The store could not be asked.
    Failed(StoreError),
}

/// A call's place among its duplicates.
pub(crate) enum Place {
    /// Ask the store, then say what it said.
    Leader(Lead),
    /// Somebody is asking already.
    Follower(Follow),
    /// Somebody is asking with another payload: ask for yourself.
    Aside,
}

impl Flights {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn remove(&self, key: &Key, flight: &Arc<Flight>) {
        self.by_key
            .remove_if(key, |_, current| Arc::ptr_eq(current, flight));
    }
}

/// Joins the flight of the attempt's key, or starts it. `believed` is how long a leader that asks may be silent.
pub(crate) fn join(attempt: &Arc<Attempt>, believed: Duration) -> Place {
    let fingerprint = attempt.request.fingerprint;
    match attempt.store.flights().by_key.entry(attempt.key.clone()) {
        Entry::Occupied(entry) => {
            let flight = entry.get();
            if matches!((flight.fingerprint, fingerprint), (Some(a), Some(b)) if a != b) {
                return Place::Aside;
            }
            Place::Follower(Follow {
                attempt: Arc::clone(attempt),
                flight: Arc::clone(flight),
            })
        }
        Entry::Vacant(entry) => {
            // From now on, and not from when the call began: that may be long ago.
            let belief = Belief::new(believed, attempt.request.lease);
            let flight = Arc::new(Flight {
                fingerprint,
                phase: Mutex::new(Phase::Flying(belief)),
                changed: Notify::new(),
            });
            entry.insert(Arc::clone(&flight));
            Place::Leader(Lead {
                attempt: Arc::clone(attempt),
                flight: Some(flight),
            })
        }
    }
}

/// The leader's side. Dropping it frees the followers to ask for themselves.
pub(crate) struct Lead {
    attempt: Arc<Attempt>,
    flight: Option<Arc<Flight>>,
}

impl Lead {
    /// The leader runs, was just seen at work, and may be silent for `lease` from now on.
    pub(crate) fn extend(&self, lease: Duration) {
        self.believe(Belief::new(lease, lease));
    }

    /// The leader waits for another process' owner: it may be silent for `believed`, its owner for `lease_left`.
    pub(crate) fn waits(&self, believed: Duration, lease_left: Duration) {
        self.believe(Belief::new(believed, lease_left));
    }

    fn believe(&self, belief: Belief) {
        if let Some(flight) = &self.flight {
            flight.enter(Phase::Flying(belief));
        }
    }

    pub(crate) fn land(mut self, landing: Landing) {
        self.end(landing);
    }

    fn end(&mut self, landing: Landing) {
        if let Some(flight) = self.flight.take() {
            // Out of the map first: whoever comes now asks the store, and finds what has landed.
            self.attempt
                .store
                .flights()
                .remove(&self.attempt.key, &flight);
            flight.enter(Phase::Landed(landing));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.end(Landing::Free);
    }
}

/// A follower's side.
pub(crate) struct Follow {
    attempt: Arc<Attempt>,
    flight: Arc<Flight>,
}

/// How a follower's waiting ended.
pub(crate) enum Followed {
    Landed(Landing),
    /// The leader has been silent for too long; the flight is over and the next one asks the store.
    Stalled,
    /// The follower's own time is over; whoever runs has this much left of its lease.
    TimedOut(Duration),
}

impl Follow {
    /// Waits for the landing, until `deadline`. Cancel-safe.
    pub(crate) async fn landed(self, deadline: Instant) -> Followed {
        loop {
            // Before it looks: a change that comes in between is told of too.
            let changed = self.flight.changed.notified();
            let belief = match &*self.flight.phase() {
                Phase::Landed(landing) => return Followed::Landed(landing.clone()),
                Phase::Flying(belief) => *belief,
            };
            let now = Instant::now();
            if now >= belief.leader {
                self.attempt
                    .store
                    .flights()
                    .remove(&self.attempt.key, &self.flight);
                return Followed::Stalled;
            }
            if now >= deadline {
                return Followed::TimedOut(belief.owner.saturating_duration_since(now));
            }
            // A time-out is looked at above.
            let _ = time::timeout_at(belief.leader.min(deadline), changed).await;
        }
    }
}
