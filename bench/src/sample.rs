//! Measures several subjects so that they can be compared on a noisy machine.
//!
//! Each round measures every subject once, in an order that rotates, and ratios are formed within a
//! round: whatever slows the machine for a second slows both sides of a ratio. Medians over the
//! rounds are reported. Work that never waits is timed by its thread's processor time, which
//! excludes other programs' use of the core.

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
    /// What its figures are of their rounds: `median` or `mean`.
    pub of: &'static str,
    pub rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub name: String,
    /// The rounds' median or mean: the table says which.
    pub figure: f64,
    /// The middle half of the rounds.
    pub quartiles: (f64, f64),
    /// Against the table's first row: the median of the rounds' ratios, or the ratio of the means.
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

/// Measures `subjects` side by side, in nanoseconds a call. The first one is what the others are
/// compared with. `fixed` is how many calls make a sample; without it, as many as fit into
/// [`SAMPLE`].
pub fn compare(
    id: &'static str,
    title: impl Into<String>,
    rounds: usize,
    fixed: Option<u64>,
    subjects: Vec<Subject<'_>>,
) -> Table {
    Rounds::run(rounds, fixed, subjects).medians(id, title)
}

/// All samples of some subjects.
pub struct Rounds {
    /// Name, what it does not do, and its samples.
    subjects: Vec<(&'static str, &'static str, Vec<f64>)>,
}

impl Rounds {
    pub fn run(rounds: usize, fixed: Option<u64>, mut subjects: Vec<Subject<'_>>) -> Self {
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
        let named = subjects.iter().zip(samples);
        Self {
            subjects: named
                .map(|(subject, own)| (subject.name, subject.without, own))
                .collect(),
        }
    }

    /// What a round usually is; the ratio is the median of the rounds' own.
    pub fn medians(&self, id: &'static str, title: impl Into<String>) -> Table {
        self.table(id, title, "median", |own, base| {
            let ratios = own.iter().zip(base).map(|(own, base)| own / base);
            (quantile(own.to_vec(), 0.5), quantile(ratios.collect(), 0.5))
        })
    }

    /// What all rounds take together: also what happens in a few of them only.
    pub fn means(&self, id: &'static str, title: impl Into<String>) -> Table {
        self.table(id, title, "mean", |own, base| {
            let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
            (mean(own), mean(own) / mean(base))
        })
    }

    fn table(
        &self,
        id: &'static str,
        title: impl Into<String>,
        of: &'static str,
        tell: impl Fn(&[f64], &[f64]) -> (f64, f64),
    ) -> Table {
        let base = &self.subjects[0].2;
        let rows = self.subjects.iter().map(|(name, without, own)| {
            let (figure, ratio) = tell(own, base);
            Row {
                name: (*name).to_owned(),
                figure,
                quartiles: (quantile(own.clone(), 0.25), quantile(own.clone(), 0.75)),
                ratio,
                without,
            }
        });
        Table {
            id,
            title: title.into(),
            unit: "ns",
            of,
            rows: rows.collect(),
        }
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
