//! What people are shown of a record.

use std::time::{Duration, SystemTime};

use super::SharedStore;
use crate::{
    OnCrash,
    record::{Owner, Record, RecordedBytes, State},
};

/// A key's record, as far as it concerns people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// Where the operation stands.
    pub state: State,
    /// The fencing token of the last grant.
    pub fencing_token: u64,
    /// Grants so far.
    pub attempts: u32,
    /// What the owner's vanishing means, for this record.
    pub on_crash: OnCrash,
    /// What is left of a running owner's lease; zero when it is silent for longer, or does not run.
    pub lease_left: Duration,
    /// When the last grant was, by the store's clock: its fencing token says so, where no later
    /// clock than the store's had made one before.
    pub since: SystemTime,
    /// Who runs it, or ran it when it was lost: `host:pid`, or the name that was given to
    /// [`SharedStore::with_owner`]. None in other states.
    pub owner: Option<Owner>,
    /// The trace that the last attempt was part of, where [`SharedStore::with_trace`] told it.
    pub trace: Option<[u8; 16]>,
    /// How long a result of the last attempt is kept.
    pub ttl: Duration,
    /// Until when a completed result, or a released record, is kept, by the store's clock.
    pub expires: Option<SystemTime>,
    /// Whether the completed result is there to be replayed.
    pub has_result: bool,
}

impl Inspection {
    /// What people are shown of a record of this store.
    pub(crate) fn of(store: &SharedStore, record: Record, lease_left: Duration) -> Self {
        let at = |since_1970: Duration| SystemTime::UNIX_EPOCH + since_1970;
        // In a store of this process no other can be meant.
        let is_here = store.local().is_some() && record.state == State::Running;
        Self {
            state: record.state,
            fencing_token: record.token,
            attempts: record.attempts,
            on_crash: record.on_crash,
            lease_left,
            since: at(Duration::from_micros(record.token)),
            owner: record.owner.or_else(|| is_here.then(Owner::here).flatten()),
            trace: record.trace,
            ttl: record.ttl,
            expires: matches!(record.state, State::Done | State::Failed)
                .then(|| at(Duration::from_millis(record.expires))),
            has_result: matches!(
                record.outcome,
                Some(RecordedBytes::Ok(_) | RecordedBytes::Err(_))
            ),
        }
    }
}
