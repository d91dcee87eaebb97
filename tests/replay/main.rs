//! A recorded result comes back as it was, or is a defined error.

#[path = "../common/mod.rs"]
mod common;

mod decoding;
mod evolution;
#[cfg(feature = "axum")]
mod handlers;
mod hostile;
mod locks;
mod results;
mod unreadable;
