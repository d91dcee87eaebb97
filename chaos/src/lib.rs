//! Many processes call annotated functions on a real server, everything that can fail is made to, and a checker reads
//! the whole history.
//!
//! The conductor ([`conduct`]) starts the server, the workers ([`worker`]) and the ledger, which notes effects
//! outside of the store. Calls and faults are drawn from a seed. What happened ([`history`]) is judged by [`check`],
//! which knows the claims and nothing of how the library works, and told by [`report`].

// A harness that cannot go on must end at once, and say what it could not do.
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
mod pulse;
pub mod report;
mod say;
mod server_faults;
mod signals;
mod site;
mod sqlite;
mod witness;
pub mod worker;
