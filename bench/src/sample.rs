//! Measuring several subjects so that they can be compared on a noisy machine.
//!
//! Each round measures every subject once, in an order that rotates, and a ratio is formed within the round: whatever
//! slows the machine for a second slows both sides of it. What is reported are medians over the rounds. Work that never
//! waits is timed by its thread's processor time, which other programs' turns on the core are no part of.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// One thing that is measured: runs the work that many times and says how long that took.
pub struct Subject<'a> {
    pub name: &'static str,
    /// What it does not do, so that nobody compares unlike things unawares.
    pub without: &'static str,
    pub run: Box<dyn FnMut(u64) -> Duration + 'a>,
}

impl<'a> Subject<'a> {
    pub fn new(
        name: &'static str,
        without: &'static str,
        run: impl FnMut(u64) -> Duration + 'a,
    ) -> Self {
        Self {
            name,
            without,
            run: Box::new(run),
        }
    }
}

/// A workload's result.
#[derive(Serialize)]
pub struct Table {
    pub id: &'static str,
    pub title: String,
    pub unit: &'static str,
    pub rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub name: String,
    pub median: f64,
    /// The middle half of the rounds.
    pub quartiles: (f64, f64),
    /// Against the table's first row: the median of the rounds' ratios.
    pub ratio: f64,
    pub without: &'static str,
}

/// How long one sample should take.
pub const SAMPLE: Duration = Duration::from_millis(2);

/// This thread's processor time so far.
pub fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Measures `subjects` side by side, in nanoseconds a call. The first one is what the others are compared with.
/// `fixed` is how many calls make a sample; without it, as many as fit into [`SAMPLE`].
pub fn compare(
    id: &'static str,
    title: impl Into<String>,
    rounds: usize,
    fixed: Option<u64>,
    mut subjects: Vec<Subject<'_>>,
) -> Table {
    let counts: Vec<u64> = subjects
        .iter_mut()
        .map(|subject| fixed.unwrap_or_else(|| calibrate(subject)))
        .collect();
    let mut samples = vec![Vec::with_capacity(rounds); subjects.len()];
    for round in 0..rounds {
        for turn in 0..subjects.len() {
            let which = (round + turn) % subjects.len();
            let count = counts[which];
            let time = (subjects[which].run)(count);
            samples[which].push(time.as_nanos() as f64 / count as f64);
        }
    }
    let rows = subjects.iter().zip(&samples).map(|(subject, own)| {
        let ratios = own
            .iter()
            .zip(&samples[0])
            .map(|(own, base)| own / base)
            .collect();
        Row {
            name: subject.name.to_owned(),
            median: quantile(own.clone(), 0.5),
            quartiles: (quantile(own.clone(), 0.25), quantile(own.clone(), 0.75)),
            ratio: quantile(ratios, 0.5),
            without: subject.without,
        }
    });
    let rows = rows.collect();
    Table {
        id,
        title: title.into(),
        unit: "ns",
        rows,
    }
}

fn calibrate(subject: &mut Subject<'_>) -> u64 {
    let mut count = 64;
    loop {
        let time = (subject.run)(count);
        if time > SAMPLE / 4 {
            let per_call = time.as_nanos().max(1) / u128::from(count);
            return (SAMPLE.as_nanos() / per_call.max(1)).max(1) as u64;
        }
        count *= 4;
    }
}

pub fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = at * (values.len() - 1) as f64;
    let (below, above) = (
        values[place.floor() as usize],
        values[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}
