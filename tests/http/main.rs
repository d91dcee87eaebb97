//! Idempotent requests over real sockets. Each test has a server and a store of its own.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "reqwest")]
mod client;
mod contracts;
mod handlers;
mod in_flight;
mod key;
mod layers;
mod leaving;
mod limits;
mod payload;
mod principal;
mod problems;
mod responses;
mod streams;
mod support;
