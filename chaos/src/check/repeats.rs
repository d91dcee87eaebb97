//! Rules about bodies that run again.

use std::collections::BTreeSet;

use super::{
    Case, Rule, Verdict, World,
    case::{Change, Grant, ROUNDING, Sight, Start},
    world::Window,
};
use crate::history::{Answer, End, Function, Kind, Micros, Settled};

/// Under `fail`: one body and one effect, for as long as its result is kept.
pub(super) fn at_most_once(case: &Case, verdict: &mut Verdict) {
    let mut wrong = |why: String| verdict.violated(Rule::AtMostOnce, Some(case.key), why);
    for pair in case.runs().windows(2) {
        if !case.has_ended(pair[0].call, case.granted_at(pair[1])) {
            wrong(format!(
                "token {} ran, and then {}, under `fail`",
                pair[0].token, pair[1].token
            ));
        }
    }
    let tokens: BTreeSet<_> = case.effects.iter().map(|effect| effect.token).collect();
    let runs: BTreeSet<_> = case.starts.iter().map(|start| start.token).collect();
    let (effects, tokens, runs) = (case.effects.len(), tokens.len(), runs.len().max(1));
    if effects > tokens || tokens > runs {
        wrong(format!("{effects} effects of {runs} runs under `fail`"));
    }
}

/// Under `fail`: no caller is told `Indeterminate` unless something has happened to the owner.
pub(super) fn doubted(case: &Case, world: &World, verdict: &mut Verdict) {
    let mut told = BTreeSet::new();
    for (id, call, answered) in case.answers() {
        if !matches!(&answered.answer, Answer::Refused(name) if name == "Indeterminate") {
            continue;
        }
        let runs = case.starts.iter().filter(|run| run.at <= answered.at);
        let Some(run) = runs.max_by_key(|run| run.token) else {
            // Its claim may have been granted without a line about it in the history.
            continue;
        };
        let ended = case.ends.get(&run.call).map(|(_, end)| *end);
        if !matches!(ended, None | Some(End::Ok)) {
            continue;
        }
        // The doubt is about a later claim, whose owner may have died before it wrote a line.
        let later = |sight: &Sight| sight.token > run.token && sight.at <= answered.at;
        let is_done = case.done_at(run.token).is_some_and(|at| at < call.at);
        if is_done || case.sights.iter().any(later) {
            continue;
        }
        let granted = case.grant(run.token);
        // A later sign of life, also one on its way, may revive a record that was lost at that
        // time.
        let known = |change: &Change| change.at <= call.at;
        let alive = granted.map_or(run.at, |granted| last_sign(case, granted, known));
        if cause(world, *run, alive, answered.at).is_none() && told.insert(run.token) {
            let why = format!(
                "call {id} gets Indeterminate, and nothing has befallen token {}",
                run.token
            );
            verdict.violated(Rule::Alive, Some(case.key), why);
        }
    }
}

/// Under `rerun`: again only after an end that allows it, or after the owner was silent for its
/// lease.
pub(super) fn explained(case: &Case, world: &World, verdict: &mut Verdict) {
    for pair in case.runs().windows(2) {
        let (earlier, later) = (pair[0], pair[1]);
        let reason = match released(case, earlier, later) {
            Some(reason) => Ok(reason.to_owned()),
            None => overtaken(case, world, earlier, later),
        };
        match reason {
            Ok(reason) => *verdict.repeats.entry(reason).or_default() += 1,
            Err((rule, why)) => verdict.violated(rule, Some(case.key), why),
        }
    }
}

/// Bodies that began after their lease was over.
pub(super) fn late_starts(case: &Case) -> u64 {
    let late = case.starts.iter().filter(|start| {
        let granted = case.grant(start.token);
        granted.is_some_and(|granted| {
            let sent = |change: &Change| change.sent <= start.at;
            start.at > last_sign(case, granted, sent) + granted.lease
        })
    });
    late.count() as u64
}

/// The owner's last sign of life, among the changes for which `counts` is true.
fn last_sign(case: &Case, granted: &Grant, counts: impl Fn(&Change) -> bool) -> Micros {
    let renewed = case.changes.iter().filter(|change| {
        change.token == granted.token
            && change.target.is_none()
            && change.settled != Settled::Stale
            && counts(change)
    });
    renewed
        .map(|change| change.sent)
        .fold(granted.sent, Micros::max)
}

/// Why the earlier run's end, or its result's end, allows the body to run again.
fn released(case: &Case, earlier: Start, later: Start) -> Option<&'static str> {
    if case.has_ended(earlier.call, case.granted_at(later)) {
        return Some("its result's `ttl`");
    }
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

/// The earlier run was taken over: its owner must have been silent for its lease.
fn overtaken(
    case: &Case,
    world: &World,
    earlier: Start,
    later: Start,
) -> Result<String, (Rule, String)> {
    let Some(granted) = case.grant(earlier.token) else {
        // The process died between its claim and its line about it.
        let cause = cause(world, earlier, earlier.at, later.at);
        return Ok(cause.unwrap_or_else(|| "a claim that nobody noted".to_owned()));
    };
    let alive = last_sign(case, granted, |change| change.sent <= later.at);
    // The first attempt that was granted the key afterwards. It need not have run.
    let successor = case
        .grants
        .iter()
        .filter(|grant| grant.token > earlier.token)
        .min_by_key(|grant| grant.token);
    let taken = successor.map_or(later.at, |grant| grant.at);
    let silence = taken.saturating_sub(alive);
    if silence + ROUNDING < granted.lease {
        let why = format!(
            "token {} ran again as {} after {} ms, with a lease of {} ms, and had not ended",
            earlier.token,
            later.token,
            silence / 1000,
            granted.lease / 1000
        );
        return Err((Rule::Repeat, why));
    }
    cause(world, earlier, alive, taken).ok_or_else(|| {
        let why = format!(
            "token {} ran again as {}, and nothing has befallen its owner in {} ms",
            earlier.token,
            later.token,
            silence / 1000
        );
        (Rule::Alive, why)
    })
}

/// The fault that silenced the owner between `from` and `until`.
fn cause(world: &World, run: Start, from: Micros, until: Micros) -> Option<String> {
    if world
        .killed
        .get(&run.process)
        .is_some_and(|at| *at <= until)
    {
        return Some("silent for its lease: killed".to_owned());
    }
    let during = || {
        world
            .faults
            .iter()
            .filter(|fault| fault.from <= until && fault.until >= from && silences(fault.kind))
    };
    let own = |fault: &&Window| {
        fault.process == Some(run.process) && fault.call.is_none_or(|call| call == run.call)
    };
    let everybodys = |fault: &&Window| fault.process.is_none();
    // A fault of its own counts before one of all processes, and an injected one before a starved
    // machine.
    let mut faults: Vec<_> = during()
        .filter(own)
        .chain(during().filter(everybodys))
        .collect();
    faults.sort_by_key(|fault| fault.kind == Kind::Starved);
    let fault = faults.first()?;
    Some(format!("silent for its lease: {:?}", fault.kind))
}

/// Whether a fault can explain that an owner is silent. Work that yields cannot, and neither can
/// lost scripts.
fn silences(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Kill
            | Kind::ScriptFlush
            | Kind::Checkpoint
            | Kind::Wave
            | Kind::SlowBody
            | Kind::Busy
            | Kind::Sibling
            | Kind::Oversize
    )
}
