//! Faults of the servers: one at a time, each with a proof that it happened.

use std::{
    sync::atomic::Ordering::Relaxed,
    thread::sleep,
    time::{Duration, Instant},
};

use fastrand::Rng;
use idempotent_test_support::{RedisCluster, RedisServer, Sentinel, wait_until};

use crate::{
    functions::LEASE,
    history::{Entry, Event, Kind, now},
    ledger::Log,
    postgres,
    signals::{Gate, Signals},
    site::Site,
    sqlite::File,
};

/// How long to wait for a sign of the fault.
const TRACE: Duration = Duration::from_millis(1_500);

/// Injects faults until told to stop. When it returns, all servers work again.
pub(crate) fn run(site: &Site, mut rng: Rng, log: &Log, signals: &Signals) {
    for turn in 0.. {
        if signals.is_over() {
            return;
        }
        if signals.calm.is_wanted() {
            signals.calm.pass();
        }
        if matches!(site, Site::Memory) {
            sleep(Duration::from_millis(20));
            continue;
        }
        sleep(Duration::from_millis(rng.u64(100..900)));
        let at = now();
        let (kind, observed) = match site {
            Site::Memory => continue,
            Site::One(server) => one(server, &mut rng),
            Site::Cluster(group) => cluster(group, turn, &mut rng, signals),
            Site::Sentinel(group) => sentinel(group, turn, &mut rng, signals),
            Site::Sqlite(file) => sqlite(file, &mut rng),
            Site::Postgres(server) => postgres::fault(server, turn, &mut rng),
        };
        let event = Event::Fault {
            kind,
            process: None,
            call: None,
            until: now(),
            observed,
        };
        log.push(Entry {
            at,
            process: 0,
            event,
        });
    }
}

fn one(server: &RedisServer, rng: &mut Rng) -> (Kind, bool) {
    match rng.u8(..12) {
        0..=2 => client_kill(server, rng),
        3 | 4 => script_flush(server),
        5 | 6 => restart(server, Duration::ZERO),
        7 => restart(server, LEASE * 3 / 2),
        8 => server_stop(server, LEASE * 3 / 2),
        _ => memory_full(server, rng),
    }
}

/// Faults that only a cluster has come first, so that even the shortest run has them.
fn cluster(group: &RedisCluster, turn: u32, rng: &mut Rng, signals: &Signals) -> (Kind, bool) {
    let masters: Vec<_> = group
        .nodes()
        .iter()
        .filter(|node| is_master(node))
        .collect();
    let master = masters[rng.usize(..masters.len())];
    let choice = match turn {
        0 => 9,
        1 => 6,
        _ => rng.u8(..12),
    };
    match choice {
        0 | 1 => client_kill(master, rng),
        2 => script_flush(master),
        3 => server_stop(master, LEASE * 4 / 3),
        4 | 5 => memory_full(master, rng),
        6..=8 => {
            signals.wave.store(true, Relaxed);
            cluster_failover(group, rng)
        }
        _ => {
            signals.wave.store(true, Relaxed);
            slot_move(group, rng)
        }
    }
}

/// As in [`cluster`].
fn sentinel(group: &Sentinel, turn: u32, rng: &mut Rng, signals: &Signals) -> (Kind, bool) {
    let master = group.master();
    match if turn == 1 { 7 } else { rng.u8(..8) } {
        0..=2 => client_kill(master, rng),
        3 | 4 => script_flush(master),
        5 | 6 => memory_full(master, rng),
        _ => sentinel_failover(group, &signals.hush),
    }
}

fn sqlite(file: &File, rng: &mut Rng) -> (Kind, bool) {
    if rng.u8(..3) == 0 {
        (Kind::LockHeld, file.hold_lock(LEASE * 3 / 2, TRACE))
    } else {
        (Kind::Checkpoint, file.checkpoint())
    }
}

fn is_master(server: &RedisServer) -> bool {
    server.info("replication").contains("role:master")
}

fn client_kill(server: &RedisServer, rng: &mut Rng) -> (Kind, bool) {
    let kind = if rng.bool() { "normal" } else { "pubsub" };
    let killed = server.cli(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    (Kind::ClientKill, killed != "0")
}

/// How many errors with this code the server has answered.
fn refusals(server: &RedisServer, code: &str) -> u64 {
    let stats = server.cli(&["INFO", "errorstats"]);
    let count = stats.lines().find_map(|line| {
        let rest = line.strip_prefix("errorstat_")?.strip_prefix(code)?;
        rest.strip_prefix(":count=")?.trim_end().parse().ok()
    });
    count.unwrap_or(0)
}

pub(crate) fn soon(condition: impl Fn() -> bool) -> bool {
    let since = Instant::now();
    while since.elapsed() < TRACE {
        if condition() {
            return true;
        }
        sleep(Duration::from_millis(10));
    }
    condition()
}

fn script_flush(server: &RedisServer) -> (Kind, bool) {
    let before = refusals(server, "NOSCRIPT");
    server.cli(&["SCRIPT", "FLUSH"]);
    (
        Kind::ScriptFlush,
        soon(|| refusals(server, "NOSCRIPT") > before),
    )
}

fn memory_full(server: &RedisServer, rng: &mut Rng) -> (Kind, bool) {
    let before = refusals(server, "OOM");
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    sleep(Duration::from_millis(rng.u64(50..500)));
    let observed = refusals(server, "OOM") > before;
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    (Kind::MemoryFull, observed)
}

fn restart(server: &RedisServer, away: Duration) -> (Kind, bool) {
    let old = server.id();
    server.kill();
    let gone = !server.is_running();
    sleep(away);
    server.restart();
    let kind = if away.is_zero() {
        Kind::Restart
    } else {
        Kind::Away
    };
    (kind, gone && server.id() != old)
}

fn server_stop(server: &RedisServer, duration: Duration) -> (Kind, bool) {
    server.pause();
    sleep(duration);
    server.resume();
    // `pause` has waited until it was stopped. Now it answers again.
    (Kind::ServerStop, server.cli(&["PING"]) == "PONG")
}

/// A failover by hand. The primary stops writes until the replica has everything, so nothing is
/// lost.
fn cluster_failover(group: &RedisCluster, rng: &mut Rng) -> (Kind, bool) {
    let replicas: Vec<_> = group
        .nodes()
        .iter()
        .filter(|node| !is_master(node))
        .collect();
    let replica = replicas[rng.usize(..replicas.len())];
    // It may be refused or given up while the primary is busy.
    let asked = replica.try_cli(&["CLUSTER", "FAILOVER"]).is_ok();
    let since = Instant::now();
    while asked && since.elapsed() < Duration::from_secs(5) {
        if is_master(replica) {
            return (Kind::Failover, true);
        }
        sleep(Duration::from_millis(20));
    }
    (Kind::Failover, false)
}

/// Some hundred slots move to another primary with all their keys, and back.
fn slot_move(group: &RedisCluster, rng: &mut Rng) -> (Kind, bool) {
    let mut masters: Vec<_> = (0..group.nodes().len())
        .filter(|index| is_master(&group.nodes()[*index]))
        .collect();
    rng.shuffle(&mut masters);
    let (from, to) = (masters[0], masters[1]);
    let mut slots = group.slots_of(from);
    rng.shuffle(&mut slots);
    slots.truncate(rng.usize(200..600));
    let redirected = || -> u64 {
        let nodes = [from, to].map(|index| &group.nodes()[index]);
        let counts = nodes.map(|node| refusals(node, "MOVED") + refusals(node, "ASK"));
        counts.iter().sum()
    };
    let before = redirected();
    let mut moved = true;
    for (from, to) in [(from, to), (to, from)] {
        if group.reshard(from, to, &slots).is_err() {
            group.close_slots(&slots);
            moved = false;
            break;
        }
        let owned = group.slots_of(to);
        moved &= slots.iter().all(|slot| owned.contains(slot));
    }
    // It happened, and clients were redirected.
    (Kind::SlotMove, moved && redirected() > before)
}

/// Sentinel's failover loses what the replica has not received. So all workers are stopped until
/// the replica has everything.
fn sentinel_failover(group: &Sentinel, hush: &Gate) -> (Kind, bool) {
    let all_quiet = hush.close(Duration::from_secs(10));
    let old = group.master().port();
    let mut observed = false;
    if all_quiet && in_step(group) {
        let asked = group.sentinels()[0].try_cli(&["SENTINEL", "FAILOVER", group.master_name()]);
        let since = Instant::now();
        while asked.is_ok() && !observed && since.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(20));
            observed = group.master().port() != old && is_master(group.master());
        }
        if observed {
            // Writes that the old primary still acknowledged would be lost.
            group.wait_for_failover();
            let old = group.servers().iter().find(|server| server.port() == old);
            let old = old.expect("it is one of ours");
            wait_until("the old master follows the new one", || !is_master(old));
        }
    }
    hush.open();
    (Kind::Failover, observed)
}

/// Whether the replicas have everything that the primary has.
fn in_step(group: &Sentinel) -> bool {
    let offset = |server: &RedisServer, name: &str| {
        let info = server.info("replication");
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.and_then(|number| number.trim_end().parse::<u64>().ok())
            .unwrap_or(0)
    };
    let master = group.master();
    let replicas: Vec<_> = group
        .servers()
        .iter()
        .filter(|server| server.port() != master.port())
        .collect();
    // What was on its way arrives.
    sleep(Duration::from_millis(50));
    soon(|| {
        let all = offset(master, "master_repl_offset:");
        replicas
            .iter()
            .all(|replica| offset(replica, "slave_repl_offset:") >= all)
    })
}
