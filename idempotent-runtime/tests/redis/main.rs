//! The Redis store on real servers.

#![allow(clippy::similar_names, reason = "owner and owned are the words here")]

mod bounds;
mod cluster;
mod commands;
mod common;
#[cfg(feature = "conformance")]
mod conformance;
mod connection;
mod coop;
mod foreign;
mod hostile;
mod limits;
mod model;
mod near;
mod rights;
mod sentinel;
mod settling;
mod soak;
mod takeover;
mod urls;
mod waiting;
