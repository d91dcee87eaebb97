#![doc = include_str!("../README.md")]

pub use idempotent_macros::idempotent;
#[cfg(feature = "axum")]
pub use idempotent_runtime::Axum;
pub use idempotent_runtime::{
    AlreadyInstalled, ByFn, ByFrom, Codec, CodecError, DEFAULT_LEASE, DEFAULT_TTL, DEFAULT_WAIT,
    Decision, Error, Execution, Fallible, Inspection, IntoErr, InvalidKeyError, Key, KeyDigest,
    KeyPart, KeyParts, MaybePart, Observation, Observed, OnCrash, OnErr, Operation, OperationId,
    OptionalPart, Outcome, Recorded, RecordedErr, RerunOrFail, Resolution, Run, STORE_ENV_VAR,
    SendErr, SharedStore, Store, StoreError, StoreErrorKind, codec, current, drain, fingerprint,
    install, observe, operation, operation_at, operation_with_codec, optional_part, record, store,
    try_current, with_store,
};

/// The guide's examples run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/GUIDE.md")]
struct Guide;
