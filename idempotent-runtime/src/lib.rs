//! The protocol and the stores of `idempotent-fn`. Depend on that crate: it re-exports what is public here.

mod admit;
mod ask;
mod backoff;
mod call;
mod claim;
#[cfg(feature = "memory")]
mod clock;
pub mod codec;
mod default_store;
mod driver;
mod error;
mod events;
mod execution;
pub mod fingerprint;
mod flight;
mod handover;
mod heartbeat;
mod key;
mod nonce;
mod number;
mod observe;
mod operation;
mod own;
mod parts;
mod plan;
pub mod record;
mod recorded;
mod resolve;
mod run;
mod scope;
mod settle;
mod shape;
pub mod store;
mod terms;
mod unprotected;
mod work;

pub use call::Run;
pub use codec::{Codec, CodecError};
pub use default_store::{AlreadyInstalled, ENV, install};
pub use error::{Error, Label, StoreError, StoreErrorKind};
pub use execution::{Execution, current, try_current, with_store};
pub use handover::drain;
pub use key::{InvalidKey, Key, KeyDigest};
pub use observe::{Observation, Observed, observe};
pub use operation::{
    DEFAULT_LEASE, DEFAULT_TTL, DEFAULT_WAIT, Operation, operation, operation_at,
    operation_with_codec,
};
pub use parts::{KeyPart, KeyParts, MaybePart, OptionalPart, optional_part};
#[cfg(feature = "axum")]
pub use recorded::Axum;
pub use recorded::{
    ByFn, ByFrom, Decision, Fallible, IntoErr, Outcome, Recorded, RecordedErr, SendErr,
};
pub use resolve::{Inspection, Resolution};
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
    /// Retries get [`Error::Indeterminate`] until it is resolved: effects happen at most once.
    Fail,
}
