//! What can go wrong, and what to do then.

mod wire;

use std::{error, fmt, io, sync::Arc, time::Duration};

use crate::{
    OnCrash,
    key::{InvalidKeyError, Key, KeyDigest},
};

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

    /// The key's digest; none where the key itself was refused, or is `None`.
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

/// When a caller is told to come back: at first, and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A duration as people write it: at most three digits that matter, and one unit.
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
        /// What is left of the running owner's lease: unless it is renewed by then, the owner is
        /// believed dead and the next call takes over (or is told
        /// [`Indeterminate`](Self::Indeterminate) under `on_crash = fail`). Zero where nothing is
        /// known of an owner.
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
    /// An earlier attempt stopped with its effects unknown, and `on_crash = fail` forbids running
    /// again. Find out what happened, then say so with
    /// [`Operation::resolve`](crate::Operation::resolve).
    #[error(
        "{operation}: an earlier attempt stopped midway and nobody knows whether its effects happened; \
         check, then `resolve` it"
    )]
    #[non_exhaustive]
    Indeterminate {
        /// Which operation.
        operation: OperationId,
    },
    /// The body called its own operation with the key it is holding. It would wait for itself for
    /// ever.
    #[error(
        "{operation} was called from inside its own body with the same key; it would wait for itself"
    )]
    #[non_exhaustive]
    Reentrant {
        /// Which operation.
        operation: OperationId,
    },
    /// A record is there which this code cannot read: another version's, another codec's, or a
    /// result type that changed. It is left as it is, and the body does not run.
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
    /// [`Operation::resolve`](crate::Operation::resolve) only: the key is not in doubt, for a
    /// result is recorded. It stands; [`Operation::forget`](crate::Operation::forget) removes it.
    #[error(
        "{operation} has a recorded result, so there is nothing to resolve; `forget` removes it"
    )]
    #[non_exhaustive]
    AlreadyRecorded {
        /// Which operation.
        operation: OperationId,
    },
    /// This call ran the body, but was silent for longer than its lease and another attempt took
    /// over, whose result is not there (yet). Retrying gets the recorded result, or runs if there
    /// is none.
    #[error(
        "{operation}: another attempt took over while this one was silent, and has recorded no result yet"
    )]
    #[non_exhaustive]
    Superseded {
        /// Which operation.
        operation: OperationId,
    },
    /// The body ran for longer than its [`timeout`](crate::Operation::timeout) and was stopped
    /// midway. What that means, `on_crash` says: under `rerun` the key is free and a retry runs the
    /// body again; under `fail` it is in doubt.
    #[error("{operation}: the body was stopped after {}, its `timeout`", Shown(*.after))]
    #[non_exhaustive]
    TimedOut {
        /// Which operation.
        operation: OperationId,
        /// How long the body may run.
        after: Duration,
        /// What that means for the key.
        on_crash: OnCrash,
    },
    /// The key expression gave something that cannot be a key.
    #[error("{operation}: {reason}")]
    #[non_exhaustive]
    InvalidKey {
        /// Which operation.
        operation: OperationId,
        /// What is wrong with the key.
        reason: InvalidKeyError,
    },
    /// The store could not be asked, so the body was not run. A claim that may have reached the
    /// store is seen through in the background and released.
    #[error("{operation}: the store gave no answer, so the body was not run: {source}")]
    #[non_exhaustive]
    Unavailable {
        /// Which operation.
        operation: OperationId,
        /// What the store said.
        #[source]
        source: StoreError,
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

/// What is known of the body of a call that ended with an [`Error`]: [`Error::body_ran`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyRan {
    /// A body for this key ran to its end (or a person said so), or was running when it was
    /// superseded or its `timeout` was over.
    Yes,
    /// This call did not run it.
    No,
    /// An earlier attempt may have run it, or not.
    Unknown,
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::InFlight { .. } | Self::Superseded { .. } => true,
            Self::TimedOut { on_crash, .. } => matches!(on_crash, OnCrash::Rerun),
            Self::Unavailable { source, .. } => !matches!(
                source.kind,
                StoreErrorKind::Config | StoreErrorKind::TooLarge
            ),
            _ => false,
        }
    }

    /// Whether the same call may get another answer later, without anybody's changing the program
    /// or the call: more than [`is_retryable`](Self::is_retryable), for what is in doubt may be
    /// resolved.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Indeterminate { .. } | Self::TimedOut { .. }) || self.is_retryable()
    }

    /// What is left of the running owner's lease, where one runs: only [`Error::InFlight`] knows.
    #[must_use]
    pub const fn lease_left(&self) -> Option<Duration> {
        match self {
            Self::InFlight { lease_left, .. } => Some(*lease_left),
            _ => None,
        }
    }

    /// When to try again, where that is known: only [`Error::InFlight`] knows.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::InFlight { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// What is known of the body, and so of the effect.
    #[must_use]
    pub const fn body_ran(&self) -> BodyRan {
        match self {
            Self::Superseded { .. }
            | Self::NotRecorded { .. }
            | Self::AlreadyRecorded { .. }
            | Self::TimedOut { .. } => BodyRan::Yes,
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
            | Self::Config { operation, .. } => *operation,
        }
    }

    /// Another call runs, which this one has `waited` for. The owner holds its lease for
    /// `lease_left`, and that is no measure of how long it will run.
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

/// What a failed command means for the record. A store must choose the truth, or the more careful
/// kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The command did not reach the store: nothing changed.
    NotSent,
    /// No answer: the command may have been carried out, or may still be.
    Ambiguous,
    /// The store refused: nothing changed (out of memory, missing rights, not enough replicas).
    Refused,
    /// What the command carries is more than the store takes, and always will be. A finish that
    /// carries less may succeed, and undoes nothing: where this one was carried out after all, it
    /// stands.
    TooLarge,
    /// The store is set up wrongly (too old, evicts records, bad address): nothing changed,
    /// retrying does not help.
    Config,
    /// The record there cannot be read by this version: nothing changed.
    Incompatible,
}

/// A store's failure.
///
/// Neither its text nor its `Debug` shows the [source](error::Error::source), which is a database
/// client's error and may repeat what was sent.
///
/// ```
/// use std::io;
/// use idempotent_fn::{StoreError, StoreErrorKind};
///
/// // What a store answers whose database was lost while it carried out a claim.
/// let lost = io::Error::from(io::ErrorKind::ConnectionReset);
/// let error = StoreError::new(StoreErrorKind::Ambiguous, "the database did not answer a claim");
/// let error = error.with_source(lost);
/// assert!(error.is_ambiguous());
/// assert_eq!(error.to_string(), "the database did not answer a claim (connection reset)");
///
/// // And where the database says that it has done nothing, and will serve again soon.
/// let busy = StoreError::new(StoreErrorKind::Refused, "the database is overloaded").transient();
/// assert!(busy.is_transient());
/// ```
#[derive(Clone)]
pub struct StoreError {
    pub(crate) kind: StoreErrorKind,
    pub(crate) message: Arc<str>,
    source: Option<Arc<dyn error::Error + Send + Sync>>,
    transient: bool,
}

impl StoreError {
    /// A failure of this kind. The message says what was being done and what to do; it must not
    /// contain a key or a password.
    #[must_use]
    pub fn new(kind: StoreErrorKind, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            transient: false,
        }
    }

    /// Adds the error that caused this one. It is shown only to those who ask for the
    /// [source](error::Error::source), as reports of whole chains of errors do. So leave it out
    /// if its text may contain a key or a password.
    #[must_use]
    pub fn with_source(self, source: impl error::Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Arc::new(source)),
            ..self
        }
    }

    /// Says that the store expects to serve soon: see [`is_transient`](Self::is_transient).
    #[must_use]
    pub fn transient(self) -> Self {
        Self {
            transient: true,
            ..self
        }
    }

    /// The same failure, which means something else for the record where it happened.
    pub(crate) fn of_kind(self, kind: StoreErrorKind) -> Self {
        Self {
            kind,
            // It promises that nothing changed.
            transient: self.transient && kind != StoreErrorKind::Ambiguous,
            ..self
        }
    }

    /// Whether the store answered that it cannot serve at the moment, and expects to soon: it loads
    /// its data, fails over, moves the key's slot, or is blocked by a script. Nothing changed.
    /// Asking again after a pause, for as long as the caller can wait, is better than giving up.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.transient
    }

    /// What the operating system said, where that is the cause. The texts between it and this may
    /// hold anything.
    fn cause(&self) -> Option<io::ErrorKind> {
        let mut cause = self
            .source
            .as_ref()
            .map(|source| &**source as &(dyn error::Error + 'static));
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return Some(error.kind());
            }
            cause = error.source();
        }
        None
    }

    /// What the failure means for the record.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the command may have been carried out all the same.
    #[must_use]
    pub const fn is_ambiguous(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Ambiguous)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.cause() {
            Some(cause) => write!(f, " ({cause})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("transient", &self.transient)
            .field("cause", &self.cause())
            .finish_non_exhaustive()
    }
}

impl error::Error for StoreError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

impl From<crate::record::DecodeError> for StoreError {
    fn from(error: crate::record::DecodeError) -> Self {
        Self::new(StoreErrorKind::Incompatible, error.to_string())
    }
}
