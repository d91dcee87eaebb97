//! Duplicates in one process: one of them asks the store, the others wait for what it learns.
//!
//! They wait on shared state, never on the leader's future, and a leader is believed only as long as it is seen at work:
//! one that runs for its lease, one that waits or has just asked for [`LEADER_TIMEOUT`]. Whoever comes after a leader that nobody polls asks
//! for itself: a flight saves commands, the store decides.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    StoreError,
    fingerprint::Fingerprint,
    key::Key,
    record::Record,
    sync::{
        DashMap, Entry, Mutex, MutexGuard, Notify, mutant,
        time::{self, Instant},
    },
};

/// How long a leader is believed after it has asked, or was last polled while it waits.
pub(crate) const LEADER_TIMEOUT: Duration = Duration::from_secs(1);

/// The flights of one store. Clones are one table.
#[derive(Clone, Default)]
pub(crate) struct Flights {
    by_key: Arc<DashMap<Key, Arc<Flight>, foldhash::fast::RandomState>>,
}

/// It costs a call little that nobody follows, as nearly all are: no more than a lock and a list that is empty.
struct Flight {
    key: Key,
    fingerprint: Option<Fingerprint>,
    state: Mutex<FlightState>,
    /// Notified of each new state.
    changed: Notify,
}

impl Flight {
    fn state(&self) -> MutexGuard<'_, FlightState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_state(&self, state: FlightState) {
        *self.state() = state;
        self.changed.notify_waiters();
    }
}

enum FlightState {
    Flying(Deadlines),
    Landed(FlightOutcome),
}

/// Until when a flight is trusted.
#[derive(Clone, Copy)]
struct Deadlines {
    /// The leader is at work until then.
    leader: Instant,
    /// Whoever runs, the leader or another process' owner, holds its lease until then, as the store has said. `None`: it
    /// has not said anything yet.
    owner: Option<Instant>,
}

/// What a flight lands with.
#[derive(Clone)]
pub(crate) enum FlightOutcome {
    /// The recorded result.
    Record(Arc<Record>),
    /// Nothing to share: the next one asks the store.
    Free,
    /// The store could not be asked.
    Failed(StoreError),
}

/// A call's role among its duplicates.
pub(crate) enum Role {
    /// Ask the store, then say what it said.
    Leader(Lead),
    /// Somebody is asking already.
    Follower(Follow),
    /// Somebody is asking with another payload: ask for yourself.
    Bypass,
}

impl Flights {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn remove(&self, flight: &Arc<Flight>) {
        mutant!("anybody ends a flight" => self.by_key.remove_if(&flight.key, |_, _| true));
        self.by_key
            .remove_if(&flight.key, |_, current| Arc::ptr_eq(current, flight));
    }

    /// Lets nobody else join the flight of `key`: what it learns may be older than what was written just now.
    pub(crate) fn close(&self, key: &Key) {
        self.by_key.remove_if(key, |_, _| true);
    }

    /// Joins the flight of `key`, or starts it.
    pub(crate) fn join(&self, key: &Key, fingerprint: Option<Fingerprint>) -> Role {
        match self.by_key.entry(key.clone()) {
            Entry::Occupied(entry) => {
                let flight = entry.get();
                if matches!((flight.fingerprint, fingerprint), (Some(a), Some(b)) if a != b) {
                    return Role::Bypass;
                }
                Role::Follower(Follow {
                    flights: self.clone(),
                    flight: Arc::clone(flight),
                })
            }
            Entry::Vacant(entry) => {
                // From now on, and not from when the call began: that may be long ago.
                let deadlines = Deadlines {
                    leader: time::now() + LEADER_TIMEOUT,
                    owner: None,
                };
                let flight = Arc::new(Flight {
                    key: key.clone(),
                    fingerprint,
                    state: Mutex::new(FlightState::Flying(deadlines)),
                    changed: Notify::new(),
                });
                entry.insert(Arc::clone(&flight));
                Role::Leader(Lead {
                    flights: self.clone(),
                    flight: Some(flight),
                })
            }
        }
    }
}

/// The leader's side. Dropping it frees the followers to ask for themselves.
pub(crate) struct Lead {
    flights: Flights,
    flight: Option<Arc<Flight>>,
}

impl Lead {
    /// The leader runs, was just seen at work, and may be silent for `lease` from now on.
    pub(crate) fn extend(&self, lease: Duration) {
        self.set_deadlines(lease, lease);
    }

    /// The leader waits for another process' owner, which may be silent for `lease_left`.
    pub(crate) fn set_waiting(&self, lease_left: Duration) {
        self.set_deadlines(LEADER_TIMEOUT, lease_left);
    }

    fn set_deadlines(&self, leader: Duration, owner: Duration) {
        if let Some(flight) = &self.flight {
            let now = time::now();
            flight.set_state(FlightState::Flying(Deadlines {
                leader: now + leader,
                owner: Some(now + owner),
            }));
        }
    }

    /// The leader is at work: it is believed for [`LEADER_TIMEOUT`] from now on. Nobody is woken for this: a follower looks again
    /// before it doubts.
    pub(crate) fn beat(&self) {
        let Some(flight) = &self.flight else { return };
        if let FlightState::Flying(deadlines) = &mut *flight.state() {
            deadlines.leader = deadlines.leader.max(time::now() + LEADER_TIMEOUT);
        }
    }

    pub(crate) fn land(mut self, outcome: FlightOutcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: FlightOutcome) {
        if let Some(flight) = self.flight.take() {
            // Out of the map first: whoever comes now asks the store, and finds what has landed.
            self.flights.remove(&flight);
            flight.set_state(FlightState::Landed(outcome));
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        mutant!("a dropped leader frees nobody" => return);
        self.end(FlightOutcome::Free);
    }
}

/// A follower's side.
pub(crate) struct Follow {
    flights: Flights,
    flight: Arc<Flight>,
}

/// How a follower's waiting ended.
pub(crate) enum FollowResult {
    Landed(FlightOutcome),
    /// The leader has been silent for too long; the flight is over and the next one asks the store.
    Stalled,
    /// The follower's own time is over; whoever runs has this much left of its lease, as the store has said.
    TimedOut(Duration),
    /// The follower's own time is over, and the store has not answered the leader.
    Unanswered,
}

impl Follow {
    /// Waits until the flight lands, until `deadline`; or for as long as an answer may be waited for, until `answer_by`, where the
    /// store has said nothing yet. Cancel-safe.
    pub(crate) async fn wait_landed(self, deadline: Instant, answer_by: Instant) -> FollowResult {
        loop {
            // Before it looks: a change that comes in between is told of too.
            let changed = self.flight.changed.notified();
            let deadlines = match &*self.flight.state() {
                FlightState::Landed(outcome) => return FollowResult::Landed(outcome.clone()),
                FlightState::Flying(deadlines) => *deadlines,
            };
            let now = time::now();
            if now >= deadlines.leader {
                self.flights.remove(&self.flight);
                return FollowResult::Stalled;
            }
            let until = match deadlines.owner {
                Some(owner) if now >= deadline => {
                    return FollowResult::TimedOut(owner.saturating_duration_since(now));
                }
                None if now >= answer_by => return FollowResult::Unanswered,
                Some(_) => deadline,
                None => answer_by,
            };
            mutant!("a follower listens after it has looked" => {
                self.flight.changed.notified().await;
                continue;
            });
            // A time-out is looked at above.
            let _ = time::timeout_at(deadlines.leader.min(until), changed).await;
        }
    }
}
