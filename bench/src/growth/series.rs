//! A series of measurements, as a table and as data.

use std::fmt::Write;

use serde::Serialize;

use super::{chart, load::Reading};
use crate::{report::Facts, sample::quantile};

/// What grows, and what that does to each line in each panel.
#[derive(Serialize)]
pub struct Series {
    pub id: &'static str,
    pub title: String,
    /// What the points are: "tasks".
    pub along: &'static str,
    pub points: Vec<String>,
    pub lines: Vec<Line>,
    pub panels: Vec<Panel>,
}

#[derive(Serialize)]
pub struct Line {
    pub name: String,
    /// Computed from measurements, not measured.
    pub computed: bool,
}

/// One quantity of every line at every point.
#[derive(Serialize)]
pub struct Panel {
    pub label: &'static str,
    pub unit: Unit,
    /// By line, then by point. None where there is no such thing.
    pub values: Vec<Vec<Option<f64>>>,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
pub enum Unit {
    CallsPerSecond,
    MegabytesPerSecond,
    Nanoseconds,
    Microseconds,
    Bytes,
    /// Of one core.
    Share,
}

impl Unit {
    /// A value as the tables have it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::CallsPerSecond => short(value),
            Self::MegabytesPerSecond => format!("{} MB/s", significant(value)),
            Self::Nanoseconds => format!("{} ns", significant(value)),
            Self::Microseconds => format!("{} µs", significant(value)),
            Self::Bytes => format!("{} B", significant(value)),
            Self::Share => format!("{:.0} %", value * 100.0),
        }
    }
}

/// With a k or an M.
pub fn short(value: f64) -> String {
    match value {
        value if value >= 999_500.0 => format!("{} M", significant(value / 1e6)),
        value if value >= 9_995.0 => format!("{} k", significant(value / 1e3)),
        value => significant(value),
    }
}

/// Three digits, and no more than the value has.
pub fn significant(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => crate::report::thousands(value.round() as u64),
    }
}

pub fn measured(names: &[&str]) -> Vec<Line> {
    let line = |name: &&str| Line {
        name: (*name).to_owned(),
        computed: false,
    };
    names.iter().map(line).collect()
}

/// Measures every line at every point once a round: by line, then by point, then by round.
pub fn rounds(
    count: usize,
    lines: usize,
    points: usize,
    mut measure: impl FnMut(usize, usize) -> Reading,
) -> Vec<Vec<Vec<Reading>>> {
    let mut readings = vec![vec![Vec::with_capacity(count); points]; lines];
    for _ in 0..count {
        for point in 0..points {
            for (line, own) in readings.iter_mut().enumerate() {
                own[point].push(measure(line, point));
            }
        }
    }
    readings
}

impl Panel {
    /// The medians over the rounds of what `value` makes of a reading.
    pub fn of(
        label: &'static str,
        unit: Unit,
        readings: &[Vec<Vec<Reading>>],
        value: impl Fn(&Reading) -> Option<f64>,
    ) -> Self {
        let median = |rounds: &Vec<Reading>| {
            let values: Option<Vec<f64>> = rounds.iter().map(&value).collect();
            Some(quantile(values?, 0.5))
        };
        let line = |points: &Vec<Vec<Reading>>| points.iter().map(median).collect();
        Self {
            label,
            unit,
            values: readings.iter().map(line).collect(),
        }
    }

    /// The rate on Redis, and what explains it: what a call takes of each side's processor, and
    /// whether the side with more to do has a core left for more.
    pub fn on_redis(readings: &[Vec<Vec<Reading>>]) -> Vec<Self> {
        vec![
            Self::of("calls/s", Unit::CallsPerSecond, readings, |reading| {
                Some(reading.rate())
            }),
            Self::of(
                "server's CPU per call",
                Unit::Microseconds,
                readings,
                |reading| Some(reading.micros(reading.server)),
            ),
            Self::of(
                "client's CPU per call",
                Unit::Microseconds,
                readings,
                |reading| Some(reading.micros(reading.client)),
            ),
            Self::of("the busier side's core", Unit::Share, readings, |reading| {
                Some(reading.server.max(reading.client) / reading.wall)
            }),
        ]
    }
}

impl Series {
    /// One row a point, one column a line, the panels' values side by side.
    pub fn facts(&self) -> Facts {
        let quantities: Vec<_> = self.panels.iter().map(|panel| panel.label).collect();
        let mut columns = vec![self.along.to_owned()];
        columns.extend(self.lines.iter().map(|line| line.name.clone()));
        let rows = self.points.iter().enumerate().map(|(at, point)| {
            let mut row = vec![point.clone()];
            row.extend((0..self.lines.len()).map(|line| self.cell(line, at)));
            row
        });
        Facts {
            id: self.id,
            title: format!("{}: {}", self.title, quantities.join(" · ")),
            columns,
            rows: rows.collect(),
        }
    }

    fn cell(&self, line: usize, at: usize) -> String {
        let mut cell = String::new();
        for panel in &self.panels {
            if let Some(value) = panel.values[line][at] {
                let between = if cell.is_empty() { "" } else { " · " };
                let _ = write!(cell, "{between}{}", panel.unit.show(value));
            }
        }
        cell
    }

    pub fn svg(&self) -> String {
        chart::svg(self)
    }
}
