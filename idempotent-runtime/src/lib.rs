//! The protocol and the stores of `idempotent-fn`. Depend on that crate: it re-exports what is public here.

// Its own tests are not for the scheduler of `tests/races`.
#![cfg(not(all(test, idempotent_shuttle)))]

mod backoff;
mod call;
pub mod codec;
mod context;
mod default_store;
mod error;
mod events;
pub mod fingerprint;
mod key;
mod operation;
mod policy;
#[cfg(idempotent_shuttle)]
#[path = "../../tests/races/src/mod.rs"]
pub mod races;
pub mod record;
mod runtime_check;
pub mod store;
mod sync;

pub use call::{Run, drain};
pub use codec::{Codec, CodecError};
pub use context::{Execution, Observation, Observed, current, observe, try_current, with_store};
pub use default_store::{AlreadyInstalled, STORE_ENV_VAR, install};
pub use error::{Error, OperationId, StoreError, StoreErrorKind};
pub use key::{
    InvalidKeyError, Key, KeyDigest, KeyPart, KeyParts, MaybePart, OptionalPart, optional_part,
};
#[cfg(feature = "axum")]
pub use operation::Axum;
pub use operation::{
    ByFn, ByFrom, DEFAULT_LEASE, DEFAULT_TTL, DEFAULT_WAIT, Decision, Fallible, IntoErr, Operation,
    Outcome, Recorded, RecordedErr, Resolution, operation, operation_with_codec,
};
pub use policy::{OnCrash, OnErr, RerunOrFail};
pub use store::{SharedStore, Store, inspection::Inspection};
