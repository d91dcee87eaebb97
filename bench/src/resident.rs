//! Memory per record, with a million of them, and what a million expired ones cost the calls that
//! remove them.

use std::{fs, process::Command, time::Duration};

use idempotent_fn::{
    Error, SharedStore, operation,
    store::{ManualClock, MemoryStore},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    floor,
    own::*,
    peers::*,
    sample::{Row, Table, quantile, thread_time},
};

const RECORDS: usize = 1_000_000;
/// Tells this program, started by itself, to fill one subject and say what that took.
pub const CHILD: &str = "--resident";
const SUBJECTS: [(&str, &str); 7] = [
    ("floor: DashMap, bytes only", "nonce, token, end, expiry"),
    ("idempotent-fn", ""),
    ("quick_cache", "the key's text, end, bytes"),
    ("cached: concurrent_cached", "the key's text, bytes"),
    ("cached: sync_writes = by_key", "the key's text, bytes"),
    ("moka", "the key's text, bytes"),
    ("idempotent 2.0", ""),
];

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Bytes per record, each subject in a process of its own.
pub fn per_record() -> Table {
    let program = std::env::current_exe().expect("this program");
    let rows = SUBJECTS.iter().enumerate().map(|(index, (name, without))| {
        let mut samples: Vec<f64> = (0..3)
            .map(|_| {
                let child = Command::new(&program)
                    .args([CHILD, &index.to_string()])
                    .output();
                let text = String::from_utf8(child.expect("started").stdout).expect("a number");
                text.trim().parse::<f64>().expect("a number")
            })
            .collect();
        samples.sort_by(f64::total_cmp);
        Row {
            name: (*name).to_owned(),
            figure: samples[1],
            quartiles: (samples[0], samples[2]),
            ratio: 1.0,
            without,
        }
    });
    let mut rows: Vec<Row> = rows.collect();
    let base = rows[0].figure;
    rows.iter_mut()
        .for_each(|row| row.ratio = row.figure / base);
    Table {
        id: "resident",
        title: "Resident memory per record, at 1 M records (40-byte result, 26-byte record key)"
            .to_owned(),
        unit: "B",
        of: "median",
        rows,
    }
}

/// Fills subject `index` and prints the growth of the resident set per record.
pub fn child(index: usize) {
    let keys = orders(RECORDS);
    let runtime = runtime();
    let (moka, quick) = (moka(4 << 20), Quick::new(4 << 20));
    runtime.block_on(async {
        let before = resident();
        match index {
            0 => {
                for key in &keys {
                    floor::first(&format!("{SCOPE}|{key}"), key).await;
                }
            }
            1 => {
                for key in &keys {
                    drop(ours(key).await)
                }
            }
            2 => {
                for key in &keys {
                    drop(with_quick(&quick, key).await)
                }
            }
            3 => {
                for key in &keys {
                    drop(cached_concurrent(key).await)
                }
            }
            4 => {
                for key in &keys {
                    drop(cached_by_key(key).await)
                }
            }
            5 => {
                for key in &keys {
                    with_moka(&moka, key).await;
                }
            }
            _ => {
                let store = idempotent::memory::MemoryStore::builder()
                    .try_build()
                    .expect("a store");
                for key in &keys {
                    with_idempotent(&store, key).await;
                }
                println!("{:.1}", (resident() - before) / RECORDS as f64);
                std::process::exit(0);
            }
        }
        println!("{:.1}", (resident() - before) / RECORDS as f64);
    });
    std::process::exit(0);
}

/// This process' resident set, in bytes.
pub fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = status.split(' ').nth(1).expect("the resident set");
    pages.parse::<f64>().expect("a number") * rustix::param::page_size() as f64
}

/// What calls take while a million expired records are swept.
pub fn sweep() -> Table {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    let shared = SharedStore::from(store.clone());
    let runtime = runtime();
    let call = |key: usize| {
        let operation =
            operation::<Result<Receipt, Error>, _>(SCOPE, &[&key]).ttl(Duration::from_secs(60));
        operation
            .store(&shared)
            .run(async move { Ok(receipt("order-1")) })
    };
    let (quiet, sweeping, left) = runtime.block_on(async {
        let mut quiet = Vec::with_capacity(RECORDS);
        for key in 0..RECORDS {
            let start = thread_time();
            drop(call(key).await);
            quiet.push((thread_time() - start).as_nanos() as f64);
        }
        clock.advance(Duration::from_secs(120));
        let mut sweeping = Vec::with_capacity(RECORDS);
        for key in RECORDS..2 * RECORDS {
            let start = thread_time();
            drop(call(key).await);
            sweeping.push((thread_time() - start).as_nanos() as f64);
            if store.len() <= key - RECORDS + 1 {
                break;
            }
        }
        (quiet, sweeping, store.len())
    });
    println!(
        "\n{} calls swept {RECORDS} expired records; {left} records are left",
        sweeping.len()
    );
    let rows = [("filling", quiet), ("sweeping", sweeping)]
        .into_iter()
        .flat_map(|(what, times)| {
            [("median", 0.5), ("99.99 %", 0.9999), ("longest", 1.0)].map(|(name, at)| {
                let value = quantile(times.clone(), at);
                Row {
                    name: format!("first call, {what}: {name}"),
                    figure: value,
                    quartiles: (value, value),
                    ratio: 1.0,
                    without: "",
                }
            })
        });
    Table {
        id: "sweep",
        title: "Calls while 1 M expired records are swept (processor time of each)".to_owned(),
        unit: "ns",
        of: "median",
        rows: rows.collect(),
    }
}
