//! Rules about records that end, and about results that are too large to record.

use super::{Case, Rule, Verdict, case::ROUNDING};
use crate::history::{Answer, Met, Micros};

/// For coarse clocks, and the time from the store's answer to its line in the history.
const SLACK: Micros = 100_000 + ROUNDING;

/// What the store shows of a key never goes back: tokens do not shrink, and a done key does not run
/// again.
pub(super) fn ended(case: &Case, verdict: &mut Verdict) {
    let mut wrong = |why: String| verdict.violated(Rule::Ended, Some(case.key), why);
    if let Some((token, larger)) = shrunk(case) {
        wrong(format!("the store shows token {token} after {larger}"));
    }
    for sight in &case.sights {
        let Some(done) = case.done_at(sight.token) else {
            continue;
        };
        if sight.sent > done && sight.state != Met::Done {
            wrong(format!(
                "token {} is done, and the store shows it {:?}",
                sight.token, sight.state
            ));
        }
    }
    let Some(ttl) = case.function.ttl() else {
        return;
    };
    let over = |token, at| {
        case.done_at(token)
            .is_some_and(|done| at > done + ttl + SLACK)
    };
    let shown = case
        .sights
        .iter()
        .find(|sight| over(sight.token, sight.sent));
    if let Some(sight) = shown {
        wrong(format!(
            "the result of token {} has ended, and the store still shows it {} ms after",
            sight.token,
            (sight.sent - case.done_at(sight.token).unwrap_or_default()) / 1000
        ));
    }
    for (id, call, answered) in case.answers() {
        if let Some((_, run)) = case.recorded(answered)
            && run.call != id
            && over(run.token, call.at)
        {
            wrong(format!(
                "the result of token {} has ended, and call {id}, which came {} ms after, gets it",
                run.token,
                (call.at - case.done_at(run.token).unwrap_or_default()) / 1000
            ));
        }
    }
}

/// A token that was observed after a larger one.
fn shrunk(case: &Case) -> Option<(u64, u64)> {
    let granted = case.grants.iter();
    let granted = granted.map(|grant| (grant.sent, grant.at, grant.token));
    let met = case.sights.iter();
    let met = met.map(|sight| (sight.sent, sight.at, sight.token));
    let mut asked: Vec<_> = granted.chain(met).collect();
    let mut answered: Vec<_> = asked.iter().map(|(_, at, token)| (*at, *token)).collect();
    asked.sort_unstable();
    answered.sort_unstable();
    let (mut next, mut largest) = (0, 0);
    for (sent, _, token) in asked {
        while let Some((at, known)) = answered.get(next)
            && *at < sent
        {
            largest = largest.max(*known);
            next += 1;
        }
        if token < largest {
            return Some((token, largest));
        }
    }
    None
}

/// A result that is too large to record is answered `NotRecorded` from then on, and no other is.
pub(super) fn refused(case: &Case, verdict: &mut Verdict) {
    let mut wrong = |why: String| verdict.violated(Rule::Refused, Some(case.key), why);
    let without =
        |answer: &Answer| matches!(answer, Answer::Refused(name) if name == "NotRecorded");
    let first = case
        .answers()
        .filter(|(_, _, answered)| without(&answered.answer))
        .min_by_key(|(_, _, answered)| answered.at);
    let Some((id, _, answered)) = first else {
        return;
    };
    if !case.function.bulky() {
        wrong(format!(
            "call {id} gets NotRecorded, and its result was small"
        ));
    }
    let since = answered.at;
    for (id, call, answered) in case.answers() {
        let other = match &answered.answer {
            Answer::Refused(name) => !matches!(&**name, "NotRecorded" | "Unavailable" | "InFlight"),
            // Its own body may have ended just then.
            Answer::Ok(_) | Answer::Declined(_) => !answered.own,
        };
        if call.at > since && other {
            wrong(format!(
                "call {id} came after NotRecorded was answered, and gets {:?}",
                answered.answer
            ));
        }
    }
    if let Some(grant) = case.grants.iter().find(|grant| grant.sent > since) {
        wrong(format!(
            "token {} was granted after NotRecorded was answered",
            grant.token
        ));
    }
}
