//! Rules about calls without a fault: they are answered.

use super::{
    Case, Rule, Verdict, World,
    case::{Answered, Called},
    world::Window,
};
use crate::history::{Answer, Kind, Micros};

/// How long the effects of a storm may last: connections are made again, and leases of dead owners
/// lapse.
const RECOVERY: Micros = 1_500_000;
/// A call that is made after all faults are over must be answered within this time.
const BOUND: Micros = 30_000_000;

/// While no process, link or server fails, the store serves and recorded results are replayed,
/// whatever other callers do with their calls.
pub(super) fn calm(case: &Case, world: &World, verdict: &mut Verdict) {
    for (id, call, answered) in case.answers() {
        let Answer::Refused(name) = &answered.answer else {
            continue;
        };
        if call.held || !is_calm(world, call, answered) {
            continue;
        }
        let wrong = match &**name {
            "Unavailable" => Some("the store was there".to_owned()),
            "InFlight" => case.changes.iter().find_map(|change| {
                let done = case.done_at(change.token)?;
                let run = case.starts.iter().find(|run| run.token == change.token)?;
                let kept = done < call.at && !case.has_ended(run.call, answered.at);
                kept.then(|| format!("the result of token {} was recorded", change.token))
            }),
            _ => None,
        };
        if let Some(why) = wrong {
            let why = format!("it was calm, {why}, and call {id} gets {name}");
            verdict.violated(Rule::Progress, Some(case.key), why);
        }
    }
}

/// Whether nothing failed from some time before the call until its answer.
fn is_calm(world: &World, call: &Called, answered: &Answered) -> bool {
    let within =
        |(from, until): &(Micros, Micros)| from + RECOVERY <= call.at && answered.at <= *until;
    let starved = |fault: &&Window| {
        fault.kind == Kind::Starved
            && fault.process.is_none_or(|process| process == call.process)
            && fault.from <= answered.at
            && fault.until >= call.at
    };
    world.calms.iter().any(within) && !world.faults.iter().any(|fault| starved(&fault))
}

/// After all faults are over, every call is answered soon, with an answer that settles it.
pub(super) fn healed(case: &Case, world: &World, verdict: &mut Verdict) {
    let healed = world.healed.unwrap_or(Micros::MAX);
    let mut wrong = |why: String| verdict.violated(Rule::Answered, Some(case.key), why);
    for (id, call, answered) in case.answers() {
        if call.at < healed {
            continue;
        }
        let settled = match &answered.answer {
            Answer::Ok(_) | Answer::Declined(_) => true,
            Answer::Refused(name) => match &**name {
                "Indeterminate" => case.function.at_most_once(),
                "NotRecorded" => case.function.bulky(),
                _ => false,
            },
        };
        let took = answered.at.saturating_sub(call.at);
        if !settled {
            wrong(format!(
                "all is well again, and call {id} gets {:?}",
                answered.answer
            ));
        } else if took > BOUND {
            wrong(format!(
                "all is well again, and call {id} is answered after {} ms",
                took / 1000
            ));
        }
    }
}
