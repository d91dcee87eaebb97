//! Idempotent requests over real sockets. Each test has a server and a store of its own.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "reqwest")]
mod client;
mod contracts;
mod handlers;
mod http2;
mod in_flight;
mod key;
mod layers;
mod leaving;
mod limits;
mod payload;
mod principal;
mod problems;
mod readme;
mod responses;
mod sockets;
mod streams;
mod support;
