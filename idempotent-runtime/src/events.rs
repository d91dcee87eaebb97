//! What operators see (feature `tracing`): one span per operation, one event per turn it takes. The key appears as a
//! digest, never as it is.

use std::time::Duration;

use crate::{Error, Key, StoreError, execution::Attempt, record::Record};

/// Emits a `tracing` event where the feature is on, and only looks at its arguments where it is off.
macro_rules! event {
    ($level:ident, $attempt:expr, $message:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        #[cfg(feature = "tracing")]
        tracing::event!(
            target: "idempotent_fn",
            tracing::Level::$level,
            scope = $attempt.scope,
            key_digest = %$attempt.key.digest(),
            $($name = $value,)*
            $message
        );
        #[cfg(not(feature = "tracing"))]
        let _ = (&$attempt $(, &$value)*);
    }};
}

pub(crate) fn replayed(scope: &'static str, key: &Key) {
    outcome("replayed");
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "idempotent_fn", scope, key_digest = %key.digest(), "replayed");
    #[cfg(not(feature = "tracing"))]
    let _ = (scope, key);
}

pub(crate) fn ran(attempt: &Attempt, recorded: bool) {
    outcome("ran");
    event!(DEBUG, attempt, "ran", recorded = recorded);
}

/// A body, or what is asked about its result, panicked; said before the panic goes on.
pub(crate) fn panicked(attempt: &Attempt) {
    outcome("panicked");
    event!(ERROR, attempt, "panicked");
}

/// The same without a key.
pub(crate) fn panicked_unprotected(scope: &'static str) {
    outcome("panicked");
    #[cfg(feature = "tracing")]
    tracing::error!(target: "idempotent_fn", scope, "panicked without a key");
    #[cfg(not(feature = "tracing"))]
    let _ = scope;
}

/// A body has run without a key.
pub(crate) fn ran_unprotected(scope: &'static str) {
    outcome("ran");
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "idempotent_fn", scope, recorded = false, "ran without a key");
    #[cfg(not(feature = "tracing"))]
    let _ = scope;
}

/// Told once the waiting is over, whatever came of it.
pub(crate) fn waited(attempt: &Attempt, waited: Duration) {
    event!(DEBUG, attempt, "waited", waited_ms = millis(waited));
}

pub(crate) fn taken_over(attempt: &Attempt, record: &Record) {
    event!(
        WARN,
        attempt,
        "taken over",
        fencing_token = record.token,
        attempt = record.attempts
    );
}

pub(crate) fn stale(attempt: &Attempt, record: &Record) {
    event!(WARN, attempt, "stale", owner_fencing_token = record.token);
}

pub(crate) fn unrecorded(attempt: &Attempt, error: &StoreError) {
    event!(ERROR, attempt, "unrecorded", error = error.to_string());
}

pub(crate) fn gave_up(attempt: &Attempt, error: &StoreError) {
    event!(ERROR, attempt, "gave up", error = error.to_string());
}

/// What is owed to the store is not asked for in the background: too much is owed already, and the lease settles it.
pub(crate) fn not_owed(attempt: &Attempt) {
    event!(
        ERROR,
        attempt,
        "too much is owed to the store; left to its lease"
    );
}

/// A body's `Err` is not recorded, since it comes of a call that this library refused.
pub(crate) fn not_final(attempt: &Attempt, refused: &'static str) {
    event!(
        WARN,
        attempt,
        "an error that comes of a refused call is not recorded",
        refused = refused
    );
}

pub(crate) fn timed_out(attempt: &Attempt, after: Duration) {
    event!(WARN, attempt, "timed out", after_ms = millis(after));
}

pub(crate) fn record_lost(attempt: &Attempt) {
    event!(ERROR, attempt, "record lost");
}

pub(crate) fn not_recordable(attempt: &Attempt, reason: &str) {
    event!(ERROR, attempt, "result not recordable", reason = reason);
}

pub(crate) fn heartbeat_failed(attempt: &Attempt, error: &StoreError) {
    event!(WARN, attempt, "heartbeat failed", error = error.to_string());
}

pub(crate) fn heartbeat_late(attempt: &Attempt, late: Duration) {
    event!(
        WARN,
        attempt,
        "heartbeat late: the body blocks its thread or is not polled",
        late_ms = millis(late)
    );
}

pub(crate) fn not_subscribed(attempt: &Attempt, error: &StoreError) {
    event!(
        WARN,
        attempt,
        "waiting by polling",
        error = error.to_string()
    );
}

/// A store that works, but not as well as it should.
#[cfg(feature = "redis")]
pub(crate) fn store_warning(message: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "idempotent_fn", "{message}");
    #[cfg(not(feature = "tracing"))]
    let _ = message;
}

/// Notes on the call's span how it ended.
fn outcome(how: &'static str) {
    #[cfg(feature = "tracing")]
    tracing::Span::current().record("outcome", how);
    #[cfg(not(feature = "tracing"))]
    let _ = how;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A call's span.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl Span {
    /// The span of a call; it costs next to nothing while nobody listens.
    pub(crate) fn new(scope: &'static str, key: Option<&Key>) -> Self {
        #[cfg(feature = "tracing")]
        {
            let span = tracing::info_span!(
                target: "idempotent_fn",
                "idempotent",
                scope,
                key_digest = tracing::field::Empty,
                outcome = tracing::field::Empty,
            );
            if let (Some(key), false) = (key, span.is_disabled()) {
                span.record("key_digest", tracing::field::display(key.digest()));
            }
            Self { span }
        }
        #[cfg(not(feature = "tracing"))]
        {
            let _ = (scope, key);
            Self {}
        }
    }

    pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        return self.span.in_scope(work);
        #[cfg(not(feature = "tracing"))]
        {
            let Self {} = self;
            work()
        }
    }

    /// Reports a refusal: an outage and a mistake in the set-up as an error, what an operator may have to look at as a warning.
    pub(crate) fn refused(&self, error: &Error) {
        #[cfg(feature = "tracing")]
        self.in_scope(|| {
            outcome("refused");
            match error {
                Error::Unavailable { .. } | Error::Config { .. } | Error::Incompatible { .. } => {
                    tracing::error!(target: "idempotent_fn", error = %error, "refused");
                }
                Error::Indeterminate { .. }
                | Error::NotRecorded { .. }
                | Error::Superseded { .. }
                | Error::TimedOut { .. } => {
                    tracing::warn!(target: "idempotent_fn", error = %error, "refused");
                }
                Error::InFlight { .. }
                | Error::KeyReused { .. }
                | Error::Reentrant { .. }
                | Error::InvalidKey { .. } => {
                    tracing::info!(target: "idempotent_fn", error = %error, "refused");
                }
            }
        });
        #[cfg(not(feature = "tracing"))]
        let (Self {}, _) = (self, error);
    }
}
