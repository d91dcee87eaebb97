//! Every form of function under `#[idempotent]`. The expansion must not cause a lint in a user's
//! crate. So this crate denies all lint groups of rustc and clippy's `pedantic`, and allows only a
//! missing `# Errors` section, which clippy would also miss in the plain function. It is compiled
//! in two editions.
//!
//! Each body returns its own number: two equal answers are one run.

#![deny(
    clippy::all,
    clippy::pedantic,
    future_incompatible,
    let_underscore,
    missing_docs,
    nonstandard_style,
    rust_2018_idioms,
    unreachable_code,
    unreachable_pub,
    unsafe_code,
    unused,
    unused_braces,
    unused_lifetimes,
    unused_qualifications,
    unused_results
)]
#![allow(
    clippy::missing_errors_doc,
    reason = "it is asked of a plain function, too"
)]

pub mod attributes;
pub mod bare;
pub mod boxed;
pub mod free;
pub mod handlers;
pub mod lints;
pub mod macros;
pub mod methods;
pub mod names;
pub mod options;
pub mod transactions;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A number that was never given before.
#[must_use]
pub fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Why a shape failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure(pub String);

impl From<idempotent_fn::Error> for Failure {
    fn from(error: idempotent_fn::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<std::num::ParseIntError> for Failure {
    fn from(error: std::num::ParseIntError) -> Self {
        Self(error.to_string())
    }
}

/// An alias: the attribute never looks at the name `Result`.
pub type Outcome<T = u64> = Result<T, Failure>;
