//! The protocol of `idempotent-fn`, checked exhaustively for a few callers and bounded faults.
//!
//! The store's transitions are the runtime's own functions
//! ([`store::protocol`](idempotent_runtime::store::protocol)), so the model and the code cannot
//! drift apart there. The callers' side is written here once more, stage by stage. `docs/MODEL.md`
//! says what was found.

mod act;
pub mod catalogue;
pub mod check;
pub mod flow;
pub mod history;
mod holds;
pub mod in_tx;
mod leave;
mod near;
mod operator;
pub mod rec;
pub mod store;
pub mod variant;
pub mod verdict;
pub mod world;
