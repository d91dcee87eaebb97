//! All events of one key.

use std::collections::BTreeMap;

use crate::history::{Answer, End, Event, Function, Met, Micros, Run, Settled, Target};

/// The store, the machine and the record count in whole milliseconds.
pub(crate) const ROUNDING: Micros = 2_000;

/// A call with the key.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) at: Micros,
    pub(crate) process: u32,
    /// Whether its caller did not poll it all the time.
    pub(crate) held: bool,
    pub(crate) answer: Option<Answered>,
    pub(crate) left: bool,
    /// Whether the library reported that this call's attempt was stale.
    pub(crate) stale: bool,
}

/// A call's answer.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) at: Micros,
    pub(crate) answer: Answer,
    pub(crate) unrecorded: bool,
    /// Whether it is what the call's own body returned.
    pub(crate) own: bool,
}

/// The start of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) at: Micros,
    pub(crate) process: u32,
    pub(crate) call: u64,
    pub(crate) token: u64,
    pub(crate) attempt: u32,
}

/// A granted claim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    /// When the claim was answered, and when it was sent.
    pub(crate) at: Micros,
    pub(crate) sent: Micros,
    pub(crate) process: u32,
    pub(crate) token: u64,
    pub(crate) attempt: u32,
    pub(crate) lease: Micros,
}

/// A renew, or a finish with its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) at: Micros,
    pub(crate) sent: Micros,
    pub(crate) token: u64,
    pub(crate) target: Option<Target>,
    pub(crate) settled: Settled,
}

/// Another attempt's record that a claim found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) at: Micros,
    pub(crate) sent: Micros,
    pub(crate) token: u64,
    pub(crate) state: Met,
}

/// An effect, as the ledger noted it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effect {
    pub(crate) call: u64,
    pub(crate) token: u64,
    pub(crate) fenced: bool,
}

/// All events of one key.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) key: u32,
    pub(crate) function: Function,
    pub(crate) calls: BTreeMap<u64, Called>,
    pub(crate) starts: Vec<Start>,
    pub(crate) ends: BTreeMap<u64, (Micros, End)>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) changes: Vec<Change>,
    pub(crate) sights: Vec<Sight>,
    /// In the ledger's order.
    pub(crate) effects: Vec<Effect>,
}

/// A recorded result: whether it is an `Err`, and the run that made it.
pub(crate) type Recorded = (bool, Run);

impl Case {
    pub(crate) fn new(key: u32, function: Function) -> Self {
        Self {
            key,
            function,
            calls: BTreeMap::new(),
            starts: Vec::new(),
            ends: BTreeMap::new(),
            grants: Vec::new(),
            changes: Vec::new(),
            sights: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Adds an event of this key.
    pub(crate) fn add(&mut self, at: Micros, process: u32, event: &Event) {
        match *event {
            Event::Granted {
                token,
                attempt,
                lease_ms,
                sent,
                ..
            } => self.grants.push(Grant {
                at,
                sent,
                process,
                token,
                attempt,
                lease: lease_ms * 1000,
            }),
            Event::Met {
                token, state, sent, ..
            } => self.sights.push(Sight {
                at,
                sent,
                token,
                state,
            }),
            Event::Renewed {
                token,
                settled,
                sent,
                ..
            } => self.changes.push(Change {
                at,
                sent,
                token,
                target: None,
                settled,
            }),
            Event::Finished {
                token,
                target,
                settled,
                sent,
                ..
            } => self.changes.push(Change {
                at,
                sent,
                token,
                target: Some(target),
                settled,
            }),
            Event::Started {
                call,
                token,
                attempt,
                ..
            } => self.starts.push(Start {
                at,
                process,
                call,
                token,
                attempt,
            }),
            Event::Effect {
                call,
                token,
                fenced,
                ..
            } => self.effects.push(Effect {
                call,
                token,
                fenced,
            }),
            _ => {}
        }
    }

    /// The result that an answer replays or has recorded. `None` for a result that the library need
    /// not remember.
    pub(crate) fn recorded(&self, answered: &Answered) -> Option<Recorded> {
        // Under `fail` there is at most one run: only its result can be the answer, acknowledged or
        // not.
        if answered.unrecorded && !self.function.at_most_once() {
            return None;
        }
        // Its own caller gets it even if it was too large to record.
        if self.function.bulky() && answered.own {
            return None;
        }
        match answered.answer {
            Answer::Ok(run) => Some((false, run)),
            Answer::Declined(run) if self.function == Function::Record => Some((true, run)),
            Answer::Declined(_) | Answer::Refused(_) => None,
        }
    }

    /// All answers, with their calls.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (u64, &Called, &Answered)> {
        self.calls
            .iter()
            .filter_map(|(id, call)| Some((*id, call, call.answer.as_ref()?)))
    }

    /// The acknowledged results, and when each was answered for the first time.
    pub(crate) fn acknowledged(&self) -> Vec<(Micros, Recorded)> {
        let mut first = BTreeMap::new();
        for (_, _, answered) in self
            .answers()
            .filter(|(_, _, answered)| !answered.unrecorded)
        {
            if let Some((failed, run)) = self.recorded(answered) {
                let key = (run.token, run.call, failed);
                let at: &mut Micros = first.entry(key).or_insert(answered.at);
                *at = answered.at.min(*at);
            }
        }
        let results = first.into_iter();
        results
            .map(|((token, call, failed), at)| (at, (failed, Run { call, token })))
            .collect()
    }

    /// Until when this run's result is kept at least, counted from the body's end, because it
    /// cannot be recorded before. `None`: longer than this history, or there is no result.
    pub(crate) fn kept_until(&self, call: u64) -> Option<Micros> {
        let ttl = self.function.ttl()?;
        let (ended, end) = self.ends.get(&call)?;
        (*end == End::Ok).then(|| ended + ttl - ROUNDING)
    }

    /// Whether this run's result may have ended by then.
    pub(crate) fn has_ended(&self, call: u64, by: Micros) -> bool {
        self.kept_until(call).is_some_and(|until| until <= by)
    }

    /// When a run was allowed to begin: when its claim was granted.
    pub(crate) fn granted_at(&self, run: Start) -> Micros {
        self.grant(run.token)
            .map_or(run.at, |grant| grant.at.min(run.at))
    }

    /// When a finish with this token was first known to be recorded as done.
    pub(crate) fn done_at(&self, token: u64) -> Option<Micros> {
        let done = self.changes.iter().filter(|change| {
            change.token == token
                && change.target == Some(Target::Done)
                && change.settled == Settled::Applied
        });
        done.map(|change| change.at).min()
    }

    /// The bodies that ran, by token.
    pub(crate) fn runs(&self) -> Vec<Start> {
        let mut runs = self.starts.clone();
        runs.sort_by_key(|start| start.token);
        runs
    }

    pub(crate) fn grant(&self, token: u64) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.token == token)
    }
}
