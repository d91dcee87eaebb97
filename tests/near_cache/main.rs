//! Replays from this process' memory, in front of a network store.

#[path = "../common/mod.rs"]
mod common;

mod replays;
