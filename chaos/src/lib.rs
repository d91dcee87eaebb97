//! Many processes call annotated functions on real servers while everything that can fail is made
//! to fail. A checker then reads the whole history.
//!
//! The conductor ([`conduct`]) starts the servers, the workers ([`worker`]), and the ledger, which
//! notes effects outside of the store. Calls and faults are drawn from a seed. [`check`] judges
//! what happened ([`history`]); it knows the guarantees, and nothing of how the library works.
//! [`report`] prints the result.

// A harness that cannot go on ends at once, and says what it could not do.
#![allow(
    clippy::missing_panics_doc,
    reason = "a run that cannot go on ends with a panic"
)]

mod busy;
pub mod check;
pub mod conduct;
mod driver;
mod functions;
pub mod history;
mod ledger;
mod load;
mod manner;
mod postgres;
mod pulse;
pub mod report;
mod say;
mod server_faults;
mod signals;
mod site;
mod sqlite;
mod witness;
pub mod worker;
