//! What the attribute makes of a function, and what the function's body sees.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "memory")]
mod arguments;
mod execution;
#[cfg(feature = "memory")]
mod one_place;
mod options;
#[cfg(feature = "memory")]
mod shared_scopes;
mod unprotected;
