//! `PostgresStore` on real servers, from one process and from several.

#![allow(clippy::similar_names, reason = "owner and owned are the words here")]

#[path = "../common/aged.rs"]
mod aged;
mod common;
mod conformance;
mod rows;
