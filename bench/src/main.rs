//! `cargo run --release --ignore-rust-version --manifest-path bench/Cargo.toml [WORKLOAD …] [quick]
//! [write]`
//!
//! Workloads: `replay`, `replay2`, `first`, `resident`, `sweep`, `sqlite`, `redis`, `near`,
//! `waiter`, `future`, `compile`, `growth` (or one of `growth-tasks`, `-keys`, `-sizes`,
//! `-processes`, `-cluster`), `costs`; all of them where none is named. Prints tables. After a
//! whole run, and of some workloads with `write`, it also brings `docs/` up to date: the tables
//! between markers, the pictures, `bench.json`. `quick` shows that growth and costs run, not what
//! they are.

// A benchmark counts in `f64` and panics where it cannot go on.
mod chart;
mod compile;
mod cores;
mod costs;
mod fleet;
mod floor;
mod future;
mod growth;
mod memory;
mod near;
mod own;
mod peers;
mod redis;
mod report;
mod resident;
mod sample;
mod sqlite;
mod waiter;

use std::{env, path::Path, process::Command};

use idempotent_fn::store::MemoryStore;

use crate::report::Report;

/// What the command line asks for.
struct Asked {
    names: Vec<String>,
    pace: growth::Pace,
    write: bool,
}

impl Asked {
    fn read() -> Self {
        let mut names: Vec<String> = env::args().skip(1).collect();
        let mut take = |flag: &str| {
            let found = names.iter().any(|name| name == flag);
            names.retain(|name| name != flag);
            found
        };
        let (quick, write) = (take("quick"), take("write"));
        Self {
            names,
            pace: if quick {
                growth::Pace::QUICK
            } else {
                growth::Pace::FULL
            },
            write,
        }
    }

    fn whole(&self) -> bool {
        self.names.is_empty()
    }

    fn wants(&self, name: &str) -> bool {
        let named =
            |asked: &String| asked == name || (asked == "growth" && name.starts_with("growth-"));
        self.whole() || self.names.iter().any(named)
    }
}

fn main() {
    idempotent_fn::install(MemoryStore::new()).expect("nothing has run yet");
    if run_as_child() {
        return;
    }
    let asked = Asked::read();
    let mut report = Report::default();
    in_memory(&asked, &mut report);
    if asked.wants("sqlite") {
        sqlite::measure(&mut report);
    }
    on_redis(&asked, &mut report);
    if asked.wants("future") {
        report.add_facts(future::measure());
    }
    if asked.wants("compile")
        && let Some((table, crates)) = compile::compile()
    {
        report.add(table);
        report.note(crates);
    }
    if asked.whole() || asked.write {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        report
            .write(&folder, asked.whole())
            .expect("docs/ can be written");
    }
}

/// This program starts itself for what needs a process of its own.
fn run_as_child() -> bool {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<usize>().expect("a number");
    match words[..] {
        [cores::SPIN, core] => cores::spin(number(core)),
        [resident::CHILD, subject] => resident::child(number(subject)),
        [growth::keys::CHILD, subject, records] => growth::keys::child(subject, number(records)),
        [growth::processes::CHILD, url, index] => {
            growth::processes::child(url, number(index) as u64);
        }
        _ => return false,
    }
    true
}

fn in_memory(asked: &Asked, report: &mut Report) {
    if asked.wants("replay") {
        report.add(memory::replay(1));
    }
    if asked.wants("replay2") {
        report.add(memory::replay(2));
    }
    if asked.wants("first") {
        for table in memory::first() {
            report.add(table);
        }
    }
    if asked.wants("resident") {
        report.add(resident::per_record());
    }
    if asked.wants("sweep") {
        report.add(resident::sweep());
    }
}

fn on_redis(asked: &Asked, report: &mut Report) {
    if asked.wants("redis")
        && let Some(bench) = redis::Bench::start()
    {
        bench.measure(report);
        let (alone, _) = bench.duplicates(0);
        let (together, spread) = bench.duplicates(100);
        report.note(format!(
            "100 duplicates while the owner runs: {} commands more than the {alone} of the owner alone; the last of them \
             was answered {spread:?} after the owner.",
            together.abs_diff(alone)
        ));
    }
    let found = Command::new("redis-server").arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if asked.wants("near") && found {
        let (table, note) = near::replay();
        report.add(table);
        report.note(note);
    }
    for (name, needs_redis, measure) in growth::ALL {
        if asked.wants(name) && (found || !needs_redis) {
            report.add_series(measure(asked.pace));
        }
    }
    if asked.wants("waiter") && found {
        report.add_facts(waiter::measure());
    }
    if asked.wants("costs") && found {
        report.add_costs(costs::measure(asked.pace));
    }
}
