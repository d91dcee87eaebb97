//! Builds histories, one event at a time.

use idempotent_chaos::{
    check::{Rule, check},
    history::{Answer, End, Entry, Event, Function, Kind, Met, Micros, Run, Settled, Target},
};

pub(crate) const KEY: u32 = 7;
/// When stories begin.
pub(crate) const START: Micros = 1_000_000;
pub(crate) const LEASE_MS: u64 = 600;
/// Just longer than a lease.
pub(crate) const LAPSE: Micros = 700_000;
/// Longer than brief results are kept.
pub(crate) const END: Micros = 800_000;

/// A history under way.
#[derive(Clone)]
pub(crate) struct Story {
    pub(crate) entries: Vec<Entry>,
    at: Micros,
    function: Function,
}

/// What one call does to the end: claim, body, effect, finish, answer.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) call: u64,
    pub(crate) process: u32,
    pub(crate) token: u64,
    pub(crate) attempt: u32,
}

pub(crate) const fn turn(call: u64, process: u32, token: u64, attempt: u32) -> Turn {
    Turn {
        call,
        process,
        token,
        attempt,
    }
}

pub(crate) const FIRST: Turn = turn(1, 1, 100, 1);
pub(crate) const SECOND: Turn = turn(2, 2, 200, 2);

impl Turn {
    pub(crate) fn run(self) -> Run {
        Run {
            call: self.call,
            token: self.token,
        }
    }
}

impl Story {
    pub(crate) fn of(function: Function) -> Self {
        Self {
            entries: Vec::new(),
            at: START,
            function,
        }
    }

    pub(crate) fn now(&self) -> Micros {
        self.at
    }

    pub(crate) fn pass(mut self, micros: Micros) -> Self {
        self.at += micros;
        self
    }

    pub(crate) fn add(mut self, process: u32, event: Event) -> Self {
        self.at += 10;
        self.entries.push(Entry {
            at: self.at,
            process,
            event,
        });
        self
    }

    pub(crate) fn called(self, turn: Turn) -> Self {
        let event = Event::Called {
            call: turn.call,
            key: KEY,
            function: self.function,
            held: false,
        };
        self.add(turn.process, event)
    }

    /// A fault of the turn's process, or of its call alone, all along since the story began.
    pub(crate) fn suffers(mut self, turn: Turn, kind: Kind, alone: bool) -> Self {
        let event = Event::Fault {
            kind,
            process: Some(turn.process),
            call: alone.then_some(turn.call),
            until: self.at,
            observed: true,
        };
        self.entries.push(Entry {
            at: START,
            process: turn.process,
            event,
        });
        self
    }

    /// It has been calm all along since the story began.
    pub(crate) fn calm(mut self) -> Self {
        let event = Event::Calm { until: self.at };
        self.entries.push(Entry {
            at: START,
            process: 0,
            event,
        });
        self
    }

    /// A claim of the turn's process meets the record of `token`.
    pub(crate) fn meets(self, turn: Turn, token: u64, state: Met) -> Self {
        let (key, sent) = (KEY, self.at + 5);
        self.add(
            turn.process,
            Event::Met {
                key,
                token,
                state,
                sent,
            },
        )
    }

    /// A call that is refused with this error.
    pub(crate) fn refused(self, turn: Turn, error: &str) -> Self {
        let answer = Answer::Refused(error.to_owned());
        self.called(turn).answered(turn, answer)
    }

    /// What the operator is told about a scope.
    pub(crate) fn noted(self, what: &str, scope: &str) -> Self {
        let event = Event::Noted {
            what: what.to_owned(),
            call: None,
            scope: Some(scope.to_owned()),
        };
        self.add(1, event)
    }

    pub(crate) fn granted(self, turn: Turn) -> Self {
        let (sent, takeover) = (self.at, turn.attempt > 1);
        let Turn { token, attempt, .. } = turn;
        let event = Event::Granted {
            key: KEY,
            token,
            attempt,
            lease_ms: LEASE_MS,
            takeover,
            sent,
        };
        self.add(turn.process, event)
    }

    pub(crate) fn began(self, turn: Turn) -> Self {
        let Turn {
            call,
            token,
            attempt,
            ..
        } = turn;
        let story = self.add(
            turn.process,
            Event::Started {
                call,
                key: KEY,
                token,
                attempt,
            },
        );
        let largest = story.entries.iter().filter_map(|entry| match entry.event {
            Event::Effect { token, .. } => Some(token),
            _ => None,
        });
        let fenced = largest.max().is_some_and(|largest| largest > token);
        story.add(
            0,
            Event::Effect {
                call,
                key: KEY,
                token,
                fenced,
            },
        )
    }

    pub(crate) fn ended(self, turn: Turn, how: End) -> Self {
        self.add(
            turn.process,
            Event::Ended {
                call: turn.call,
                how,
            },
        )
    }

    pub(crate) fn finished(self, turn: Turn, target: Target, settled: Settled) -> Self {
        let sent = self.at;
        let event = Event::Finished {
            key: KEY,
            token: turn.token,
            target,
            settled,
            sent,
        };
        self.add(turn.process, event)
    }

    pub(crate) fn answered(self, turn: Turn, answer: Answer) -> Self {
        self.add(
            turn.process,
            Event::Answered {
                call: turn.call,
                answer,
                unrecorded: false,
            },
        )
    }

    pub(crate) fn left(self, turn: Turn) -> Self {
        self.add(turn.process, Event::Left { call: turn.call })
    }

    /// Called, granted, begun.
    pub(crate) fn starts(self, turn: Turn) -> Self {
        self.called(turn).granted(turn).began(turn)
    }

    /// Ended well, recorded, answered.
    pub(crate) fn completes(self, turn: Turn) -> Self {
        self.ended(turn, End::Ok)
            .finished(turn, Target::Done, Settled::Applied)
            .answered(turn, Answer::Ok(turn.run()))
    }

    /// A call that is told another's result.
    pub(crate) fn replays(self, turn: Turn, run: Run) -> Self {
        self.called(turn).answered(turn, Answer::Ok(run))
    }

    #[track_caller]
    pub(crate) fn passes(self) {
        let verdict = check(&self.entries);
        assert!(verdict.violations.is_empty(), "{:?}", verdict.violations);
    }

    #[track_caller]
    pub(crate) fn breaks(self, rule: Rule) {
        let verdict = check(&self.entries);
        let broken: Vec<_> = verdict
            .violations
            .iter()
            .map(|violation| violation.rule)
            .collect();
        assert!(broken.contains(&rule), "{rule:?} is not among {broken:?}");
    }
}

pub(crate) fn rerun() -> Story {
    Story::of(Function::Rerun)
}

/// An owner is stopped, another takes over and completes.
pub(crate) fn taken_over(function: Function) -> Story {
    overtaken(function).suffers(FIRST, Kind::Stop, false)
}

/// An owner falls silent, and nobody knows why; another takes over and completes.
pub(crate) fn overtaken(function: Function) -> Story {
    Story::of(function)
        .starts(FIRST)
        .pass(LAPSE)
        .starts(SECOND)
        .completes(SECOND)
}

/// The first owner comes back, is refused, and adopts.
pub(crate) fn adopted() -> Story {
    taken_over(Function::Rerun)
        .ended(FIRST, End::Ok)
        .finished(FIRST, Target::Done, Settled::Stale)
        .add(
            1,
            Event::Noted {
                what: "stale".to_owned(),
                call: Some(FIRST.call),
                scope: None,
            },
        )
        .answered(FIRST, Answer::Ok(SECOND.run()))
}
