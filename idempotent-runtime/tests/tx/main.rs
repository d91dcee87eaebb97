//! Calls in their caller's own transaction, on real databases.

mod end_to_end;
mod postgres;
mod sqlite;
