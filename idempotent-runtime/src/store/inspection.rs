//! A record as it is shown to operators.

use std::time::{Duration, SystemTime};

use super::SharedStore;
use crate::{
    OnCrash,
    record::{Owner, Record, RecordedBytes, State},
};

/// The record of a key, as far as operators need it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// Where the operation stands.
    pub state: State,
    /// The fencing token of the last grant.
    pub fencing_token: u64,
    /// Grants so far.
    pub attempts: u32,
    /// What it means if the owner of this record vanishes.
    pub on_crash: OnCrash,
    /// What is left of a running owner's lease. Zero if it is silent for longer, or nobody runs.
    pub lease_left: Duration,
    /// The time of the last grant by the store's clock. It is read from the fencing token, and is
    /// later than the grant if an earlier grant used a clock that was ahead.
    pub since: SystemTime,
    /// Who runs it, or who ran it when it was lost: `host:pid`, or the name from
    /// [`SharedStore::with_owner`]. `None` in other states.
    pub owner: Option<Owner>,
    /// The trace of the last attempt, if [`SharedStore::with_trace`] gave one.
    pub trace: Option<[u8; 16]>,
    /// How long a result of the last attempt is kept.
    pub ttl: Duration,
    /// When a completed result, or a released record, ends by the store's clock.
    pub expires: Option<SystemTime>,
    /// Whether there is a result to replay.
    pub has_result: bool,
}

impl Inspection {
    /// The inspection of a record of this store.
    pub(crate) fn of(store: &SharedStore, record: Record, lease_left: Duration) -> Self {
        let at = |since_1970: Duration| SystemTime::UNIX_EPOCH + since_1970;
        // In a store of this process the owner can only be this process.
        let is_finished = matches!(record.state, State::Done | State::Failed);
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
            expires: (is_finished && record.expires != 0)
                .then(|| at(Duration::from_millis(record.expires))),
            has_result: matches!(
                record.outcome,
                Some(RecordedBytes::Ok(_) | RecordedBytes::Err(_))
            ),
        }
    }
}
