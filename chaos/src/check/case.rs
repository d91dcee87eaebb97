//! What happened with one key.

use std::collections::BTreeMap;

use crate::history::{Answer, End, Function, Micros, Run, Settled, Target};

/// A call with the key.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) at: Micros,
    pub(crate) process: u32,
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
    pub(crate) sent: Micros,
    pub(crate) token: u64,
    pub(crate) target: Option<Target>,
    pub(crate) settled: Settled,
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
            effects: Vec::new(),
        }
    }

    /// The result that an answer replays or has recorded; `None` for what the library need not remember.
    pub(crate) fn recorded(&self, answered: &Answered) -> Option<Recorded> {
        // Under `fail` there is one run at most: it alone can be the answer, acknowledged or not.
        if answered.unrecorded && !self.function.at_most_once() {
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

    /// The first acknowledged result and when it was answered.
    pub(crate) fn first_recorded(&self) -> Option<(Micros, Recorded)> {
        self.answers()
            .filter(|(_, _, answered)| !answered.unrecorded)
            .filter_map(|(_, _, answered)| Some((answered.at, self.recorded(answered)?)))
            .min_by_key(|(at, _)| *at)
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
