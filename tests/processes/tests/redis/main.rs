//! Real processes on a real Redis.

mod cancellation;
mod commands;
mod common;
mod crash;
mod deploy;
mod groups;
mod http;
mod outage;
mod race;
