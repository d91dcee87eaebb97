//! Fingerprints: whether two calls with one key carry the same payload.
//!
//! # The format: idempotent-fn fingerprint v1
//!
//! A fingerprint outlives deploys (it stands in every record), so the format is frozen, and test
//! vectors hold it. It is the first 128 bits of the SHA-256 of the ASCII text `idempotent-fn
//! fingerprint v1`, a zero byte, and the value's encoding. The encoding follows [serde's data
//! model]: a tag, then what belongs to it. Lengths are `u64` and count bytes; all integers are
//! big-endian.
//!
//! | what serde is told | encoding |
//! |---|---|
//! | `bool` | `T` or `F` |
//! | any integer, ≥ 0 | `+`, the value as `u128` |
//! | any integer, < 0 | `-`, its absolute value as `u128` |
//! | `f32`, `f64` | `.`, the bits as `f64`; every NaN is `7ff8000000000000`, `-0.0` is `0.0` |
//! | `str`, `char` | `s`, length, UTF-8 |
//! | bytes | `b`, length, bytes |
//! | unit, unit struct | `U` |
//! | `None` | `N` |
//! | `Some(value)` | `S`, value |
//! | sequence, tuple, tuple struct | `[`, each element in order, `]` |
//! | map | `{`, each key and its value, sorted by their encoding's bytes, `}` |
//! | struct | as the map from its fields' names (as `str`) to their values |
//! | newtype struct | as its value |
//! | unit variant | `e`, length, name |
//! | newtype variant | `v`, length, name, value |
//! | tuple variant, struct variant | `v`, length, name, then as a sequence or a struct |
//!
//! Every encoding tells where it ends, so two different payloads never share one.
//!
//! **What plays no part:** the order of a map's entries and of a struct's fields; the width and
//! sign of an integer's type; the names of types; whether a struct or a map carried the entries.
//! **What does:** the order of a sequence (sort a `HashSet`, or use a `BTreeSet`); the names of
//! fields and variants; `None` beside an absent field (so a new `Option` field needs
//! `#[serde(skip_serializing_if = "Option::is_none")]`); `1` beside `1.0`; `0.1_f32` beside
//! `0.1_f64`, which are different numbers. Types that ask are told that the format is
//! human-readable, so addresses, UUIDs and times are fingerprinted by their text.
//!
//! [serde's data model]: https://serde.rs/data-model.html

mod canonical;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The format's name, hashed before the value.
const FORMAT: &[u8] = b"idempotent-fn fingerprint v1\0";

/// 128 bits that stand for a call's payload: the same key with another fingerprint is another
/// request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of `payload`.
    ///
    /// ```
    /// # fn main() -> Result<(), idempotent_fn::fingerprint::FingerprintError> {
    /// use idempotent_fn::fingerprint::Fingerprint;
    ///
    /// let first = Fingerprint::of(&("order-42", 1999_u32))?;
    /// assert_eq!(first, Fingerprint::of(&("order-42", 1999_u64))?); // the same numbers
    /// assert_ne!(first, Fingerprint::of(&("order-42", 2500_u64))?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the payload's `Serialize` implementation returns an error, and when the payload is
    /// nested more deeply than 512 levels. A sequence, a map, a struct, a tuple, a variant with
    /// data, a newtype and a `Some` are a level each.
    pub fn of<T: Serialize + ?Sized>(payload: &T) -> Result<Self, FingerprintError> {
        let mut hash = Sha256::new_with_prefix(FORMAT);
        payload.serialize(canonical::Encoder::new(&mut hash))?;
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Ok(Self(bytes))
    }

    /// The fingerprint of a value that has been encoded: by [`encode`], or in the same form.
    #[cfg(feature = "http")]
    pub(crate) fn of_encoding(encoding: &[u8]) -> Self {
        let hash = Sha256::new_with_prefix(FORMAT).chain_update(encoding);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(bytes)
    }

    /// The fingerprint with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The fingerprint's bytes, as they stand in the record.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Appends a value's encoding.
#[cfg(feature = "http")]
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    encoding: &mut Vec<u8>,
) -> Result<(), FingerprintError> {
    value.serialize(canonical::Encoder::new(encoding))
}

/// Shows the 128 bits in hex.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({:032x})", u128::from_be_bytes(self.0))
    }
}

/// The payload's own `Serialize` implementation gave up, or the payload is nested too deeply.
///
/// Its reason may quote the payload. So this error's text and `Debug` show of it only what is known
/// to be harmless; all of it is the [source](std::error::Error::source).
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the fingerprint's value could not be serialised: {}", self.shape())]
pub struct FingerprintError {
    #[source]
    reason: Reason,
    is_own: bool,
}

/// What a `Serialize` implementation said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Reason(Box<str>);

impl FingerprintError {
    /// A refusal in words of this library's own, which hold nothing of the value: it is shown
    /// whole.
    fn own(reason: &str) -> Self {
        Self {
            reason: Reason(reason.into()),
            is_own: true,
        }
    }

    /// The reason as far as it may be shown: a `Serialize` implementation may quote the value.
    pub(crate) fn shape(&self) -> String {
        if self.is_own {
            return self.reason.0.to_string();
        }
        crate::codec::redact::shape_of_text(&self.reason.0)
    }
}

impl fmt::Debug for FingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FingerprintError")
            .field(&self.shape())
            .finish()
    }
}

impl serde::ser::Error for FingerprintError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self {
            reason: Reason(reason.to_string().into()),
            is_own: false,
        }
    }
}
