//! What `tests/races` adds to the runtime's sources: `crate::sync` for the scheduler, and the
//! scenarios. Each scenario panics or hangs in an interleaving that shows a fault.

#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the scenarios of a test"
)]

pub mod flights;
pub mod memory;
pub mod near;
pub(crate) mod sync;
pub mod topics;

use std::{cell::Cell, time::Duration};

use crate::{Key, OnCrash, record::Nonce, store::ClaimRequest};

thread_local! {
    // The checker runs all threads of a scenario on one.
    static MUTANT: Cell<&'static str> = const { Cell::new("") };
}

/// Runs `scenario` with this fault in the runtime, as `mutant!` names it there.
pub fn with_mutant<R>(fault: &'static str, scenario: impl FnOnce() -> R) -> R {
    MUTANT.set(fault);
    let result = scenario();
    MUTANT.set("");
    result
}

pub(crate) fn is_mutant(fault: &str) -> bool {
    MUTANT.get() == fault
}

fn key(part: u8) -> Key {
    Key::new("races", &[&part]).expect("a valid key")
}

fn request(number: u8) -> ClaimRequest {
    ClaimRequest {
        nonce: Nonce::from_bytes([number; 16]),
        lease: Duration::from_secs(30),
        on_crash: OnCrash::Rerun,
        fingerprint: None,
        ttl: Duration::from_secs(1),
        owner: None,
        trace: None,
    }
}
