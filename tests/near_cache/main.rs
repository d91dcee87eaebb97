//! Replays from this process' memory, in front of a store that is elsewhere.

#[path = "../common/mod.rs"]
mod common;

mod replays;
