//! A history, sorted by key.

use std::collections::{BTreeMap, HashMap};

use super::{
    Case, Rule, Verdict,
    case::{Answered, Called},
};
use crate::history::{Answer, DRAINED, Entry, Event, Kind, Micros};

/// When and where a fault was in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) kind: Kind,
    /// `None`: the servers', so it affects all processes.
    pub(crate) process: Option<u32>,
    /// `None`: all its calls.
    pub(crate) call: Option<u64>,
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
    /// The times when nothing failed.
    pub(crate) calms: Vec<(Micros, Micros)>,
    /// Each call's key.
    keys: HashMap<u64, u32>,
    noted: Vec<Note>,
    /// Faults that have begun and whose end is not known.
    begun: HashMap<Begun, Micros>,
}

/// A process, with the fault of it or of its call.
type Begun = (u32, Kind, Option<u64>);

/// What was reported, and about which scope.
type Note = (String, Option<String>);

impl World {
    pub(crate) fn of(history: &[Entry]) -> Self {
        let mut world = Self::default();
        // Calls first: lines of other processes may have been read before the caller's own.
        for entry in history {
            if let Event::Called {
                call,
                key,
                function,
                held,
            } = entry.event
            {
                world.keys.insert(call, key);
                let called = Called {
                    at: entry.at,
                    process: entry.process,
                    held,
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
        // Their process was killed before they ended.
        for ((process, kind, call), from) in std::mem::take(&mut world.begun) {
            let until = world.killed.get(&process).copied();
            world.faults.push(Window {
                kind,
                process: Some(process),
                call,
                from,
                until: until.unwrap_or(Micros::MAX),
            });
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
                    own: matches!(answer, Answer::Ok(run) | Answer::Declined(run) if run.call == *call),
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
            Event::Noted { what, call, scope } => {
                if let Some(call) = call
                    .filter(|_| what == "stale")
                    .and_then(|call| self.call(call))
                {
                    call.stale = true;
                }
                self.noted.push((what.clone(), scope.clone()));
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
                call,
                until,
                ..
            } => {
                self.begun
                    .remove(&(process.unwrap_or_default(), *kind, *call));
                self.faults.push(Window {
                    kind: *kind,
                    process: *process,
                    call: *call,
                    from: at,
                    until: *until,
                });
            }
            Event::Begun { kind, call } => drop(self.begun.insert((process, *kind, *call), at)),
            Event::Calm { until } => self.calms.push((at, *until)),
            Event::Healed => self.healed = Some(at),
            Event::Called { .. } => {}
            event => self.add_to_key(at, process, event),
        }
    }

    fn add_to_key(&mut self, at: Micros, process: u32, event: &Event) {
        let (Event::Granted { key, .. }
        | Event::Met { key, .. }
        | Event::Renewed { key, .. }
        | Event::Finished { key, .. }
        | Event::Started { key, .. }
        | Event::Effect { key, .. }) = event
        else {
            return;
        };
        if let Some(case) = self.case(*key) {
            case.add(at, process, event);
        }
    }

    /// Every call of a living process has ended.
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
        }
    }

    /// What callers left behind was settled in the end: no process had anything left to do.
    pub(crate) fn drained(&self, verdict: &mut Verdict) {
        for (noted, _) in &self.noted {
            if let Some(left) = noted.strip_prefix(DRAINED)
                && left.trim() != "0"
            {
                let why = format!("bodies or finishes left undone by one process: {left}");
                verdict.violated(Rule::Answered, None, why);
            }
        }
    }

    /// No server lost a record that it had acknowledged.
    pub(crate) fn kept(&self, verdict: &mut Verdict) {
        for what in ["record lost", "gave up"] {
            // Nobody waits for longer than a result is kept.
            let in_time = |scope: &Option<String>| {
                let brief = |scope: &String| scope.starts_with("chaos.brief");
                what == "gave up" && scope.as_ref().is_some_and(brief)
            };
            let noted = self.noted.iter();
            let times = noted
                .filter(|(noted, scope)| noted == what && !in_time(scope))
                .count();
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
