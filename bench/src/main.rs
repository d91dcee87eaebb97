//! `cargo run --release --ignore-rust-version --manifest-path bench/Cargo.toml [WORKLOAD …]`

mod memory;
mod own;
mod peers;
mod report;
mod sample;

fn main() {
    let memory = idempotent_fn::store::MemoryStore::new();
    idempotent_fn::install(memory.into()).expect("nothing has run yet");
    let asked: Vec<String> = std::env::args().skip(1).collect();
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
}
