//! The checker sees: each claim has histories that break it and must be found, beside good ones that must pass.

use idempotent_chaos::{
    check::{Rule, check},
    history::{Answer, End, Entry, Event, Function, Kind, Micros, Run, Settled, Target},
};

const KEY: u32 = 7;
const LEASE_MS: u64 = 600;
/// Just longer than a lease.
const LAPSE: Micros = 700_000;

/// A history under way.
struct Story {
    entries: Vec<Entry>,
    at: Micros,
    function: Function,
}

/// What one call does to the end: claim, body, effect, finish, answer.
#[derive(Clone, Copy)]
struct Turn {
    call: u64,
    process: u32,
    token: u64,
    attempt: u32,
}

const fn turn(call: u64, process: u32, token: u64, attempt: u32) -> Turn {
    Turn {
        call,
        process,
        token,
        attempt,
    }
}

const FIRST: Turn = turn(1, 1, 100, 1);
const SECOND: Turn = turn(2, 2, 200, 2);

impl Turn {
    fn run(self) -> Run {
        Run {
            call: self.call,
            token: self.token,
        }
    }
}

impl Story {
    fn of(function: Function) -> Self {
        Self {
            entries: Vec::new(),
            at: 1_000_000,
            function,
        }
    }

    fn pass(mut self, micros: Micros) -> Self {
        self.at += micros;
        self
    }

    fn add(mut self, process: u32, event: Event) -> Self {
        self.at += 10;
        self.entries.push(Entry {
            at: self.at,
            process,
            event,
        });
        self
    }

    fn called(self, turn: Turn) -> Self {
        let event = Event::Called {
            call: turn.call,
            key: KEY,
            function: self.function,
        };
        self.add(turn.process, event)
    }

    fn granted(self, turn: Turn) -> Self {
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

    fn began(self, turn: Turn) -> Self {
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

    fn ended(self, turn: Turn, how: End) -> Self {
        self.add(
            turn.process,
            Event::Ended {
                call: turn.call,
                how,
            },
        )
    }

    fn finished(self, turn: Turn, target: Target, settled: Settled) -> Self {
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

    fn answered(self, turn: Turn, answer: Answer) -> Self {
        self.add(
            turn.process,
            Event::Answered {
                call: turn.call,
                answer,
                unrecorded: false,
            },
        )
    }

    fn left(self, turn: Turn) -> Self {
        self.add(turn.process, Event::Left { call: turn.call })
    }

    /// Called, granted, begun.
    fn starts(self, turn: Turn) -> Self {
        self.called(turn).granted(turn).began(turn)
    }

    /// Ended well, recorded, answered.
    fn completes(self, turn: Turn) -> Self {
        self.ended(turn, End::Ok)
            .finished(turn, Target::Done, Settled::Applied)
            .answered(turn, Answer::Ok(turn.run()))
    }

    /// A call that is told another's result.
    fn replays(self, turn: Turn, run: Run) -> Self {
        self.called(turn).answered(turn, Answer::Ok(run))
    }

    #[track_caller]
    fn passes(self) {
        let verdict = check(&self.entries);
        assert!(verdict.violations.is_empty(), "{:?}", verdict.violations);
    }

    #[track_caller]
    fn breaks(self, rule: Rule) {
        let verdict = check(&self.entries);
        let broken: Vec<_> = verdict
            .violations
            .iter()
            .map(|violation| violation.rule)
            .collect();
        assert!(broken.contains(&rule), "{rule:?} is not among {broken:?}");
    }
}

fn rerun() -> Story {
    Story::of(Function::Rerun)
}

/// An owner falls silent, another takes over and completes.
fn taken_over(function: Function) -> Story {
    Story::of(function)
        .starts(FIRST)
        .pass(LAPSE)
        .starts(SECOND)
        .completes(SECOND)
}

/// The first owner comes back, is refused, and adopts.
fn adopted() -> Story {
    taken_over(Function::Rerun)
        .ended(FIRST, End::Ok)
        .finished(FIRST, Target::Done, Settled::Stale)
        .add(
            1,
            Event::Noted {
                what: "stale".to_owned(),
                call: Some(FIRST.call),
            },
        )
        .answered(FIRST, Answer::Ok(SECOND.run()))
}

#[test]
fn good_histories_pass() {
    rerun()
        .starts(FIRST)
        .completes(FIRST)
        .replays(SECOND, FIRST.run())
        .passes();
    adopted().passes();
    // Killed in the body.
    taken_over(Function::Rerun)
        .add(0, Event::Killed { process: 1 })
        .passes();
    // A doubt under `fail`, and nothing after it.
    Story::of(Function::Fail)
        .starts(FIRST)
        .add(0, Event::Killed { process: 1 })
        .called(SECOND)
        .answered(SECOND, Answer::Refused("Indeterminate".to_owned()))
        .passes();
    // An `Err` that is retried at once.
    rerun()
        .starts(FIRST)
        .ended(FIRST, End::Err)
        .finished(FIRST, Target::Released, Settled::Applied)
        .answered(FIRST, Answer::Declined(FIRST.run()))
        .starts(SECOND)
        .completes(SECOND)
        .passes();
    // A caller that left; its body was finished.
    let done = rerun().starts(FIRST).left(FIRST).ended(FIRST, End::Ok);
    done.finished(FIRST, Target::Done, Settled::Applied)
        .replays(SECOND, FIRST.run())
        .passes();
}

#[test]
fn an_unrecorded_reply_may_differ_under_rerun() {
    let unrecorded = Event::Answered {
        call: 1,
        answer: Answer::Ok(FIRST.run()),
        unrecorded: true,
    };
    let story = |function| {
        let begun = Story::of(function)
            .starts(FIRST)
            .ended(FIRST, End::Ok)
            .add(1, unrecorded.clone());
        begun.pass(LAPSE).starts(SECOND).completes(SECOND)
    };
    story(Function::Rerun).passes();
    story(Function::Fail).breaks(Rule::Agreement);
}

#[test]
fn repeats_are_counted_by_their_reason() {
    let fault = Event::Fault {
        kind: Kind::Stop,
        process: Some(1),
        until: 2_000_000,
        observed: true,
    };
    let mut entries = taken_over(Function::Rerun).left(FIRST).entries;
    entries.push(Entry {
        at: 1_100_000,
        process: 0,
        event: fault,
    });
    let reasons: Vec<_> = check(&entries).repeats.into_iter().collect();
    assert_eq!(reasons, [("silent for its lease: Stop".to_owned(), 1)]);
}

#[test]
fn one_token_for_two_owners_is_found() {
    rerun()
        .starts(FIRST)
        .pass(LAPSE)
        .starts(turn(2, 2, 100, 2))
        .breaks(Rule::Tokens);
    rerun()
        .called(FIRST)
        .granted(FIRST)
        .granted(turn(2, 2, 100, 1))
        .breaks(Rule::Tokens);
}

#[test]
fn tokens_that_do_not_grow_are_found() {
    rerun()
        .starts(FIRST)
        .pass(LAPSE)
        .starts(turn(2, 2, 99, 2))
        .breaks(Rule::Tokens);
    // The same attempt twice: the record was forgotten in between.
    rerun()
        .starts(FIRST)
        .pass(LAPSE)
        .starts(turn(2, 2, 200, 1))
        .breaks(Rule::Tokens);
}

#[test]
fn a_stale_finish_or_renew_that_is_accepted_is_found() {
    let accepted = |event: Event| {
        rerun()
            .starts(FIRST)
            .pass(LAPSE)
            .starts(SECOND)
            .pass(50)
            .add(1, event)
    };
    let (key, token, settled, sent) = (
        KEY,
        FIRST.token,
        Settled::Applied,
        1_000_000 + LAPSE + 1_000,
    );
    accepted(Event::Renewed {
        key,
        token,
        settled,
        sent,
    })
    .breaks(Rule::Stale);
    let target = Target::Released;
    accepted(Event::Finished {
        key,
        token,
        target,
        settled,
        sent,
    })
    .breaks(Rule::Stale);
}

#[test]
fn a_stale_owner_whose_caller_gets_its_own_result_is_found() {
    taken_over(Function::Rerun)
        .add(
            1,
            Event::Noted {
                what: "stale".to_owned(),
                call: Some(FIRST.call),
            },
        )
        .answered(FIRST, Answer::Ok(FIRST.run()))
        .breaks(Rule::Stale);
}

#[test]
fn a_result_with_a_later_run_is_found() {
    rerun()
        .starts(FIRST)
        .completes(FIRST)
        .starts(SECOND)
        .left(SECOND)
        .breaks(Rule::Stale);
}

#[test]
fn replies_that_differ_are_found() {
    let third = turn(3, 1, 0, 0);
    adopted()
        .replays(third, FIRST.run())
        .breaks(Rule::Agreement);
    // An `Err` that is final, and later an `Ok`.
    Story::of(Function::Record)
        .starts(FIRST)
        .ended(FIRST, End::Err)
        .answered(FIRST, Answer::Declined(FIRST.run()))
        .pass(LAPSE)
        .starts(SECOND)
        .completes(SECOND)
        .breaks(Rule::Agreement);
}

#[test]
fn a_recorded_result_that_is_not_replayed_is_found() {
    let done = || rerun().starts(FIRST).completes(FIRST).called(SECOND);
    done()
        .answered(SECOND, Answer::Refused("Unavailable".to_owned()))
        .passes();
    done()
        .answered(SECOND, Answer::Refused("Indeterminate".to_owned()))
        .breaks(Rule::Agreement);
    done().granted(SECOND).left(SECOND).breaks(Rule::Agreement);
}

#[test]
fn a_run_without_a_reason_is_found() {
    // Taken over too early.
    let early = rerun()
        .starts(FIRST)
        .pass(LAPSE / 2)
        .starts(SECOND)
        .completes(SECOND);
    early.left(FIRST).breaks(Rule::Repeat);
    // Silent for long, and renewed in between.
    let sent = 1_000_000 + LAPSE;
    let renewed = Event::Renewed {
        key: KEY,
        token: 100,
        settled: Settled::Applied,
        sent,
    };
    rerun()
        .starts(FIRST)
        .pass(LAPSE)
        .add(1, renewed)
        .pass(LAPSE / 2)
        .starts(SECOND)
        .completes(SECOND)
        .left(FIRST)
        .breaks(Rule::Repeat);
    // It had ended well, or with an `Err` that is final.
    rerun()
        .starts(FIRST)
        .ended(FIRST, End::Ok)
        .starts(SECOND)
        .completes(SECOND)
        .breaks(Rule::Repeat);
    let record = Story::of(Function::Record)
        .starts(FIRST)
        .ended(FIRST, End::Err);
    record.starts(SECOND).completes(SECOND).breaks(Rule::Repeat);
    // Only a body that stops with its caller may be dropped midway.
    let stops = |function| {
        Story::of(function)
            .starts(FIRST)
            .ended(FIRST, End::Stopped)
            .left(FIRST)
    };
    stops(Function::RerunAttached)
        .starts(SECOND)
        .completes(SECOND)
        .passes();
    stops(Function::Rerun)
        .starts(SECOND)
        .completes(SECOND)
        .breaks(Rule::Repeat);
}

#[test]
fn two_effects_under_fail_are_found() {
    for function in [Function::Fail, Function::FailAttached] {
        taken_over(function).left(FIRST).breaks(Rule::AtMostOnce);
    }
    let again = Event::Effect {
        call: 1,
        key: KEY,
        token: 100,
        fenced: false,
    };
    Story::of(Function::Fail)
        .starts(FIRST)
        .add(0, again)
        .completes(FIRST)
        .breaks(Rule::AtMostOnce);
}

#[test]
fn a_fence_that_lets_smaller_tokens_through_is_found() {
    let late = Event::Effect {
        call: 1,
        key: KEY,
        token: 100,
        fenced: false,
    };
    taken_over(Function::Rerun)
        .left(FIRST)
        .add(0, late)
        .breaks(Rule::Fence);
}

#[test]
fn a_result_whose_effect_was_fenced_is_found() {
    // The larger token came first: what a fencing service refused is the answer.
    let (small, large) = (turn(1, 1, 100, 1), turn(2, 2, 200, 2));
    rerun()
        .called(small)
        .starts(large)
        .ended(large, End::Panicked)
        .left(large)
        .began(small)
        .completes(small)
        .breaks(Rule::Fence);
}

#[test]
fn a_result_without_an_effect_or_from_elsewhere_is_found() {
    let elsewhere = Run {
        call: 99,
        token: 555,
    };
    rerun().replays(FIRST, elsewhere).breaks(Rule::Origin);
    rerun().replays(FIRST, elsewhere).breaks(Rule::Fence);
    rerun()
        .starts(FIRST)
        .completes(FIRST)
        .replays(SECOND, elsewhere)
        .breaks(Rule::Agreement);
}

#[test]
fn a_call_that_is_never_answered_is_found() {
    rerun().called(FIRST).breaks(Rule::Answered);
    rerun()
        .called(FIRST)
        .add(0, Event::Killed { process: 1 })
        .passes();
    rerun().called(FIRST).left(FIRST).passes();
}

#[test]
fn a_wedged_key_is_found() {
    let healed = |function| Story::of(function).add(0, Event::Healed).called(FIRST);
    for error in ["InFlight", "Unavailable", "Superseded", "Indeterminate"] {
        let refused = Answer::Refused(error.to_owned());
        healed(Function::Rerun)
            .answered(FIRST, refused)
            .breaks(Rule::Answered);
    }
    let in_doubt = Answer::Refused("Indeterminate".to_owned());
    healed(Function::Fail).answered(FIRST, in_doubt).passes();
}

#[test]
fn a_record_that_was_lost_is_found() {
    let lost = Event::Noted {
        what: "record lost".to_owned(),
        call: None,
    };
    rerun()
        .starts(FIRST)
        .completes(FIRST)
        .add(1, lost)
        .breaks(Rule::Kept);
}
