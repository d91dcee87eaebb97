//! Callers that go away, or keep a call without polling it.

#[path = "../common/mod.rs"]
mod common;

mod await_points;
mod handover;
#[cfg(feature = "memory")]
mod held;
mod waiting;
