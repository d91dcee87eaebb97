//! What a body's `Err`, and an owner's vanishing, mean for the record; the times where an operation
//! names none.

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

/// What a body's `Err` means, where it is never recorded: the error needs no serde then.
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

/// What an owner's vanishing means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnCrash {
    /// The next call runs the body again: effects happen at least once.
    Rerun,
    /// Retries get [`Error::Indeterminate`](crate::Error::Indeterminate) until it is resolved:
    /// effects happen at most once.
    Fail,
}

/// `ttl` where none is given: 24 hours.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// `lease` where none is given: 30 seconds.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// `wait` where none is given: 10 seconds.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(10);
