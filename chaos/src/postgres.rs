//! Faults of a PostgreSQL server, and what other programs do to its table.

use std::{
    thread::{scope, sleep},
    time::Duration,
};

use fastrand::Rng;
use idempotent_test_support::PostgresServer;

use crate::{functions::LEASE, history::Kind, server_faults::soon};

/// Those that take longest to come by come first, so that even a short run has them.
pub(crate) fn fault(server: &PostgresServer, turn: u32, rng: &mut Rng) -> (Kind, bool) {
    match if turn < 2 { 8 + turn } else { rng.u32(..12) } {
        0..=2 => terminate(server),
        3 | 4 => restart(server, Duration::ZERO),
        5 => restart(server, LEASE * 3 / 2),
        6 | 7 => stop(server, LEASE * 3 / 2),
        8 | 11 => hold_locks(server, LEASE * 3 / 2, rng),
        _ => read_only(server, rng),
    }
}

fn terminate(server: &PostgresServer) -> (Kind, bool) {
    let ended = server.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'idempotent-fn'",
    );
    (Kind::ClientKill, ended != "0")
}

/// As a crash, without a checkpoint.
fn restart(server: &PostgresServer, away: Duration) -> (Kind, bool) {
    let old = server.id();
    server.kill();
    sleep(away);
    server.restart();
    let kind = if away.is_zero() {
        Kind::Restart
    } else {
        Kind::Away
    };
    (kind, server.id() != old)
}

fn stop(server: &PostgresServer, duration: Duration) -> (Kind, bool) {
    server.pause();
    sleep(duration);
    server.resume();
    // `pause` has waited until it was stopped. Now it answers again.
    (Kind::ServerStop, server.sql("SELECT 1") == "1")
}

/// Another program's transaction has the table, or every row. Whether others waited for it.
fn hold_locks(server: &PostgresServer, duration: Duration, rng: &mut Rng) -> (Kind, bool) {
    let lock = if rng.bool() {
        "LOCK TABLE idempotent_records IN ACCESS EXCLUSIVE MODE"
    } else {
        "SELECT FROM idempotent_records FOR UPDATE"
    };
    let hold = format!(
        "BEGIN; {lock}; SELECT pg_sleep({}); ROLLBACK",
        duration.as_secs_f64()
    );
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    let observed = scope(|scope| {
        let holding = scope.spawn(|| server.sql(&hold));
        let observed = soon(|| holding.is_finished() || server.sql(waiting) != "0");
        observed && !holding.is_finished()
    });
    (Kind::LockHeld, observed)
}

/// As in a switch-over, and without losing a connection. Whether statements were refused for it.
fn read_only(server: &PostgresServer, rng: &mut Rng) -> (Kind, bool) {
    let refused = || server.log().matches("in a read-only transaction").count();
    let before = refused();
    server.configure("default_transaction_read_only = on");
    sleep(Duration::from_millis(rng.u64(50..500)));
    let observed = soon(|| refused() > before);
    server.configure("");
    (Kind::ReadOnly, observed)
}
