//! What operators see (feature `tracing`): one span per call, and one event for each step of it
//! that matters. The key appears only as a digest.

use std::{sync::Arc, time::Duration};

use crate::{Error, Key, StoreError, record::Record};

/// What an event is about: an operation and one of its keys.
pub(crate) trait Subject {
    fn scope(&self) -> &'static str;
    fn key(&self) -> &Key;
}

impl<T: Subject> Subject for Arc<T> {
    fn scope(&self) -> &'static str {
        T::scope(self)
    }

    fn key(&self) -> &Key {
        T::key(self)
    }
}

/// Emits a `tracing` event if the feature is on. If it is off, the arguments are only type-checked.
macro_rules! event {
    ($level:ident, $call:expr, $message:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        #[cfg(feature = "tracing")]
        tracing::event!(
            target: "idempotent_fn",
            tracing::Level::$level,
            scope = $call.scope(),
            key_digest = %$call.key().digest(),
            $($name = $value,)*
            $message
        );
        #[cfg(not(feature = "tracing"))]
        let _ = ($call.scope(), $call.key() $(, &$value)*);
    }};
}

pub(crate) fn replayed(scope: &'static str, key: &Key) {
    outcome("replayed");
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "idempotent_fn", scope, key_digest = %key.digest(), "replayed");
    #[cfg(not(feature = "tracing"))]
    let _ = (scope, key);
}

pub(crate) fn ran(call: &impl Subject, recorded: bool) {
    outcome("ran");
    event!(DEBUG, call, "ran", recorded = recorded);
}

/// A body panicked, or a function that decides about its result. Emitted before the panic goes on.
pub(crate) fn panicked(call: &impl Subject) {
    outcome("panicked");
    event!(ERROR, call, "panicked");
}

/// The same for a call without a key.
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

/// Emitted when the waiting is over, whatever its outcome.
pub(crate) fn waited(call: &impl Subject, waited: Duration) {
    event!(DEBUG, call, "waited", waited_ms = millis(waited));
}

pub(crate) fn taken_over(call: &impl Subject, record: &Record) {
    event!(
        WARN,
        call,
        "taken over",
        fencing_token = record.token,
        attempt = record.attempts
    );
}

pub(crate) fn stale(call: &impl Subject, record: &Record) {
    event!(WARN, call, "stale", owner_fencing_token = record.token);
}

pub(crate) fn unrecorded(call: &impl Subject, error: &StoreError) {
    event!(ERROR, call, "unrecorded", error = error.to_string());
}

pub(crate) fn gave_up(call: &impl Subject, error: &StoreError) {
    event!(ERROR, call, "gave up", error = error.to_string());
}

/// Something owed to the store is not sent in the background, because too much is owed already. The
/// lease settles it.
pub(crate) fn not_owed(call: &impl Subject) {
    event!(
        ERROR,
        call,
        "too much is owed to the store; left to its lease"
    );
}

/// A body's `Err` is not recorded, because a call that the body made was refused by this library.
pub(crate) fn not_final(call: &impl Subject, refused: &'static str) {
    event!(
        WARN,
        call,
        "an error that comes of a refused call is not recorded",
        refused = refused
    );
}

pub(crate) fn timed_out(call: &impl Subject, after: Duration) {
    event!(WARN, call, "timed out", after_ms = millis(after));
}

pub(crate) fn record_lost(call: &impl Subject) {
    event!(ERROR, call, "record lost");
}

pub(crate) fn not_recordable(call: &impl Subject, reason: &str) {
    event!(ERROR, call, "result not recordable", reason = reason);
}

pub(crate) fn withheld(call: &impl Subject, reason: &str) {
    event!(INFO, call, "result not kept", reason = reason);
}

pub(crate) fn heartbeat_failed(call: &impl Subject, error: &StoreError) {
    event!(WARN, call, "heartbeat failed", error = error.to_string());
}

pub(crate) fn heartbeat_late(call: &impl Subject, late: Duration) {
    event!(
        WARN,
        call,
        "heartbeat late: the body blocks its thread or is not polled",
        late_ms = millis(late)
    );
}

pub(crate) fn not_subscribed(call: &impl Subject, error: &StoreError) {
    event!(WARN, call, "waiting by polling", error = error.to_string());
}

/// A layer's options cannot be used: it refuses each request with a key.
#[cfg(feature = "http")]
pub(crate) fn layer_refuses_all(scope: &'static str, error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::error!(
        target: "idempotent_fn",
        scope,
        error = %error,
        "the layer refuses each request with a key"
    );
    #[cfg(not(feature = "tracing"))]
    let _ = (scope, error);
}

/// Notes in the call's span how the call ended.
fn outcome(how: &'static str) {
    #[cfg(feature = "tracing")]
    tracing::Span::current().record("outcome", how);
    #[cfg(not(feature = "tracing"))]
    let _ = how;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The span of a call.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl Span {
    /// Opens the span of a call. It costs next to nothing while there is no subscriber.
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

    /// Reports a refusal: as an error for an outage or a mistake in the set-up, as a warning for
    /// what an operator may have to look at.
    pub(crate) fn refused(&self, error: &Error) {
        #[cfg(feature = "tracing")]
        self.in_scope(|| {
            outcome("refused");
            match error {
                Error::Unavailable { .. }
                | Error::Config { .. }
                | Error::Incompatible { .. }
                | Error::TransactionEnded { .. } => {
                    tracing::error!(target: "idempotent_fn", error = %error, "refused");
                }
                Error::Indeterminate { .. }
                | Error::NotRecorded { .. }
                | Error::Superseded { .. }
                | Error::Uncommitted { .. }
                | Error::TimedOut { .. } => {
                    tracing::warn!(target: "idempotent_fn", error = %error, "refused");
                }
                Error::InFlight { .. }
                | Error::KeyReused { .. }
                | Error::AlreadyRecorded { .. }
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
