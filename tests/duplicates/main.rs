//! Calls of one key at the same time.

#[path = "../common/mod.rs"]
mod common;

mod concurrency;
mod flights;
mod reused;
mod waiting;
