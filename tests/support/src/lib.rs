//! Real servers, faulty links and child processes for the tests.
//!
//! All functions block, and all addresses are on loopback. A server lives as long as its value:
//! dropping the value, also while a failed test unwinds, ends the process by its id. A missing
//! program is a panic that names the package to install, never a skipped test.
//!
//! Nothing here runs on the test's async runtime, so a test may block, pause tokio's clock, or drop
//! its runtime.

// A helper that cannot do its work must fail the test at once; each panic says what was being
// waited for.
#![allow(
    clippy::missing_panics_doc,
    reason = "a test fails by a panic that says what went wrong"
)]

mod builder;
mod cluster;
mod pgbouncer;
mod port;
mod postgres;
mod process;
mod proxy;
mod redis;
mod resp;
mod sentinel;
mod slots;
mod tls;
mod worker;

pub use builder::Builder;
pub use cluster::RedisCluster;
pub use pgbouncer::PgBouncer;
pub use postgres::PostgresServer;
pub use process::{eventually, is_alive, wait_until};
pub use proxy::{Counters, Direction, Proxy};
pub use redis::RedisServer;
pub use sentinel::Sentinel;
pub use tls::Certificates;
pub use worker::Worker;
