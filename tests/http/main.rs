//! Idempotent requests over real sockets. Each test has a server, a store and a scope of its own.
#![cfg(feature = "axum")]

mod handlers;
mod key;
mod problems;
mod support;
