//! Rules about one key that do not depend on `on_crash`.

use std::collections::BTreeMap;

use super::{
    Case, Rule, Verdict,
    case::{Answered, Called, Grant, Start},
};
use crate::history::{Answer, Micros, Run, Settled, Target};

/// Each token has one owner, and tokens grow with the attempts.
pub(super) fn tokens(case: &Case, verdict: &mut Verdict) {
    let mut owners = BTreeMap::new();
    let mut by_attempt = BTreeMap::new();
    let mut wrong = |why: String| verdict.violated(Rule::Tokens, Some(case.key), why);
    for start in &case.starts {
        if let Some(other) = owners.insert(start.token, start.call)
            && other != start.call
        {
            wrong(format!(
                "calls {other} and {} have one token, {}",
                start.call, start.token
            ));
        }
    }
    let mut holders = BTreeMap::new();
    for grant in &case.grants {
        if let Some(other) = holders.insert(grant.token, grant.process)
            && other != grant.process
        {
            wrong(format!(
                "processes {other} and {} were granted token {}",
                grant.process, grant.token
            ));
        }
    }
    // Attempts are counted within a record's life, and a brief key has many records.
    if case.function.ttl().is_some() {
        return;
    }
    let granted = case.grants.iter().map(|grant| (grant.attempt, grant.token));
    let started = case.starts.iter().map(|start| (start.attempt, start.token));
    for (attempt, token) in granted.chain(started) {
        if let Some(other) = by_attempt.insert(attempt, token)
            && other != token
        {
            wrong(format!(
                "attempt {attempt} was granted twice, with tokens {other} and {token}"
            ));
        }
    }
    let attempts: Vec<_> = by_attempt.into_iter().collect();
    for pair in attempts.windows(2) {
        let [(earlier, small), (later, large)] = [pair[0], pair[1]];
        if large <= small {
            wrong(format!(
                "attempt {later} has token {large}, attempt {earlier} has {small}"
            ));
        }
    }
}

/// A run with a larger token that began while the result of `token` was kept.
fn successor_of(case: &Case, token: u64) -> Option<&Start> {
    let call = case.starts.iter().find(|start| start.token == token);
    case.starts.iter().find(|start| {
        let ended = |run: &Start| case.has_ended(run.call, case.granted_at(**start));
        start.token > token && !call.is_some_and(ended)
    })
}

/// A stale owner's messages change nothing, and its caller gets its successor's result.
pub(super) fn stale(case: &Case, verdict: &mut Verdict) {
    let mut wrong = |why: String| verdict.violated(Rule::Stale, Some(case.key), why);
    for change in case
        .changes
        .iter()
        .filter(|change| change.settled == Settled::Applied)
    {
        let successor = case
            .grants
            .iter()
            .find(|grant| grant.token > change.token && grant.at < change.sent);
        if let Some(successor) = successor {
            let what = if change.target.is_some() {
                "finish"
            } else {
                "renew"
            };
            wrong(format!(
                "a {what} with token {} was accepted after {}",
                change.token, successor.token
            ));
        }
        let done = change.target == Some(Target::Done);
        if done && let Some(later) = successor_of(case, change.token) {
            wrong(format!(
                "token {} is done, and yet {} ran",
                change.token, later.token
            ));
        }
    }
    for (id, call, answered) in case.answers() {
        if let Some((_, run)) = case.recorded(answered)
            && let Some(later) = successor_of(case, run.token)
        {
            wrong(format!(
                "call {id} gets the result of token {}, and {} ran",
                run.token, later.token
            ));
        }
        if call.stale && matches!(answered.answer, Answer::Ok(run) if run.call == id) {
            wrong(format!(
                "call {id} was stale, and its caller got its own result"
            ));
        }
    }
}

/// Recorded replies agree, for as long as the result is kept.
pub(super) fn agreement(case: &Case, verdict: &mut Verdict) {
    let mut wrong = |why: String| verdict.violated(Rule::Agreement, Some(case.key), why);
    let mut replies = BTreeMap::new();
    for (id, _, answered) in case.answers() {
        if let Some((failed, run)) = case.recorded(answered) {
            replies.entry((run.token, run.call, failed)).or_insert(id);
        }
    }
    let all: Vec<_> = replies.keys().copied().collect();
    for pair in all.windows(2) {
        let ((small, call, _), (large, _, _)) = (pair[0], pair[1]);
        let next = case.starts.iter().find(|start| start.token == large);
        let ended = next.is_some_and(|next| case.has_ended(call, case.granted_at(*next)));
        if small == large || !ended {
            wrong(format!(
                "recorded replies differ (token, call, an Err?; and who got it): {replies:?}"
            ));
        }
    }
    for (since, result) in case.acknowledged() {
        let until = case.kept_until(result.1.call).unwrap_or(Micros::MAX);
        let meanwhile = |call: &Called, answered: &Answered| call.at > since && answered.at < until;
        for (id, _, answered) in case
            .answers()
            .filter(|(_, call, answered)| meanwhile(call, answered))
        {
            let passing = matches!(&answered.answer, Answer::Refused(name) if name == "Unavailable" || name == "InFlight");
            if !passing && case.recorded(answered) != Some(result) {
                wrong(format!(
                    "call {id} came after {result:?} was answered, and gets {:?}",
                    answered.answer
                ));
            }
        }
        let granted = |grant: &&Grant| grant.sent > since && grant.at < until;
        if let Some(grant) = case.grants.iter().find(granted) {
            wrong(format!(
                "token {} was granted after {result:?} was answered",
                grant.token
            ));
        }
    }
}

/// A result comes from a run of this key.
pub(super) fn origin(case: &Case, verdict: &mut Verdict) {
    for (id, _, answered) in case.answers() {
        let (Answer::Ok(run) | Answer::Declined(run)) = answered.answer else {
            continue;
        };
        let Run { call, token } = run;
        if !case
            .starts
            .iter()
            .any(|start| start.call == call && start.token == token)
        {
            let why =
                format!("call {id} gets the result of {run:?}, which did not run with this key");
            verdict.violated(Rule::Origin, Some(case.key), why);
        }
    }
}

/// A downstream service that refuses smaller tokens has the effect of the recorded result.
pub(super) fn fence(case: &Case, verdict: &mut Verdict) {
    let mut wrong = |why: String| verdict.violated(Rule::Fence, Some(case.key), why);
    let mut largest = 0;
    for effect in &case.effects {
        if !effect.fenced && effect.token < largest {
            wrong(format!(
                "token {} was let through after {largest}",
                effect.token
            ));
        }
        largest = largest.max(effect.token);
    }
    for (id, _, answered) in case.answers() {
        let Some((_, run)) = case.recorded(answered) else {
            continue;
        };
        let effect = case
            .effects
            .iter()
            .find(|effect| effect.call == run.call && effect.token == run.token);
        match effect {
            None => wrong(format!("call {id} gets {run:?}, which had no effect")),
            Some(effect) if effect.fenced => {
                wrong(format!(
                    "call {id} gets {run:?}, whose effect was refused by a service that fences"
                ));
            }
            Some(_) => {}
        }
    }
}
