//! How cost grows: a series and a plot for each quantity.
//!
//! Every point is measured once a round, and medians over the rounds are reported. Beside each rate
//! stands the processor time of server and client, which explains a bend in the line.

mod chart;
mod cluster;
pub mod keys;
pub mod load;
pub mod processes;
mod series;
mod sizes;
mod tasks;

use std::time::Duration;

pub use self::series::{Series, short, significant};

/// How long is measured.
#[derive(Clone, Copy)]
pub struct Pace {
    pub rounds: usize,
    pub window: Duration,
    /// The most records a memory store is filled with.
    pub records: usize,
}

impl Pace {
    pub const FULL: Self = Self {
        rounds: 5,
        window: Duration::from_millis(200),
        records: 10_000_000,
    };
    /// To see whether it runs, not what comes out.
    pub const QUICK: Self = Self {
        rounds: 1,
        window: Duration::from_millis(40),
        records: 100_000,
    };
}

type Measure = fn(Pace) -> Series;

/// What each series is called on the command line, whether it needs a Redis, and how it is
/// measured.
pub const ALL: [(&str, bool, Measure); 5] = [
    ("growth-tasks", true, tasks::measure),
    ("growth-keys", false, keys::measure),
    ("growth-sizes", true, sizes::measure),
    ("growth-processes", true, processes::measure),
    ("growth-cluster", true, cluster::measure),
];
