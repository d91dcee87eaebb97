//! Duplicates in one process: one of them asks the store, the others wait for what it learns.
//!
//! They wait on shared state, never on the leader's future: a leader that nobody polls stops holding them up as soon as
//! its lease must have lapsed.

use std::{sync::Arc, time::Duration};

use dashmap::{DashMap, Entry};
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use crate::{StoreError, execution::Attempt, fingerprint::Fingerprint, key::Key, record::Record};

/// The flights of one store.
#[derive(Default)]
pub(crate) struct Flights {
    by_key: DashMap<Key, Arc<Flight>, foldhash::fast::RandomState>,
}

struct Flight {
    fingerprint: Option<Fingerprint>,
    phase: watch::Sender<Phase>,
}

#[derive(Clone)]
enum Phase {
    /// The leader is believed at work until then.
    Flying(Instant),
    Landed(Landing),
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

/// Joins the flight of the attempt's key, or starts it. `believed` is how long a leader may be silent.
pub(crate) fn join(attempt: &Arc<Attempt>, believed: Duration) -> Place {
    let fingerprint = attempt.request.fingerprint;
    match attempt.store.flights().by_key.entry(attempt.key.clone()) {
        Entry::Occupied(entry) => {
            let flight = entry.get();
            if matches!((flight.fingerprint, fingerprint), (Some(a), Some(b)) if a != b) {
                return Place::Aside;
            }
            let phase = flight.phase.subscribe();
            Place::Follower(Follow {
                attempt: Arc::clone(attempt),
                flight: Arc::clone(flight),
                phase,
            })
        }
        Entry::Vacant(entry) => {
            let phase = watch::Sender::new(Phase::Flying(Instant::now() + believed));
            let flight = Arc::new(Flight { fingerprint, phase });
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
    /// The leader was just seen at work, and may be silent for `believed` from now on.
    pub(crate) fn extend(&self, believed: Duration) {
        if let Some(flight) = &self.flight {
            flight
                .phase
                .send_replace(Phase::Flying(Instant::now() + believed));
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
            flight.phase.send_replace(Phase::Landed(landing));
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
    phase: watch::Receiver<Phase>,
}

/// How a follower's waiting ended.
pub(crate) enum Followed {
    Landed(Landing),
    /// The leader has been silent for too long; the flight is over and the next one asks the store.
    Stalled,
    /// The follower's own time is over; the leader is believed at work for this long.
    TimedOut(Duration),
}

impl Follow {
    /// Waits for the landing, until `deadline`. Cancel-safe.
    pub(crate) async fn landed(mut self, deadline: Instant) -> Followed {
        loop {
            let phase = self.phase.borrow_and_update().clone();
            let until = match phase {
                Phase::Landed(landing) => return Followed::Landed(landing),
                Phase::Flying(until) => until,
            };
            let now = Instant::now();
            if now >= until {
                self.attempt
                    .store
                    .flights()
                    .remove(&self.attempt.key, &self.flight);
                return Followed::Stalled;
            }
            if now >= deadline {
                return Followed::TimedOut(until - now);
            }
            // The flight keeps the sender, so `changed` fails never; a time-out is looked at above.
            let _ = time::timeout_at(until.min(deadline), self.phase.changed()).await;
        }
    }
}
