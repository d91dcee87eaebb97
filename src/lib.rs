#![doc = include_str!("../README.md")]

pub use idempotent_macros::idempotent;
#[cfg(feature = "axum")]
pub use idempotent_runtime::Axum;
pub use idempotent_runtime::{
    AlreadyInstalled, ByFn, ByFrom, Codec, CodecError, DEFAULT_LEASE, DEFAULT_TTL, DEFAULT_WAIT,
    ENV, Error, Execution, Fallible, Inspection, IntoErr, InvalidKey, Key, KeyDigest, Label,
    Observation, Observed, OnCrash, OnErr, Operation, Outcome, Recorded, Resolution, Run,
    SharedStore, Store, StoreError, StoreErrorKind, codec, current, drain, fingerprint, install,
    observe, operation, operation_with_codec, record, store, try_current, with_store,
};
