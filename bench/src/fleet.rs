//! What a fleet needs, computed from what one operation costs: the formulae in `docs/CAPACITY.md`.

use crate::{
    costs::Costs,
    growth::{short, significant},
    report::{Facts, thousands},
};

/// How much of a core, and of a node's memory, is planned to be used.
const USED: f64 = 0.6;
/// A node's memory.
const NODE: f64 = 64.0 * GIB;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const TTL: f64 = 86_400.0;

const RATES: [f64; 3] = [1e3, 1e5, 1e7];

/// The share of first calls, and what that is typical of.
const MIXES: [(&str, f64, &str); 2] = [
    (
        "fleet-90",
        0.9,
        "90 % first calls, 10 % replays: an API with its retries",
    ),
    (
        "fleet-50",
        0.5,
        "50 % first calls, 50 % replays: a queue that delivers twice",
    ),
];

pub fn facts(costs: &Costs) -> Vec<Facts> {
    let mut facts = vec![by_ttl(costs)];
    facts.extend(MIXES.map(|(id, first, title)| {
        Facts {
            id,
            title: format!("{title}; ttl 24 h"),
            columns: [
                "operations/s",
                "Redis cores at work",
                "nodes for CPU",
                "records",
                "Redis memory",
                "nodes for memory",
                "to Redis",
                "from Redis",
                "append-only file",
                "client cores",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows: RATES.map(|rate| row(costs, rate, first)).to_vec(),
        }
    }));
    facts
}

/// What the highest rate keeps, by how long it is kept.
fn by_ttl(costs: &Costs) -> Facts {
    let [_, _, rate] = RATES;
    let (_, share, _) = MIXES[0];
    let times = [
        ("24 h", TTL),
        ("1 h", 3_600.0),
        ("10 min", 600.0),
        ("1 min", 60.0),
    ];
    let row = |(name, ttl): (&str, f64)| {
        let records = rate * share * ttl;
        let memory = records * costs.redis_record;
        vec![
            name.to_owned(),
            count(records),
            sized(memory),
            nodes(memory / (NODE * USED)),
        ]
    };
    Facts {
        id: "fleet-ttl",
        title: "10 M operations/s, 90 % first calls, by `ttl`".to_owned(),
        columns: ["ttl", "records", "Redis memory", "nodes for memory"]
            .map(str::to_owned)
            .to_vec(),
        rows: times.map(row).to_vec(),
    }
}

fn row(costs: &Costs, rate: f64, share: f64) -> Vec<String> {
    let (first, replay) = (rate * share, rate * (1.0 - share));
    let both = |of: &dyn Fn(&crate::costs::OnRedis) -> f64| {
        first * of(&costs.first) + replay * of(&costs.replay)
    };
    // Between commands that come many at once and commands that come one by one.
    let server = [both(&|on| on.server_together), both(&|on| on.server_alone)].map(|us| us / 1e6);
    let client = [both(&|on| on.client_together), both(&|on| on.client_alone)].map(|us| us / 1e6);
    let records = first * TTL;
    let memory = records * costs.redis_record;
    let bits = |of: &dyn Fn(&crate::costs::OnRedis) -> f64| per_second(both(of) * 8.0, "bit/s");
    vec![
        short(rate).replace(".0 ", " ").replace(".00", ""),
        range(server, significant),
        range(server, |cores| nodes(cores / USED)),
        count(records),
        sized(memory),
        nodes(memory / (NODE * USED)),
        bits(&|on| on.bytes_to_server),
        bits(&|on| on.bytes_from_server),
        per_second(both(&|on| on.bytes_of_aof), "B/s"),
        range(client, |cores| nodes(cores / USED)),
    ]
}

/// "2 – 5", or "2" where both are the same.
fn range(ends: [f64; 2], show: impl Fn(f64) -> String) -> String {
    let [low, high] = ends.map(show);
    if low == high {
        low
    } else {
        format!("{low} – {high}")
    }
}

fn count(records: f64) -> String {
    match records {
        records if records >= 1e9 => format!("{} bn", significant(records / 1e9)),
        records => short(records),
    }
}

fn nodes(count: f64) -> String {
    thousands(count.ceil().max(1.0) as u64)
}

fn sized(bytes: f64) -> String {
    if bytes >= 1024.0 * GIB {
        format!("{:.1} TiB", bytes / GIB / 1024.0)
    } else {
        format!("{:.1} GiB", bytes / GIB)
    }
}

fn per_second(value: f64, unit: &str) -> String {
    match value {
        value if value >= 1e9 => format!("{:.1} G{unit}", value / 1e9),
        value if value >= 1e6 => format!("{:.1} M{unit}", value / 1e6),
        value => format!("{:.0} k{unit}", value / 1e3),
    }
}
