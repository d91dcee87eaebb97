//! The protocol and the stores of `idempotent-fn`. Depend on that crate: it re-exports what is public here.

mod admit;
mod ask;
mod backoff;
mod call;
mod claim;
pub mod codec;
mod context;
mod default_store;
mod error;
mod events;
pub mod fingerprint;
mod flight;
mod handover;
mod heartbeat;
mod key;
mod operation;
mod policy;
pub mod record;
mod run;
mod runtime_check;
mod settle;
pub mod store;
mod unprotected;
mod work;

pub use call::Run;
pub use codec::{Codec, CodecError};
pub use context::{Execution, Observation, Observed, current, observe, try_current, with_store};
pub use default_store::{AlreadyInstalled, ENV, install};
pub use error::{Error, Label, StoreError, StoreErrorKind};
pub use handover::drain;
pub use key::{
    InvalidKey, Key, KeyDigest, KeyPart, KeyParts, MaybePart, OptionalPart, optional_part,
};
#[cfg(feature = "axum")]
pub use operation::Axum;
pub use operation::{
    ByFn, ByFrom, DEFAULT_LEASE, DEFAULT_TTL, DEFAULT_WAIT, Decision, Fallible, Inspection,
    IntoErr, Operation, Outcome, Recorded, RecordedErr, Resolution, operation,
    operation_with_codec,
};
pub use policy::{OnCrash, OnErr, RerunOrFail};
pub use store::{SharedStore, Store};
