//! Owners that panic, fall silent or come back late, and messages that get lost.

#[path = "../common/mod.rs"]
mod common;

mod coop;
mod deploy;
mod late;
mod no_wait;
mod owners;
mod vanished;
