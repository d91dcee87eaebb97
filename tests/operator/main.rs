//! What an operator sees and does.

#[path = "../common/mod.rs"]
mod common;

mod by_hand;
mod namespaces;
mod observe;
