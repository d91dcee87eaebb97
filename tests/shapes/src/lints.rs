//! Lints that a crate may choose, under clippy: those of a plain body are not lost below the
//! attribute, and the expansion adds none.
//!
//! One is added: `shadow_reuse`, because the body's variable for an argument is another one than
//! the signature's, with the user's own name and span. A crate that denies it allows it there.

#![deny(
    clippy::implicit_return,
    clippy::shadow_same,
    clippy::shadow_unrelated,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::panic,
    clippy::dbg_macro,
    clippy::use_debug
)]

use std::future::Future;
use std::pin::Pin;

use idempotent_fn::idempotent;

use crate::{Outcome, fresh};

/// Nothing is added: each of these is what those lints ask for.
#[idempotent(key = (a, b))]
pub async fn clean(a: u64, b: u64, c: u64, d: u64) -> Outcome {
    std::future::ready(()).await;
    return Ok(a + b + c + d + fresh());
}

/// The same, of a boxed future.
#[idempotent(key = a)]
#[must_use]
pub fn boxed(a: u64) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
    return Box::pin(std::future::ready(Ok(a + fresh())));
}

/// `shadow_reuse` alone is added.
#[expect(clippy::shadow_reuse, reason = "the body owns its arguments")]
#[idempotent(key = a)]
pub async fn shadows(a: u64) -> Outcome {
    return Ok(a + fresh());
}

/// Statements.
///
/// # Panics
/// Never.
#[idempotent(key = id)]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::use_debug,
    clippy::dbg_macro,
    clippy::assertions_on_constants,
    reason = "not lost"
)]
pub async fn statements(id: u64) -> Outcome {
    println!("{id:?}");
    eprintln!("{id}");
    dbg!(id);
    assert!(true);
    return Ok(id + fresh());
}

/// A body that is one macro call.
///
/// # Panics
/// Always.
#[idempotent(key = id)]
#[expect(clippy::todo, reason = "not lost")]
pub async fn later(id: u64) -> Outcome {
    todo!()
}

/// The same.
///
/// # Panics
/// Always.
#[idempotent(key = id)]
#[expect(clippy::unimplemented, reason = "not lost")]
pub async fn never(id: u64) -> Outcome {
    unimplemented!()
}

/// The same.
///
/// # Panics
/// Always.
#[idempotent(key = id)]
#[expect(clippy::panic, reason = "not lost")]
pub async fn panics(id: u64) -> Outcome {
    panic!("always")
}

/// The same.
#[idempotent(key = id)]
#[expect(clippy::unreachable, reason = "not lost")]
pub async fn reaches(id: u64) -> Outcome {
    unreachable!()
}

/// Its braces on one line are not unused.
#[rustfmt::skip]
#[idempotent(key = id)]
pub async fn on_one_line(id: u64) -> Outcome { return Ok(id + fresh()); }

/// The same, of an expression.
#[rustfmt::skip]
#[idempotent(key = id)]
pub async fn expression_on_one_line(id: u64) -> Outcome { Ok(id + fresh()) }
