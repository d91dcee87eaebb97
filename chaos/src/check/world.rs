//! A history, sorted by keys.

use std::collections::{BTreeMap, HashMap};

use super::{
    Case, Rule, Verdict,
    case::{Answered, Called, Change, Effect, Grant, Start},
};
use crate::history::{Answer, DRAINED, Entry, Event, Kind, Micros};

/// A fault's time and place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) kind: Kind,
    /// `None`: the server, so everybody.
    pub(crate) process: Option<u32>,
    pub(crate) from: Micros,
    pub(crate) until: Micros,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) cases: BTreeMap<u32, Case>,
    pub(crate) faults: Vec<Window>,
    pub(crate) killed: HashMap<u32, Micros>,
    pub(crate) healed: Option<Micros>,
    /// The keys of calls.
    keys: HashMap<u64, u32>,
    noted: Vec<String>,
}

impl World {
    pub(crate) fn of(history: &[Entry]) -> Self {
        let mut world = Self::default();
        // Calls first: other processes' lines may have been read before the caller's own.
        for entry in history {
            if let Event::Called {
                call,
                key,
                function,
            } = entry.event
            {
                world.keys.insert(call, key);
                let called = Called {
                    at: entry.at,
                    process: entry.process,
                    answer: None,
                    left: false,
                    stale: false,
                };
                let case = world
                    .cases
                    .entry(key)
                    .or_insert_with(|| Case::new(key, function));
                case.calls.insert(call, called);
            }
        }
        for entry in history {
            world.add(entry);
        }
        world
    }

    fn case(&mut self, key: u32) -> Option<&mut Case> {
        self.cases.get_mut(&key)
    }

    fn call(&mut self, call: u64) -> Option<&mut Called> {
        let key = *self.keys.get(&call)?;
        self.case(key)?.calls.get_mut(&call)
    }

    fn add(&mut self, entry: &Entry) {
        let (at, process) = (entry.at, entry.process);
        match &entry.event {
            Event::Answered {
                call,
                answer,
                unrecorded,
            } => {
                let answered = Answered {
                    at,
                    answer: answer.clone(),
                    unrecorded: *unrecorded,
                };
                if let Some(call) = self.call(*call) {
                    call.answer = Some(answered);
                }
            }
            Event::Left { call } => {
                if let Some(call) = self.call(*call) {
                    call.left = true;
                }
            }
            Event::Noted { what, call } => {
                if let Some(call) = call
                    .filter(|_| what == "stale")
                    .and_then(|call| self.call(call))
                {
                    call.stale = true;
                }
                self.noted.push(what.clone());
            }
            Event::Ended { call, how } => {
                let (call, end) = (*call, (at, *how));
                if let Some(case) = self.keys.get(&call).copied().and_then(|key| self.case(key)) {
                    case.ends.insert(call, end);
                }
            }
            Event::Killed { process } => {
                self.killed.insert(*process, at);
            }
            Event::Fault {
                kind,
                process,
                until,
                ..
            } => {
                self.faults.push(Window {
                    kind: *kind,
                    process: *process,
                    from: at,
                    until: *until,
                });
            }
            Event::Healed => self.healed = Some(at),
            Event::Called { .. } => {}
            event => self.add_to_key(at, process, event),
        }
    }

    fn add_to_key(&mut self, at: Micros, process: u32, event: &Event) {
        match *event {
            Event::Granted {
                key,
                token,
                attempt,
                lease_ms,
                sent,
                ..
            } => {
                let lease = lease_ms * 1000;
                if let Some(case) = self.case(key) {
                    case.grants.push(Grant {
                        at,
                        sent,
                        process,
                        token,
                        attempt,
                        lease,
                    });
                }
            }
            Event::Renewed {
                key,
                token,
                settled,
                sent,
            } => {
                if let Some(case) = self.case(key) {
                    case.changes.push(Change {
                        sent,
                        token,
                        target: None,
                        settled,
                    });
                }
            }
            Event::Finished {
                key,
                token,
                target,
                settled,
                sent,
            } => {
                if let Some(case) = self.case(key) {
                    case.changes.push(Change {
                        sent,
                        token,
                        target: Some(target),
                        settled,
                    });
                }
            }
            Event::Started {
                call,
                key,
                token,
                attempt,
            } => {
                if let Some(case) = self.case(key) {
                    case.starts.push(Start {
                        at,
                        process,
                        call,
                        token,
                        attempt,
                    });
                }
            }
            Event::Effect {
                call,
                key,
                token,
                fenced,
            } => {
                if let Some(case) = self.case(key) {
                    case.effects.push(Effect {
                        call,
                        token,
                        fenced,
                    });
                }
            }
            _ => {}
        }
    }

    /// Every call of a living process has ended; and once healed, with an answer that settles it.
    pub(crate) fn answered(&self, verdict: &mut Verdict) {
        for case in self.cases.values() {
            for (id, call) in &case.calls {
                let killed = self.killed.contains_key(&call.process);
                if call.answer.is_none() && !call.left && !killed {
                    verdict.violated(
                        Rule::Answered,
                        Some(case.key),
                        format!("call {id} was never answered"),
                    );
                }
            }
            let healed = self.healed.unwrap_or(Micros::MAX);
            for (id, call, answered) in case.answers() {
                if call.at < healed {
                    continue;
                }
                let settled = match &answered.answer {
                    Answer::Ok(_) | Answer::Declined(_) => true,
                    Answer::Refused(name) => {
                        case.function.at_most_once() && name == "Indeterminate"
                    }
                };
                if !settled {
                    let why = format!(
                        "all is well again, and call {id} gets {:?}",
                        answered.answer
                    );
                    verdict.violated(Rule::Answered, Some(case.key), why);
                }
            }
        }
    }

    /// What callers left behind was delivered in the end: no process had anything left to do.
    pub(crate) fn drained(&self, verdict: &mut Verdict) {
        for noted in &self.noted {
            if let Some(left) = noted.strip_prefix(DRAINED)
                && left.trim() != "0"
            {
                let why = format!("bodies or finishes left undone by one process: {left}");
                verdict.violated(Rule::Answered, None, why);
            }
        }
    }

    /// No server here forgets what it has acknowledged.
    pub(crate) fn kept(&self, verdict: &mut Verdict) {
        for what in ["record lost", "gave up"] {
            let times = self.noted.iter().filter(|noted| *noted == what).count();
            if times > 0 {
                verdict.violated(
                    Rule::Kept,
                    None,
                    format!("`{what}` was reported {times} times"),
                );
            }
        }
    }
}
