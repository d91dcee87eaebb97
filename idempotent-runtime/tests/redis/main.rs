//! The Redis store on real servers.

#[path = "../common/aged.rs"]
mod aged;
mod bounds;
mod bytes;
mod cluster;
mod commands;
mod common;
#[cfg(feature = "conformance")]
mod conformance;
mod connection;
mod coop;
mod credentials;
mod definite;
mod ended;
mod foreign;
mod from_env;
mod held;
mod hostile;
mod limits;
mod list;
mod login;
mod model;
mod near;
mod resharding;
mod rights;
mod sentinel;
mod settling;
mod silence;
mod sizes;
mod soak;
mod takeover;
mod trial;
mod urls;
mod waiting;
