//! What a store writes, and for how long it keeps it.

use std::{cmp, time::Duration};

use crate::record::{HOLD, MAX_TTL, Record, State};

/// Finished records are kept at least this long past their end.
const LEAST_GRACE: Duration = Duration::from_secs(30);

/// A record as a store writes it: with the `expires`, owner and check that belong to its state, and
/// the time to keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a store writes it, or the decision has no effect"]
pub struct Write {
    /// The record to write. It replaces whatever was there.
    pub record: Record,
    /// For how long to keep it from now on: its [`retention`], plus its [`grace`] if it is done or
    /// failed.
    pub keep: Duration,
}

impl Write {
    /// `record` as it is written at `now`, the store's time in µs since 1970.
    pub fn new(record: Record, now: u64) -> Self {
        let expires = expires(record.state, record.ttl, now);
        Self::with_end(record, expires)
    }

    /// The same for a server that alone knows the time, and sets [`Record::expires`] of a done or
    /// failed record itself. Here it is 0.
    pub fn undated(record: Record) -> Self {
        Self::with_end(record, 0)
    }

    /// A running record has neither `expires` nor a check.
    #[inline]
    pub(super) const fn running(record: Record) -> Self {
        Self { record, keep: HOLD }
    }

    fn with_end(record: Record, expires: u64) -> Self {
        let is_unfinished = matches!(record.state, State::Running | State::Lost);
        let keep = kept(record.state, record.ttl, record.lease);
        let record = Record {
            expires,
            check: match record.state {
                State::Done => record.check,
                State::Running | State::Failed | State::Lost => 0,
            },
            owner: record.owner.filter(|_| is_unfinished),
            ..record
        };
        Self { record, keep }
    }

    /// The bytes to store.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.record.encode()
    }

    /// For how long the record is shown: its [`retention`].
    #[must_use]
    pub fn shown(&self) -> Duration {
        retention(self.record.state, self.record.ttl)
    }

    /// When the row may be deleted, in µs since 1970, if it is written at `now`. Later does no
    /// harm, as long as the store treats the row as absent from then on. Earlier breaks the
    /// contract.
    #[must_use]
    pub fn delete_at(&self, now: u64) -> u64 {
        now.saturating_add(u64::try_from(self.keep.as_micros()).unwrap_or(u64::MAX))
    }
}

/// For how long a record in `state` is shown after it is written: done for the attempt's `ttl`,
/// failed for its `ttl` but at most [`HOLD`], unfinished for [`HOLD`]. A `ttl` below a millisecond
/// counts as one millisecond, one above [`MAX_TTL`] as `MAX_TTL`.
#[must_use]
pub fn retention(state: State, ttl: Duration) -> Duration {
    let ttl = ttl.clamp(Duration::from_millis(1), MAX_TTL);
    match state {
        State::Done => ttl,
        State::Failed => cmp::min(ttl, HOLD),
        State::Running | State::Lost => HOLD,
    }
}

/// For how long a finished record is kept past its end: 30 seconds, or twice its lease if that is
/// longer.
#[must_use]
pub fn grace(lease: Duration) -> Duration {
    cmp::max(LEAST_GRACE, lease.saturating_mul(2))
}

/// For how long a store keeps the bytes of a record in `state` after it is written.
pub(crate) fn kept(state: State, ttl: Duration, lease: Duration) -> Duration {
    let retention = retention(state, ttl);
    match state {
        State::Done | State::Failed => retention.saturating_add(grace(lease)),
        State::Running | State::Lost => retention,
    }
}

/// [`Record::expires`] of a record in `state` that is written at `now`.
#[must_use]
pub fn expires(state: State, ttl: Duration, now: u64) -> u64 {
    match state {
        State::Done | State::Failed => {
            let retention = u64::try_from(retention(state, ttl).as_millis()).unwrap_or(u64::MAX);
            (now / 1000).saturating_add(retention)
        }
        State::Running | State::Lost => 0,
    }
}
