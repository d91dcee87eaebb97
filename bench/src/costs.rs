//! What one operation costs client and server: the constants in `docs/CAPACITY.md`.

use idempotent_fn::SharedStore;
use idempotent_test_support::RedisServer;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::{
    cores::Apart,
    growth::{
        Pace, keys,
        load::{KINDS, Kind, Reading, calls, connected, info, prepare, record, runtime, watched},
    },
    report::{Facts, thousands},
    sample::quantile,
};

const TOGETHER: usize = 256;
/// How many records tell what one takes.
const RECORDS: u64 = 100_000;

/// Of one call. Times in microseconds.
#[derive(Clone, Copy, Serialize)]
pub struct OnRedis {
    pub round_trips: f64,
    /// When each command comes alone in its packet.
    pub server_alone: f64,
    /// When 256 tasks share the connection, and commands come many at once.
    pub server_together: f64,
    pub server_together_aof: f64,
    pub client_alone: f64,
    pub client_together: f64,
    pub bytes_to_server: f64,
    pub bytes_from_server: f64,
    /// What it appends to the append-only file.
    pub bytes_of_aof: f64,
}

#[derive(Clone, Copy, Serialize)]
pub struct Costs {
    pub replay: OnRedis,
    pub first: OnRedis,
    /// Of the server's memory, per record, its tables included.
    pub redis_record: f64,
    pub redis_record_alone: f64,
    /// The memory store's, among a million records: nanoseconds and bytes.
    pub memory_replay: f64,
    pub memory_first: f64,
    pub memory_record: f64,
}

pub fn measure(pace: Pace) -> Costs {
    let server = RedisServer::start();
    let file = RedisServer::builder().arg("appendonly", "yes").start();
    let runtime = runtime();
    let apart = Apart::from(&[&server, &file]);
    let store = connected(&runtime, &server);
    prepare(&runtime, store, TOGETHER);
    let (redis_record, redis_record_alone) = per_record(&runtime, store, &server);
    let with_file = connected(&runtime, &file);
    prepare(&runtime, with_file, TOGETHER);
    let [replay, first] = KINDS.map(|(kind, _)| {
        let bench = Bench {
            runtime: &runtime,
            kind,
            pace,
        };
        let (alone, traffic) = bench.measure(&server, store, 1);
        let (together, _) = bench.measure(&server, store, TOGETHER);
        let (with_aof, appended) = bench.measure(&file, with_file, TOGETHER);
        OnRedis {
            round_trips: traffic.packets,
            server_alone: alone.micros(alone.server),
            server_together: together.micros(together.server),
            server_together_aof: with_aof.micros(with_aof.server),
            client_alone: alone.micros(alone.client),
            client_together: together.micros(together.client),
            bytes_to_server: traffic.to_server,
            bytes_from_server: traffic.from_server,
            bytes_of_aof: appended.appended,
        }
    });
    drop(apart);
    let memory = keys::ask("ours", pace.records.min(1_000_000));
    Costs {
        replay,
        first,
        redis_record,
        redis_record_alone,
        memory_replay: memory.replay,
        memory_first: memory.first,
        memory_record: memory.bytes,
    }
}

/// What a record takes of the server's memory, and what the server says that one does.
fn per_record(runtime: &Runtime, store: &'static SharedStore, server: &RedisServer) -> (f64, f64) {
    let used = || info(server, "memory", "used_memory");
    let before = used();
    record(runtime, store, 500_000..500_000 + RECORDS);
    let one = server.cli(&["MEMORY", "USAGE", "idempotent:bench.growth|order-0500000"]);
    let all = (used() - before) / RECORDS as f64;
    (all, one.parse().expect("a number"))
}

/// Of one call.
#[derive(Clone, Copy, Default)]
struct Traffic {
    packets: f64,
    to_server: f64,
    from_server: f64,
    appended: f64,
}

struct Bench<'a> {
    runtime: &'a Runtime,
    kind: Kind,
    pace: Pace,
}

impl Bench<'_> {
    fn measure(
        &self,
        server: &RedisServer,
        store: &'static SharedStore,
        tasks: usize,
    ) -> (Reading, Traffic) {
        let run = |window| calls(self.runtime, store, self.kind, tasks, window);
        // What it takes to ask is no call's.
        let (_, asking) = counted(server, Reading::default);
        let readings: Vec<_> = (0..self.pace.rounds)
            .map(|_| {
                let (reading, sum) =
                    counted(server, || watched(&[server], || run(self.pace.window)));
                let (_, asked) = counted(server, || watched(&[server], Reading::default));
                let each = |sum: f64, asked: f64| (sum - asked) / reading.calls as f64;
                let traffic = Traffic {
                    packets: each(sum.packets, asked.packets),
                    to_server: each(sum.to_server, asked.to_server),
                    from_server: each(sum.from_server, asked.from_server),
                    appended: each(sum.appended, asking.appended),
                };
                (reading, traffic)
            })
            .collect();
        let median = |value: &dyn Fn(&(Reading, Traffic)) -> f64| {
            quantile(readings.iter().map(value).collect(), 0.5)
        };
        let reading = Reading {
            calls: 1,
            wall: median(&|(reading, _)| 1.0 / reading.rate()),
            client: median(&|(reading, _)| reading.client / reading.calls as f64),
            server: median(&|(reading, _)| reading.server / reading.calls as f64),
            busiest: 0.0,
        };
        let traffic = Traffic {
            packets: median(&|(_, traffic)| traffic.packets),
            to_server: median(&|(_, traffic)| traffic.to_server),
            from_server: median(&|(_, traffic)| traffic.from_server),
            appended: median(&|(_, traffic)| traffic.appended),
        };
        (reading, traffic)
    }
}

/// What the server counted while `run` ran.
fn counted(server: &RedisServer, run: impl FnOnce() -> Reading) -> (Reading, Traffic) {
    let before = totals(server);
    let reading = run();
    let after = totals(server);
    let sum = Traffic {
        packets: after.packets - before.packets,
        to_server: after.to_server - before.to_server,
        from_server: after.from_server - before.from_server,
        appended: after.appended - before.appended,
    };
    (reading, sum)
}

fn totals(server: &RedisServer) -> Traffic {
    let stat = |field| info(server, "stats", field);
    let file = info(server, "persistence", "aof_enabled") > 0.0;
    Traffic {
        packets: stat("total_reads_processed"),
        to_server: stat("total_net_input_bytes"),
        from_server: stat("total_net_output_bytes"),
        appended: if file {
            info(server, "persistence", "aof_current_size")
        } else {
            0.0
        },
    }
}

impl Costs {
    pub fn facts(&self) -> Facts {
        let (replay, first) = (&self.replay, &self.first);
        let micros = |value: f64| format!("{value:.1} µs");
        let bytes = |value: f64| format!("{} B", thousands(value.round().max(0.0) as u64));
        let row = |name: &str, value: &dyn Fn(&OnRedis) -> String| {
            vec![name.to_owned(), value(replay), value(first)]
        };
        let rows = vec![
            row("round trips", &|on| format!("{:.2}", on.round_trips)),
            row("server's CPU, commands one by one", &|on| {
                micros(on.server_alone)
            }),
            row("server's CPU, 256 tasks on a connection", &|on| {
                micros(on.server_together)
            }),
            row("the same with an append-only file, `everysec`", &|on| {
                micros(on.server_together_aof)
            }),
            row("client's CPU, one task", &|on| micros(on.client_alone)),
            row("client's CPU, 256 tasks", &|on| micros(on.client_together)),
            row("bytes to the server", &|on| bytes(on.bytes_to_server)),
            row("bytes from the server", &|on| bytes(on.bytes_from_server)),
            row("bytes of append-only file", &|on| bytes(on.bytes_of_aof)),
            vec![
                "Redis memory kept, tables included".to_owned(),
                "0 B".to_owned(),
                bytes(self.redis_record),
            ],
            vec![
                "`MEMORY USAGE` of the record".to_owned(),
                "–".to_owned(),
                bytes(self.redis_record_alone),
            ],
            vec![
                "memory store: CPU, among a million records".to_owned(),
                format!("{:.0} ns", self.memory_replay),
                format!("{:.0} ns", self.memory_first),
            ],
            vec![
                "memory store: memory kept".to_owned(),
                "0 B".to_owned(),
                bytes(self.memory_record),
            ],
        ];
        Facts {
            id: "costs",
            title: "What one operation costs (40-byte result, 26-byte record key)".to_owned(),
            columns: ["", "replay", "first call"].map(str::to_owned).to_vec(),
            rows,
        }
    }
}
