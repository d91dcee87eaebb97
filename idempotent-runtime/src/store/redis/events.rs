//! What operators are told.

/// Something that works, but not as well as it should.
pub(super) fn warn(message: &str) {
    let _ = message;
}
