//! What a body's `Err` and a vanished owner mean for the record, and the default times.

use std::time::Duration;

/// What a body's `Err` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnErr {
    /// Nothing happened: a retry runs the body again.
    Rerun,
    /// It is final: it is recorded and replayed, as an `Ok` is.
    Record,
    /// Its effects are unknown, as after a crash under [`OnCrash::Fail`]: retries get
    /// [`Error::Indeterminate`](crate::Error::Indeterminate) until it is resolved.
    Fail,
}

/// What a body's `Err` means, for errors that are never recorded and so need no serde.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RerunOrFail {
    /// As [`OnErr::Rerun`].
    Rerun,
    /// As [`OnErr::Fail`].
    Fail,
}

impl From<RerunOrFail> for OnErr {
    fn from(decision: RerunOrFail) -> Self {
        match decision {
            RerunOrFail::Rerun => Self::Rerun,
            RerunOrFail::Fail => Self::Fail,
        }
    }
}

/// What it means if an owner vanishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnCrash {
    /// The next call runs the body again: effects happen at least once.
    Rerun,
    /// Retries get [`Error::Indeterminate`](crate::Error::Indeterminate) until it is resolved:
    /// effects happen at most once.
    Fail,
}

/// The default `ttl`: 24 hours.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The default `lease`: 30 seconds.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// The default `wait`: 10 seconds.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(10);
