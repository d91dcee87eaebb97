//! The facade.

#[doc(inline)]
pub use idempotent_macros::idempotent;
pub use idempotent_runtime::*;
