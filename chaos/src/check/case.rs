//! What happened with one key.

use std::collections::BTreeMap;

use crate::history::{Answer, End, Event, Function, Met, Micros, Run, Settled, Target};

/// The store and the machine count in whole milliseconds, and so does the record.
pub(crate) const ROUNDING: Micros = 2_000;

/// A call with the key.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) at: Micros,
    pub(crate) process: u32,
    /// Its caller did not poll it all the time.
    pub(crate) held: bool,
    pub(crate) answer: Option<Answered>,
    pub(crate) left: bool,
    /// The library said to the operator that this call's attempt was stale.
    pub(crate) stale: bool,
}

/// What a call was told.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) at: Micros,
    pub(crate) answer: Answer,
    pub(crate) unrecorded: bool,
    /// It is what the call's own body returned.
    pub(crate) own: bool,
}

/// A body's beginning.
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
    /// When the answer was there, and when it was asked for.
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

/// Another attempt's record, which a claim met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) at: Micros,
    pub(crate) sent: Micros,
    pub(crate) token: u64,
    pub(crate) state: Met,
}

/// An effect, as the ledger has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effect {
    pub(crate) call: u64,
    pub(crate) token: u64,
    pub(crate) fenced: bool,
}

/// Everything about one key.
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

/// A recorded result: whether it is an `Err`, and which run made it.
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

    /// Takes in what a process or the ledger says about the key.
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

    /// The result that an answer replays or has recorded; `None` for what the library need not
    /// remember.
    pub(crate) fn recorded(&self, answered: &Answered) -> Option<Recorded> {
        // Under `fail` there is one run at most: it alone can be the answer, acknowledged or not.
        if answered.unrecorded && !self.function.at_most_once() {
            return None;
        }
        // Its own caller gets it, whether or not there was room for it.
        if self.function.bulky() && answered.own {
            return None;
        }
        match answered.answer {
            Answer::Ok(run) => Some((false, run)),
            Answer::Declined(run) if self.function == Function::Record => Some((true, run)),
            Answer::Declined(_) | Answer::Refused(_) => None,
        }
    }

    /// All answers, with the calls they were given to.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (u64, &Called, &Answered)> {
        self.calls
            .iter()
            .filter_map(|(id, call)| Some((*id, call, call.answer.as_ref()?)))
    }

    /// The acknowledged results, and when each was first answered.
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

    /// Until when the result of this run is kept at least: counted from the body's end, before
    /// which nobody can have recorded it. `None`: for longer than this history, or there is none.
    pub(crate) fn kept_until(&self, call: u64) -> Option<Micros> {
        let ttl = self.function.ttl()?;
        let (ended, end) = self.ends.get(&call)?;
        (*end == End::Ok).then(|| ended + ttl - ROUNDING)
    }

    /// Whether the result of this run may have ended by then.
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

    /// The bodies that ran, by their tokens.
    pub(crate) fn runs(&self) -> Vec<Start> {
        let mut runs = self.starts.clone();
        runs.sort_by_key(|start| start.token);
        runs
    }

    pub(crate) fn grant(&self, token: u64) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.token == token)
    }
}
