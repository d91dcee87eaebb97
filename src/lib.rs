#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub use idempotent_macros::idempotent;
#[doc(inline)]
pub use idempotent_runtime::{
    ENV, Error, Execution, Observation, Observed, OnCrash, OnErr, Operation, RerunOrFail,
    SharedStore, Store, StoreError, StoreErrorKind, codec, current, drain, error, fingerprint,
    install, key, observe, operation, operation_with_codec, record, store, try_current, with_store,
};

#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
#[doc(inline)]
pub use idempotent_runtime::conformance_tests;

/// The guide's examples run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/GUIDE.md")]
struct Guide;
