//! The cost of a replay with a thousand to ten million records in memory. Each number has a process
//! of its own, whose memory is free when it ends.

use std::{
    fs,
    hint::black_box,
    process::Command,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::{
    Pace,
    load::runtime,
    series::{Line, Panel, Series, Unit, measured, short},
};
use crate::{
    floor,
    own::{SCOPE, ours},
    resident::resident,
    sample::{quantile, thread_time},
};

/// Tells this program to measure one subject at one number of records.
pub const CHILD: &str = "--records";

const RECORDS: [usize; 9] = [
    1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000,
];
const SUBJECTS: [&str; 3] = ["ours", "floor", "memory"];
/// How many replays are timed at once: their keys' texts lie in the nearest cache.
const BATCH: usize = 512;
/// About what a record takes, keys and tables included.
const RECORD: usize = 250;

pub fn measure(pace: Pace) -> Series {
    let points: Vec<usize> = RECORDS
        .into_iter()
        .filter(|records| *records <= pace.records && fits(*records))
        .collect();
    let found: Vec<Vec<Found>> = SUBJECTS
        .iter()
        .map(|subject| {
            let at = |records: &usize| ask(subject, *records);
            points.iter().map(at).collect()
        })
        .collect();
    let panel = |label, unit, value: fn(&Found) -> Option<f64>| Panel {
        label,
        unit,
        values: found
            .iter()
            .map(|line| line.iter().map(value).collect())
            .collect(),
    };
    let mut lines = measured(&["idempotent-fn", "floor: DashMap get + decode"]);
    lines.push(Line {
        name: "one read at random in as much memory".to_owned(),
        computed: true,
    });
    Series {
        id: "growth-keys",
        title: "Replay of a random record among so many in memory".to_owned(),
        along: "records",
        points: points
            .iter()
            .map(|count| short(*count as f64).replace(".00", "").replace(".0", ""))
            .collect(),
        lines,
        panels: vec![
            panel("time", Unit::Nanoseconds, |found| Some(found.replay)),
            panel("resident memory per record", Unit::Bytes, |found| {
                (found.bytes > 0.0).then_some(found.bytes)
            }),
        ],
    }
}

/// Whether the machine has the memory to spare.
fn fits(records: usize) -> bool {
    let text = fs::read_to_string("/proc/meminfo").expect("Linux");
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    let fits = available.is_some_and(|kib| kib / 2 > records * RECORD / 1024);
    if !fits {
        println!("\n{records} records are left out: there is too little memory.");
    }
    fits
}

/// What a process of its own has found.
pub struct Found {
    /// Of one replay, ns.
    pub replay: f64,
    /// Of one first call while the store was filled, ns.
    pub first: f64,
    /// Resident, per record; nothing where there is too little to tell.
    pub bytes: f64,
}

/// Measures in a process of its own.
pub fn ask(subject: &str, records: usize) -> Found {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(&program)
        .args([CHILD, subject, &records.to_string()])
        .output();
    let text = String::from_utf8(output.expect("started").stdout).expect("numbers");
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|number| number.parse().expect("a number"))
        .collect();
    let [replay, first, bytes] = numbers[..] else {
        panic!("{subject} at {records} records said: {text}")
    };
    Found {
        replay,
        first,
        bytes,
    }
}

/// What [`ask`] starts.
pub fn child(subject: &str, records: usize) {
    let found = match subject {
        "ours" => {
            let call = |runtime: &Runtime, keys: &[&'static str]| {
                runtime.block_on(async {
                    for key in keys {
                        black_box(ours(key).await).expect("a result");
                    }
                });
            };
            filled(records, order, call)
        }
        "floor" => {
            let call = |runtime: &Runtime, keys: &[&'static str]| {
                runtime.block_on(async {
                    for key in keys {
                        if floor::replay(key).await.is_none() {
                            floor::first(key, "order-1").await;
                        }
                    }
                });
            };
            let full = |number| format!("{SCOPE}|{}", order(number));
            filled(records, full, call)
        }
        _ => Found {
            replay: read_at_random(records * RECORD),
            first: 0.0,
            bytes: 0.0,
        },
    };
    println!("{} {} {}", found.replay, found.first, found.bytes);
    // Nobody waits for ten million destructors.
    std::process::exit(0);
}

fn order(number: usize) -> String {
    format!("order-{number:07}")
}

/// Makes `records` first calls, then replays records at random.
fn filled(
    records: usize,
    key: impl Fn(usize) -> String,
    call: impl Fn(&Runtime, &[&'static str]),
) -> Found {
    let runtime = runtime();
    let before = resident();
    let (mut first, mut left) = (Duration::ZERO, Vec::new());
    let mut texts = 0;
    for from in (0..records).step_by(BATCH) {
        left.clear();
        left.extend(from..records.min(from + BATCH));
        let keys = batch(&left, &key, &mut texts);
        let start = thread_time();
        call(&runtime, &keys);
        first += thread_time() - start;
    }
    let grown = resident() - before - texts as f64;
    let mut random = Random(88_172_645_463_325_252);
    let mut samples = Vec::new();
    let end = Instant::now() + Duration::from_millis(600);
    while Instant::now() < end {
        let numbers: Vec<usize> = (0..BATCH).map(|_| random.below(records)).collect();
        let keys = batch(&numbers, &key, &mut texts);
        let start = thread_time();
        call(&runtime, &keys);
        samples.push((thread_time() - start).as_nanos() as f64 / BATCH as f64);
    }
    Found {
        replay: quantile(samples, 0.5),
        first: first.as_nanos() as f64 / records as f64,
        bytes: if records < 100_000 {
            0.0
        } else {
            grown / records as f64
        },
    }
}

/// The keys of these records, side by side and for ever; `texts` counts their bytes.
fn batch(numbers: &[usize], key: impl Fn(usize) -> String, texts: &mut usize) -> Vec<&'static str> {
    let mut ends = Vec::with_capacity(numbers.len());
    let mut text = String::new();
    for number in numbers {
        text += &key(*number);
        ends.push(text.len());
    }
    *texts += text.len();
    let text: &'static str = text.leak();
    let mut from = 0;
    let slice = |end| &text[std::mem::replace(&mut from, end)..end];
    ends.into_iter().map(slice).collect()
}

/// How long one read takes whose place only the read before it tells, in so many bytes.
fn read_at_random(bytes: usize) -> f64 {
    const READS: usize = 1 << 16;
    // One place a cache line.
    let mut next: Vec<[u64; 8]> = (0..(bytes / 64) as u64).map(|at| [at; 8]).collect();
    let mut random = Random(2_463_534_242);
    // Sattolo's shuffle: one ring through all places.
    for at in (1..next.len()).rev() {
        next.swap(at, random.below(at));
    }
    let mut at = 0;
    let samples = (0..31).map(|_| {
        let start = thread_time();
        for _ in 0..READS {
            at = next[at as usize][0];
        }
        black_box(at);
        (thread_time() - start).as_nanos() as f64 / READS as f64
    });
    quantile(samples.collect(), 0.5)
}

/// Xorshift: the same places in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
