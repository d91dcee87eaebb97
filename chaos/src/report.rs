//! The report of a run.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
};

use crate::{
    check::{Verdict, Violation},
    functions::LEASE,
    history::{Answer, End, Entry, Event, Kind, Micros, Settled, micros},
};

/// The number of lines of history shown for a violation.
const LINES: usize = 60;

/// The numbers of a run.
#[derive(Debug, Default)]
pub struct Summary {
    /// Calls made.
    pub operations: u64,
    /// Keys that were called.
    pub keys: u64,
    /// Bodies that began.
    pub bodies: u64,
    /// Faults by kind: how many were injected, and how many were observed.
    pub faults: BTreeMap<Kind, (u64, u64)>,
    /// Answers by their text.
    pub answers: BTreeMap<String, u64>,
    /// Takeovers from a silent owner.
    pub takeovers: u64,
    /// Finishes refused because another attempt owns the record.
    pub stale_finishes: u64,
    /// Renews refused for the same reason.
    pub stale_renews: u64,
    /// Effects that a service with fencing would have refused.
    pub fenced: u64,
    /// How often nothing failed, and for how long in all.
    pub calms: (u64, Micros),
    /// How often the machine gave a process no time.
    pub starved: u64,
}

impl Summary {
    /// Counts the entries of a history.
    #[must_use]
    pub fn of(history: &[Entry]) -> Self {
        let mut summary = Self::default();
        let mut keys = std::collections::HashSet::new();
        let mut starts = BTreeMap::new();
        let mut panicked = std::collections::HashSet::new();
        let mut bulky = HashMap::new();
        let mut results: BTreeMap<u32, bool> = BTreeMap::new();
        for entry in history {
            match &entry.event {
                Event::Called {
                    call,
                    key,
                    function,
                    ..
                } => {
                    summary.operations += 1;
                    keys.insert(*key);
                    if function.bulky() {
                        bulky.insert(*call, *key);
                    }
                }
                Event::Started { call, .. } => {
                    summary.bodies += 1;
                    starts.insert(*call, entry.at);
                }
                Event::Granted { takeover, .. } => summary.takeovers += u64::from(*takeover),
                Event::Finished {
                    settled: Settled::Stale,
                    ..
                } => summary.stale_finishes += 1,
                Event::Renewed {
                    settled: Settled::Stale,
                    ..
                } => summary.stale_renews += 1,
                Event::Effect { fenced, .. } => summary.fenced += u64::from(*fenced),
                Event::Answered {
                    answer,
                    unrecorded,
                    call,
                } => {
                    summary.answered(answer, *unrecorded);
                    let large = matches!(answer, Answer::Refused(name) if name == "NotRecorded");
                    if let Some(key) = bulky.get(call) {
                        *results.entry(*key).or_default() |= large;
                    }
                }
                // A panic ends its caller's task too: together they are one fault.
                Event::Left { call } if !panicked.contains(call) => {
                    summary.fault(Kind::Cancel, true);
                }
                Event::Ended {
                    call,
                    how: End::Panicked,
                } => {
                    panicked.insert(*call);
                    summary.fault(Kind::Panic, true);
                }
                Event::Ended { call, .. } => {
                    let began = starts.get(call).copied().unwrap_or(entry.at);
                    if entry.at.saturating_sub(began) > micros(LEASE) {
                        summary.fault(Kind::SlowBody, true);
                    }
                }
                Event::Fault {
                    kind: Kind::Starved,
                    ..
                } => summary.starved += 1,
                Event::Fault { kind, observed, .. } => summary.fault(*kind, *observed),
                Event::Calm { until } => {
                    summary.calms.0 += 1;
                    summary.calms.1 += until - entry.at;
                }
                _ => {}
            }
        }
        for large in results.into_values() {
            summary.fault(Kind::Oversize, large);
        }
        summary.keys = keys.len() as u64;
        summary
    }

    fn fault(&mut self, kind: Kind, observed: bool) {
        let (injected, seen) = self.faults.entry(kind).or_default();
        *injected += 1;
        *seen += u64::from(observed);
    }

    fn answered(&mut self, answer: &Answer, unrecorded: bool) {
        let name = match answer {
            Answer::Ok(_) if unrecorded => "Ok, unrecorded",
            Answer::Ok(_) => "Ok",
            Answer::Declined(_) => "the body's Err",
            Answer::Refused(name) => name,
        };
        *self.answers.entry(name.to_owned()).or_default() += 1;
    }

    /// The sums of injected and observed faults: of bodies and callers, or else of processes, links
    /// and servers.
    #[must_use]
    pub fn total_faults(&self, of_bodies: bool) -> (u64, u64) {
        // The kinds are listed in this order.
        let theirs = |kind: &Kind| *kind >= Kind::Wave;
        let faults = self
            .faults
            .iter()
            .filter(|(kind, _)| theirs(kind) == of_bodies);
        faults.fold((0, 0), |sum, (_, one)| (sum.0 + one.0, sum.1 + one.1))
    }
}

/// The report of a run.
#[must_use]
pub fn report(summary: &Summary, verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{}", format!("{name:<48}{value:>12}").trim_end());
    };
    line("operations", summary.operations.to_string());
    line("  keys", summary.keys.to_string());
    line("  bodies begun", summary.bodies.to_string());
    for (name, count) in &summary.answers {
        line(&format!("  answered {name}"), count.to_string());
    }
    for (name, of_bodies) in [
        ("processes, links, servers", false),
        ("bodies and callers", true),
    ] {
        let (injected, observed) = summary.total_faults(of_bodies);
        line(
            &format!("faults of {name}"),
            format!("{injected} / {observed}"),
        );
    }
    line("  of which, injected / observed:", String::new());
    for (kind, (injected, observed)) in &summary.faults {
        line(&format!("  {kind:?}"), format!("{injected} / {observed}"));
    }
    let (times, long) = summary.calms;
    line(
        "times in which nothing failed, and how long",
        format!("{times}, {} s", long / 1_000_000),
    );
    line(
        "times a process had to wait for the machine",
        summary.starved.to_string(),
    );
    line("takeovers", summary.takeovers.to_string());
    line(
        "stale completes refused",
        summary.stale_finishes.to_string(),
    );
    line("stale renews refused", summary.stale_renews.to_string());
    line(
        "late effects a fencing service refuses",
        summary.fenced.to_string(),
    );
    line(
        "bodies run again (under `rerun` only)",
        verdict.repeats.values().sum::<u64>().to_string(),
    );
    for (reason, count) in &verdict.repeats {
        line(&format!("  after {reason}"), count.to_string());
    }
    line(
        "bodies that began after their lease",
        verdict.late_starts.to_string(),
    );
    line("violations", verdict.violations.len().to_string());
    text
}

/// The part of the history around a violation: the events of its key, and the faults at that time.
#[must_use]
pub fn around(history: &[Entry], violation: &Violation) -> String {
    let mut calls = std::collections::HashSet::new();
    for entry in history {
        if let Event::Called { call, key, .. } = entry.event
            && Some(key) == violation.key
        {
            calls.insert(call);
        }
    }
    let mut lines: Vec<&Entry> = history
        .iter()
        .filter(|entry| concerns(&entry.event, violation.key, &calls))
        .collect();
    lines.sort_by_key(|entry| entry.at);
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        return String::new();
    };
    let (from, until) = (first.at, last.at);
    let faults = history.iter().filter(|entry| {
        matches!(entry.event, Event::Fault { until: end, call, .. }
            if entry.at <= until && end >= from && call.is_none_or(|call| calls.contains(&call)))
    });
    lines.extend(faults);
    lines.sort_by_key(|entry| entry.at);
    let mut text = String::new();
    for entry in lines.iter().take(LINES) {
        let millis = entry.at.abs_diff(from) / 1000;
        let sign = if entry.at < from { "-" } else { "" };
        let _ = writeln!(
            text,
            "{sign}{millis:>8} ms  process {:<3} {:?}",
            entry.process, entry.event
        );
    }
    if lines.len() > LINES {
        let _ = writeln!(text, "… and {} more", lines.len() - LINES);
    }
    text
}

fn concerns(event: &Event, of: Option<u32>, calls: &std::collections::HashSet<u64>) -> bool {
    match event {
        Event::Called { key, .. }
        | Event::Granted { key, .. }
        | Event::Met { key, .. }
        | Event::Renewed { key, .. }
        | Event::Finished { key, .. }
        | Event::Started { key, .. }
        | Event::Effect { key, .. } => Some(*key) == of,
        Event::Ended { call, .. } | Event::Answered { call, .. } | Event::Left { call } => {
            calls.contains(call)
        }
        Event::Noted { call, .. } => call.is_some_and(|call| calls.contains(&call)),
        Event::Begun { call, .. } => call.is_some_and(|call| calls.contains(&call)),
        Event::Killed { .. } | Event::Fault { .. } | Event::Calm { .. } | Event::Healed => false,
    }
}
