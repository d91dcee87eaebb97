//! Duplicates in one process share one claim. The calls that wait for one key are a *flight*: the
//! first, its *leader*, asks the store, and the *followers* wait for what it learns.
//!
//! ```text
//! join ─┬─ Leader ── claims, waits or runs ──┬─ lands with a record or an error: followers take it
//!       │                                    └─ is dropped: the flight is free, and followers join anew
//!       ├─ Follower ── waits until the flight lands, its own time is over, or the leader is silent
//!       └─ Bypass (another payload) ── asks the store for itself
//! ```
//!
//! A flight only saves commands; the store decides who runs. So followers wait on shared state,
//! never on the leader's future, and trust a leader only for a while: for [`LEADER_TIMEOUT`] after
//! it has sent a claim, and after each poll while it waits; for a lease after each heartbeat while
//! its body runs. If it is silent for longer, a follower removes the flight, and the next call to
//! join asks the store.

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

/// How long a leader is trusted after it has sent a claim, or was last polled while it waits.
pub(crate) const LEADER_TIMEOUT: Duration = Duration::from_secs(1);

/// The flights of one store. Clones share one table.
#[derive(Clone, Default)]
pub(crate) struct Flights {
    by_key: Arc<DashMap<Key, Arc<Flight>, foldhash::fast::RandomState>>,
}

/// One flight. Nearly all flights have no followers: then it costs a lock and an empty list of
/// waiters.
struct Flight {
    key: Key,
    fingerprint: Option<Fingerprint>,
    state: Mutex<FlightState>,
    /// Notified when the state changes.
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

/// The deadlines of a flight that has not landed.
#[derive(Clone, Copy)]
struct Deadlines {
    /// Until when the leader is trusted.
    leader: Instant,
    /// The end of the running owner's lease, be it the leader or another process. `None`: the store
    /// has not answered yet.
    owner: Option<Instant>,
}

/// The result that a flight lands with.
#[derive(Clone)]
pub(crate) enum FlightOutcome {
    /// The recorded result.
    Record(Arc<Record>),
    /// There is nothing to share: the next call asks the store.
    Free,
    /// The store could not be asked, and this is its error.
    Failed(StoreError),
}

/// A call's role among its duplicates.
pub(crate) enum Role {
    /// It asks the store, and lands the flight with what it learns.
    Leader(Lead),
    /// Another call asks already; it waits for that one.
    Follower(Follow),
    /// Another call asks with another payload; it asks for itself.
    Bypass,
}

impl Flights {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Removes this flight, unless a new one has taken its place.
    fn remove(&self, flight: &Arc<Flight>) {
        mutant!("anybody ends a flight" => self.by_key.remove_if(&flight.key, |_, _| true));
        self.by_key
            .remove_if(&flight.key, |_, current| Arc::ptr_eq(current, flight));
    }

    /// Removes the flight of `key`, so that nobody else joins it: an operator has written the
    /// record, and what the flight learns may be older.
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
                // From now, because the call may have begun long ago.
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

/// The leader's side of a flight. Its drop frees the followers to ask the store.
pub(crate) struct Lead {
    flights: Flights,
    flight: Option<Arc<Flight>>,
}

impl Lead {
    /// The leader runs the body and was polled just now. It may be silent for `lease`.
    pub(crate) fn extend(&self, lease: Duration) {
        self.set_deadlines(lease, lease);
    }

    /// The leader waits for another process' owner, whose lease ends after `lease_left`.
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

    /// Trusts the leader for [`LEADER_TIMEOUT`] from now. This wakes nobody: a follower looks again
    /// before it gives the leader up.
    pub(crate) fn beat(&self) {
        let Some(flight) = &self.flight else { return };
        if let FlightState::Flying(deadlines) = &mut *flight.state() {
            deadlines.leader = deadlines.leader.max(time::now() + LEADER_TIMEOUT);
        }
    }

    /// Ends the flight with `outcome`, which all followers take.
    pub(crate) fn land(mut self, outcome: FlightOutcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: FlightOutcome) {
        if let Some(flight) = self.flight.take() {
            // Removed from the table first: a call that comes now asks the store, and finds what
            // the flight has landed with.
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

/// A follower's side of a flight.
pub(crate) struct Follow {
    flights: Flights,
    flight: Arc<Flight>,
}

/// How the waiting of a follower ended.
pub(crate) enum FollowResult {
    Landed(FlightOutcome),
    /// The leader was silent for too long. The flight is removed; the next call asks the store.
    Stalled,
    /// The follower's own time is over. By the store's last answer, the owner has this much left of
    /// its lease.
    TimedOut(Duration),
    /// The follower's own time is over, and the store has not answered the leader yet.
    Unanswered,
}

impl Follow {
    /// Waits until the flight lands, the leader is silent for too long, or the follower's time is
    /// over: at `deadline`, or at `answer_by` while the store has not answered the leader.
    /// Cancel-safe.
    pub(crate) async fn wait_landed(self, deadline: Instant, answer_by: Instant) -> FollowResult {
        loop {
            // Registered before it looks, so that it misses no change in between.
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
            // If it times out, the next round sees which deadline it was.
            let _ = time::timeout_at(deadlines.leader.min(until), changed).await;
        }
    }
}
