//! What can go wrong, and what to do then.

mod store;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    OnCrash,
    key::{InvalidKeyError, Key, KeyDigest},
};

pub use store::{StoreError, StoreErrorKind};
pub(crate) use wire::noting_own;

/// A default store is in use already.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "a default store is in use already ({standing}); call `install` before the first idempotent call"
)]
pub struct AlreadyInstalled {
    pub(crate) standing: String,
}

/// Names an operation and one of its keys without showing the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OperationId {
    pub(crate) scope: &'static str,
    pub(crate) digest: Option<KeyDigest>,
}

impl OperationId {
    pub(crate) fn of(scope: &'static str, key: &Key) -> Self {
        let digest = Some(key.digest());
        Self { scope, digest }
    }

    /// The operation's scope.
    #[must_use]
    pub const fn scope(&self) -> &'static str {
        self.scope
    }

    /// The key's digest. `None` if the key itself was refused, or is `None`.
    #[must_use]
    pub const fn digest(&self) -> Option<KeyDigest> {
        self.digest
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digest {
            Some(digest) => write!(f, "`{}` (key digest {digest})", self.scope),
            None => write!(f, "`{}`", self.scope),
        }
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The shortest and the longest time after which a caller is told to come back.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A duration for people to read: one unit, and at most two digits or one decimal place.
pub(crate) struct Shown(pub(crate) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(duration) = *self;
        match duration.as_secs() {
            0 if duration.as_millis() == 0 && !duration.is_zero() => f.write_str("less than 1 ms"),
            0 => write!(f, "{} ms", duration.as_millis()),
            seconds @ 1..=9 if duration.subsec_millis() >= 100 => {
                write!(f, "{seconds}.{} s", duration.subsec_millis() / 100)
            }
            seconds => write!(f, "{seconds} s"),
        }
    }
}

/// Why an annotated function could not answer with its body's result.
///
/// Every variant names the operation and a digest of the key; the key itself is never shown.
/// [`Error::is_retryable`] says whether the same call may succeed later, and [`Error::body_ran`]
/// what is known of the effect.
///
/// ```
/// use idempotent_fn::{Error, error::BodyRan};
///
/// /// What a web service answers: a status, and the seconds of its `Retry-After`.
/// fn answer(error: &Error) -> (u16, Option<u64>) {
///     eprintln!("{} failed: {error}", error.operation());
///     match error {
///         Error::InvalidKey { .. } => (400, None),
///         Error::KeyReused { .. } => (422, None),
///         Error::InFlight { .. } => (409, error.retry_after().map(|time| time.as_secs())),
///         error if error.is_retryable() => (503, Some(1)),
///         // Somebody has to find out what happened.
///         error if error.body_ran() == BodyRan::Unknown => (500, None),
///         _ => (500, None),
///     }
/// }
/// # let _ = answer;
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another call with this key is running, and `wait` is over. It may finish at any time: come
    /// back after `retry_after`.
    #[error("{operation} is in flight; retry after {}", Shown(*.retry_after))]
    #[non_exhaustive]
    InFlight {
        /// Which operation.
        operation: OperationId,
        /// When to come back: about a second, and longer the longer this call has waited already.
        retry_after: Duration,
        /// What is left of the running owner's lease. Unless the owner renews it by then, it counts
        /// as dead and the next call takes over (or gets [`Indeterminate`](Self::Indeterminate)
        /// under `on_crash = fail`). Zero if nothing is known of an owner.
        lease_left: Duration,
    },
    /// The key was used before with another payload (its fingerprint differs). Use a new key for a
    /// new request.
    #[error(
        "{operation} was called before with this key and another payload; use a new key for a new request"
    )]
    #[non_exhaustive]
    KeyReused {
        /// Which operation.
        operation: OperationId,
    },
    /// An earlier attempt stopped midway, or was silent for its lease, and `on_crash = fail` forbids
    /// running it again. Find out what happened, then report it by
    /// [`Operation::resolve`](crate::Operation::resolve). If it was only silent, it may still finish,
    /// and its result settles the key.
    #[error(
        "{operation}: an earlier attempt stopped midway or fell silent, and nobody knows whether its effects happened; \
         check, then `resolve` it"
    )]
    #[non_exhaustive]
    Indeterminate {
        /// Which operation.
        operation: OperationId,
    },
    /// The body called its own operation with its own key. It would wait for itself for ever.
    #[error(
        "{operation} was called from inside its own body with the same key; it would wait for itself"
    )]
    #[non_exhaustive]
    Reentrant {
        /// Which operation.
        operation: OperationId,
    },
    /// There is a record that this code cannot read: of another version, another codec, or a result
    /// type that has changed. The record is left as it is, and the body does not run.
    #[error(
        "{operation} has a record that this code cannot read ({reason}); the body was not run again"
    )]
    #[non_exhaustive]
    Incompatible {
        /// Which operation.
        operation: OperationId,
        /// What is wrong with the record.
        reason: Arc<str>,
    },
    /// The operation ran to its end, but its result could not be recorded (too large, or not
    /// serialisable). It is not run again.
    #[error(
        "{operation} has run, but its result was not recorded ({reason}); the body was not run again"
    )]
    #[non_exhaustive]
    NotRecorded {
        /// Which operation.
        operation: OperationId,
        /// Why there is no result.
        reason: Arc<str>,
    },
    /// Only by [`Operation::resolve`](crate::Operation::resolve): the key is not in doubt, because
    /// a result is recorded. The result stays; [`Operation::correct`](crate::Operation::correct)
    /// replaces it, [`Operation::forget`](crate::Operation::forget) removes it.
    #[error(
        "{operation} has a recorded result, so there is nothing to resolve; `correct` replaces it, `forget` lets the \
         next call run"
    )]
    #[non_exhaustive]
    AlreadyRecorded {
        /// Which operation.
        operation: OperationId,
    },
    /// This call ran the body, but lost its key: it was silent for longer than its lease and
    /// another attempt took over, or an operator reset the key
    /// ([`forget`](crate::Operation::forget), [`resolve`](crate::Operation::resolve)). No result is
    /// recorded yet. Retrying gets the recorded result, or runs the body if there is none.
    #[error(
        "{operation}: the body ran, but lost its key: another attempt took over while this one was silent, or the key \
         was reset by hand; no result is recorded yet"
    )]
    #[non_exhaustive]
    Superseded {
        /// Which operation.
        operation: OperationId,
    },
    /// The body ran for longer than its [`timeout`](crate::Operation::timeout) and was stopped
    /// midway. Under `on_crash = rerun` the key is free and a retry runs the body again. Under
    /// `fail` it is in doubt.
    #[error("{operation}: the body was stopped after {}, its `timeout`", Shown(*.after))]
    #[non_exhaustive]
    TimedOut {
        /// Which operation.
        operation: OperationId,
        /// How long the body may run.
        after: Duration,
        /// The operation's `on_crash`, which says what that means for the key.
        on_crash: OnCrash,
    },
    /// The key expression's value cannot be a key.
    #[error("{operation}: {reason}")]
    #[non_exhaustive]
    InvalidKey {
        /// Which operation.
        operation: OperationId,
        /// What is wrong with the key.
        reason: InvalidKeyError,
    },
    /// The store gave no answer or refused, so the body was not run. A claim that may have reached the store
    /// is sent again in the background until it is answered, and then released.
    #[error("{operation}: the store did not grant a run, so the body was not run: {source}")]
    #[non_exhaustive]
    Unavailable {
        /// Which operation.
        operation: OperationId,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// Only with `in_tx`: the body has run and has not failed, but its transaction cannot be
    /// committed, so nothing stays of it. Roll back, and call again in a new transaction.
    #[error(
        "{operation}: the body has run, but its transaction cannot be committed, so nothing stays of it; roll back and begin \
         again: {source}"
    )]
    #[non_exhaustive]
    Uncommitted {
        /// Which operation.
        operation: OperationId,
        /// What the database said.
        #[source]
        source: StoreError,
    },
    /// Only with `in_tx`: the body has run, and has ended its caller's transaction, or gone back to
    /// a savepoint from before the call. So its effects and its record were not committed as one:
    /// some may stay without the other. Leave COMMIT and ROLLBACK to the caller.
    #[error(
        "{operation}: the body has ended its caller's transaction, so nobody knows which of its effects stay; leave COMMIT and \
         ROLLBACK to the caller, and check what was done"
    )]
    #[non_exhaustive]
    TransactionEnded {
        /// Which operation.
        operation: OperationId,
    },
    /// The program is set up wrongly; retrying does not help.
    #[error("{operation}: {reason}")]
    #[non_exhaustive]
    Config {
        /// Which operation.
        operation: OperationId,
        /// What is wrong and what to do.
        reason: Arc<str>,
    },
}

/// Whether the body ran, for a call that ended with an [`Error`]: see [`Error::body_ran`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyRan {
    /// A body for this key ran to its end, an operator has said so, or a body was running when it
    /// was superseded or reached its `timeout`.
    Yes,
    /// This call did not run the body, or nothing stays of what the body did.
    No,
    /// An earlier attempt may have run the body.
    Unknown,
}

impl Error {
    /// Whether to make the same call again, because it may succeed later. `false` for
    /// [`Indeterminate`](Self::Indeterminate): a retry does no harm, but a person or the earlier
    /// attempt has to settle the key first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::InFlight { .. } | Self::Superseded { .. } | Self::Uncommitted { .. } => true,
            Self::TimedOut { on_crash, .. } => matches!(on_crash, OnCrash::Rerun),
            Self::Unavailable { source, .. } => !matches!(
                source.kind,
                StoreErrorKind::Config | StoreErrorKind::TooLarge
            ),
            _ => false,
        }
    }

    /// Whether the same call may get another answer later although neither the program nor the call
    /// changes. This includes [`is_retryable`](Self::is_retryable), and errors about a key in
    /// doubt, which may be resolved.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Indeterminate { .. } | Self::TimedOut { .. }) || self.is_retryable()
    }

    /// What is left of the running owner's lease. Only [`Error::InFlight`] has it.
    #[must_use]
    pub const fn lease_left(&self) -> Option<Duration> {
        match self {
            Self::InFlight { lease_left, .. } => Some(*lease_left),
            _ => None,
        }
    }

    /// When to try again. Only [`Error::InFlight`] has it.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::InFlight { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// What is known of the body, and so of its effects.
    #[must_use]
    pub const fn body_ran(&self) -> BodyRan {
        match self {
            Self::Superseded { .. }
            | Self::NotRecorded { .. }
            | Self::AlreadyRecorded { .. }
            | Self::TimedOut { .. }
            | Self::TransactionEnded { .. } => BodyRan::Yes,
            Self::Indeterminate { .. } | Self::Incompatible { .. } => BodyRan::Unknown,
            _ => BodyRan::No,
        }
    }

    /// Which operation the error is about.
    #[must_use]
    pub const fn operation(&self) -> OperationId {
        match self {
            Self::InFlight { operation, .. }
            | Self::KeyReused { operation }
            | Self::Indeterminate { operation }
            | Self::Reentrant { operation }
            | Self::Incompatible { operation, .. }
            | Self::NotRecorded { operation, .. }
            | Self::AlreadyRecorded { operation }
            | Self::Superseded { operation }
            | Self::TimedOut { operation, .. }
            | Self::InvalidKey { operation, .. }
            | Self::Unavailable { operation, .. }
            | Self::Uncommitted { operation, .. }
            | Self::TransactionEnded { operation }
            | Self::Config { operation, .. } => *operation,
        }
    }

    /// Another call runs, for which this one has `waited`. `lease_left` does not say how long the
    /// owner will run.
    pub(crate) fn in_flight(
        operation: OperationId,
        waited: Duration,
        lease_left: Duration,
    ) -> Self {
        Self::InFlight {
            operation,
            retry_after: (waited / 4).clamp(FIRST_RETRY, LONGEST_RETRY),
            lease_left,
        }
    }

    pub(crate) fn config(operation: OperationId, reason: impl Into<Arc<str>>) -> Self {
        Self::Config {
            operation,
            reason: reason.into(),
        }
    }

    pub(crate) fn store(operation: OperationId, source: StoreError) -> Self {
        match source.kind {
            StoreErrorKind::Incompatible => Self::Incompatible {
                operation,
                reason: source.message,
            },
            StoreErrorKind::Config => Self::Config {
                operation,
                reason: source.to_string().into(),
            },
            _ => Self::Unavailable { operation, source },
        }
    }
}
