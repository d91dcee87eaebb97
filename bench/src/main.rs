//! `cargo run --release --ignore-rust-version --manifest-path bench/Cargo.toml [WORKLOAD …]`
//!
//! Workloads: `replay`, `replay2`, `first`, `resident`, `sweep`, `redis`, `compile`; all of them where none is named.
//! Prints tables, and writes `bench.json` and `bench.svg` to `docs/` after a whole run.

// A benchmark counts in `f64` and panics where it cannot go on.
mod chart;
mod compile;
mod memory;
mod own;
mod peers;
mod redis;
mod report;
mod resident;
mod sample;

use std::{env, path::Path};

use idempotent_fn::store::MemoryStore;

fn main() {
    idempotent_fn::install(MemoryStore::new().into()).expect("nothing has run yet");
    let asked: Vec<String> = env::args().skip(1).collect();
    if let [flag, index] = &asked[..]
        && flag == resident::CHILD
    {
        return resident::child(index.parse().expect("a subject's number"));
    }
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let mut report = report::Report::default();
    if wanted("replay") {
        report.add(memory::replay(1));
    }
    if wanted("replay2") {
        report.add(memory::replay(2));
    }
    if wanted("first") {
        report.add(memory::first());
    }
    if wanted("resident") {
        report.add(resident::per_record());
    }
    if wanted("sweep") {
        report.add(resident::sweep());
    }
    if wanted("redis")
        && let Some(bench) = redis::Bench::start()
    {
        bench.measure(&mut report);
        let (alone, _) = bench.duplicates(0);
        let (together, spread) = bench.duplicates(100);
        report.note(format!(
            "100 duplicates while the owner runs: {} commands more than the {alone} of the owner alone; the last of them \
             was answered {spread:?} after the owner.",
            together.abs_diff(alone)
        ));
    }
    if wanted("compile")
        && let Some(table) = compile::compile()
    {
        report.add(table);
    }
    if asked.is_empty() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        report.write(&folder).expect("docs/ can be written");
    }
}
