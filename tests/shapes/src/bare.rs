//! A module without the prelude, in which the prelude's names mean something else.
#![no_implicit_prelude]

use ::idempotent_fn::{OnErr, idempotent};
use ::std::string::String;

use crate::{Failure, fresh};

/// Not the prelude's.
#[derive(Debug)]
pub struct Option;
/// Not the prelude's.
#[derive(Debug)]
pub struct Some;
/// Not the prelude's.
#[derive(Debug)]
pub struct Box;

/// Every option that prints a path.
#[idempotent(
    key = (id, name),
    fingerprint = name,
    ttl = "1h",
    on_crash = fail,
    on_err = |error| if error.0.is_empty() { OnErr::Rerun } else { OnErr::Fail },
    map_err = |_| Failure(String::new()),
)]
pub async fn bare(id: u64, name: String) -> ::core::result::Result<u64, Failure> {
    ::core::result::Result::Ok(id + fresh())
}

/// The boxed form.
#[idempotent(key = id)]
#[must_use]
pub fn boxed(
    id: u64,
) -> ::core::pin::Pin<
    ::std::boxed::Box<
        dyn ::core::future::Future<Output = ::core::result::Result<u64, Failure>>
            + ::core::marker::Send,
    >,
> {
    ::std::boxed::Box::pin(async move { ::core::result::Result::Ok(id + fresh()) })
}
