//! A store's failure, and what it means for the record.

use std::{error, fmt, io, sync::Arc};

/// What a failed command means for the record. If a store does not know, it chooses the more
/// careful kind: [`Ambiguous`](Self::Ambiguous).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The command did not reach the store: nothing changed.
    NotSent,
    /// No answer: the command may have been carried out, or may still be.
    Ambiguous,
    /// The store refused: nothing changed (out of memory, missing rights, not enough replicas).
    Refused,
    /// The command carries more than the store ever takes. A finish that carries less may succeed.
    /// If the large one was carried out after all, it stands.
    TooLarge,
    /// The store is set up wrongly (too old, evicts records, bad address): nothing changed,
    /// retrying does not help.
    Config,
    /// This version cannot read the record: nothing changed.
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
    /// A failure of this kind. The message says what was being done, and what to do. It must not
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

    /// The same failure with another meaning for the record.
    pub(crate) fn of_kind(self, kind: StoreErrorKind) -> Self {
        Self {
            kind,
            // A transient failure promises that nothing changed.
            transient: self.transient && kind != StoreErrorKind::Ambiguous,
            ..self
        }
    }

    /// This failure of a command that was sent again because it had failed with `earlier`: the text
    /// says both.
    pub(crate) fn after(self, earlier: &Self) -> Self {
        Self {
            message: format!("{earlier}; asked again: {}", self.message).into(),
            ..self
        }
    }

    /// Whether the store answered that it cannot serve now but will soon: it loads its data, fails
    /// over, moves the key's slot, or is blocked by a script. Nothing changed. It is better to ask
    /// again after a pause than to give up.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.transient
    }

    /// The operating system's error, if that is the cause. Only its kind is shown: the texts in
    /// between may contain anything.
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

    /// Whether the command may have been carried out.
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
