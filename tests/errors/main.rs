//! What errors say, and what they mean for the caller.

#[path = "../common/mod.rs"]
mod common;

mod hidden;
mod messages;
#[cfg(feature = "json")]
mod nested;
