//! `PostgresStore` on real servers, from one process and from several.

#![allow(clippy::similar_names, reason = "owner and owned are the words here")]

#[path = "../common/aged.rs"]
mod aged;
mod child;
mod common;
mod conformance;
mod faults;
mod from_env;
mod held;
mod locks;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/stress.rs"]
mod promises;
#[path = "../common/remote.rs"]
mod remote;
mod rows;
mod server;
mod stress;
mod two_processes;
mod waiting;
