//! Concurrent calls with one key.

#[path = "../common/mod.rs"]
mod common;

mod concurrency;
mod flights;
mod reused;
mod waiting;
