//! The protocol and the stores of `idempotent-fn`. Depend on that crate: it re-exports what is
//! public here.

// A public item of a feature has its `#[cfg(feature = …)]` on itself, not only on its module: the
// documentation takes its badge from there, also where `idempotent-fn` shows it.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Its own tests are not for the scheduler of `tests/races`.
#![cfg(not(all(test, idempotent_shuttle)))]

mod backoff;
mod call;
#[cfg(feature = "reqwest")]
pub mod client;
pub mod codec;
mod context;
mod default_store;
pub mod error;
mod events;
pub mod fingerprint;
#[cfg(feature = "http")]
pub mod http;
pub mod key;
pub mod operation;
mod policy;
#[cfg(idempotent_shuttle)]
#[path = "../../tests/races/src/mod.rs"]
pub mod races;
pub mod record;
mod runtime_check;
pub mod store;
mod sync;
pub mod tx;

pub use call::{Run, drain};
pub use context::{Execution, Observation, Observed, current, observe, try_current, with_store};
pub use default_store::{STORE_ENV_VAR, install};
pub use error::{Error, StoreError, StoreErrorKind};
pub use operation::{Operation, operation, operation_at, operation_with_codec};
pub use policy::{OnCrash, OnErr, RerunOrFail};
pub use store::{SharedStore, Store};

// What is public in a module, named briefly in here.
pub(crate) use codec::{Codec, CodecError};
pub(crate) use error::OperationId;
pub(crate) use key::{InvalidKeyError, Key};
pub(crate) use policy::{DEFAULT_LEASE, DEFAULT_TTL, DEFAULT_WAIT};
