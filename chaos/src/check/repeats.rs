//! Bodies that run again.

use super::{
    Case, Rule, Verdict, World,
    case::{Grant, Start},
    world::Window,
};
use crate::history::{End, Function, Kind, Micros, Settled};

/// Redis counts leases in whole milliseconds, and so does the record.
const ROUNDING: Micros = 2_000;

/// `fail`: one body, one effect.
pub(super) fn at_most_once(case: &Case, verdict: &mut Verdict) {
    for (what, times) in [
        ("bodies", case.starts.len()),
        ("effects", case.effects.len()),
    ] {
        if times > 1 {
            verdict.violated(
                Rule::AtMostOnce,
                Some(case.key),
                format!("{times} {what} under `fail`"),
            );
        }
    }
}

/// `rerun`: again only after an end that allows it, or after the owner was silent for its lease.
pub(super) fn explained(case: &Case, world: &World, verdict: &mut Verdict) {
    for pair in case.runs().windows(2) {
        let (earlier, later) = (pair[0], pair[1]);
        let reason = match released(case, earlier, later) {
            Some(reason) => Ok(reason.to_owned()),
            None => overtaken(case, world, earlier, later),
        };
        match reason {
            Ok(reason) => *verdict.repeats.entry(reason).or_default() += 1,
            Err(why) => verdict.violated(Rule::Repeat, Some(case.key), why),
        }
    }
}

/// Bodies that began when their lease was over.
pub(super) fn late_starts(case: &Case) -> u64 {
    let late = case.starts.iter().filter(|start| {
        let granted = case.grant(start.token);
        granted.is_some_and(|granted| start.at > last_sign(case, granted, start.at) + granted.lease)
    });
    late.count() as u64
}

/// When the owner is last known to have been seen alive, until `until`.
fn last_sign(case: &Case, granted: &Grant, until: Micros) -> Micros {
    let renewed = case.changes.iter().filter(|change| {
        change.token == granted.token
            && change.target.is_none()
            && change.settled != Settled::Stale
            && change.sent <= until
    });
    renewed
        .map(|change| change.sent)
        .fold(granted.sent, Micros::max)
}

/// The earlier run's end says that the body may run again.
fn released(case: &Case, earlier: Start, later: Start) -> Option<&'static str> {
    let (at, end) = case.ends.get(&earlier.call)?;
    if *at > later.at {
        return None;
    }
    match end {
        End::Err if case.function != Function::Record => Some("an Err that is retried"),
        End::Panicked => Some("a panic"),
        End::Stopped if case.function == Function::RerunAttached => Some("a body dropped midway"),
        End::Ok | End::Err | End::Stopped => None,
    }
}

/// The earlier run was taken over: its owner must have been silent for the lease it had.
fn overtaken(case: &Case, world: &World, earlier: Start, later: Start) -> Result<String, String> {
    let Some(granted) = case.grant(earlier.token) else {
        // It died between its claim and its line about it.
        return Ok(cause(world, earlier, earlier.at, later.at));
    };
    let alive = last_sign(case, granted, later.at);
    // The first that was granted the key afterwards; it need not have come to run.
    let successor = case
        .grants
        .iter()
        .filter(|grant| grant.token > earlier.token)
        .min_by_key(|grant| grant.token);
    let taken = successor.map_or(later.at, |grant| grant.at);
    let silence = taken.saturating_sub(alive);
    if silence + ROUNDING < granted.lease {
        return Err(format!(
            "token {} ran again as {} after {} ms, with a lease of {} ms, and had not ended",
            earlier.token,
            later.token,
            silence / 1000,
            granted.lease / 1000
        ));
    }
    Ok(cause(world, earlier, alive, taken))
}

/// Which fault silenced the owner between `from` and `until`.
fn cause(world: &World, run: Start, from: Micros, until: Micros) -> String {
    if world
        .killed
        .get(&run.process)
        .is_some_and(|at| *at <= until)
    {
        return "silent for its lease: killed".to_owned();
    }
    let meanwhile = |fault: &&Window| fault.from <= until && fault.until >= from;
    let own = |fault: &&Window| fault.process == Some(run.process) && fault.kind != Kind::Kill;
    // Its own misfortune rather than everybody's; and nothing falls silent for want of a script.
    let everybodys = |fault: &&Window| fault.process.is_none() && fault.kind != Kind::ScriptFlush;
    let during = || world.faults.iter().filter(meanwhile);
    let fault = during().find(own).or_else(|| during().find(everybodys));
    fault.map_or_else(
        || "silent for its lease: its own blocked thread".to_owned(),
        |fault| format!("silent for its lease: {:?}", fault.kind),
    )
}
