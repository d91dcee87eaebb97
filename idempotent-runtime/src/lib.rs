//! The protocol and the stores of `idempotent-fn`. Depend on that crate: it re-exports what is public here.

mod error;
pub mod fingerprint;
mod flight;
mod key;
pub mod record;
pub mod store;

pub use error::{Error, Label, StoreError, StoreErrorKind};
pub use key::{InvalidKey, Key, KeyDigest};
pub use store::{SharedStore, Store};

/// What a body's `Err` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnErr {
    /// Nothing happened: a retry runs the body again.
    Rerun,
    /// It is final: it is recorded and replayed, as an `Ok` is.
    Record,
    /// Its effects are unknown, as after a crash under [`OnCrash::Fail`]: retries get
    /// [`Error::Indeterminate`] until it is resolved.
    Fail,
}

/// What an owner's vanishing means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnCrash {
    /// The next call runs the body again: effects happen at least once.
    Rerun,
    /// Retries get [`Error::Indeterminate`] until it is resolved: effects happen at most once.
    Fail,
}
