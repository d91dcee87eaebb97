//! Warnings to operators about a store that works, but not as well as it should.

/// Emits a warning (feature `tracing`).
pub(crate) fn warn(message: &str) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "idempotent_fn", "{message}");
    #[cfg(not(feature = "tracing"))]
    let _ = message;
}
