//! The Redis store on real servers.

mod cluster;
mod commands;
mod common;
#[cfg(feature = "conformance")]
mod conformance;
mod connection;
mod foreign;
mod limits;
mod model;
mod rights;
mod sentinel;
mod takeover;
mod waiting;
