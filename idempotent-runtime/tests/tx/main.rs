//! Calls in their caller's own transaction, on real databases.

mod postgres;
mod sqlite;
