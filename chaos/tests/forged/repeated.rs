//! Tokens that do not grow, stale owners whose messages change something, replies that differ, and
//! bodies that run again.

use idempotent_chaos::{
    check::Rule,
    history::{Answer, End, Event, Function, Settled, Target},
};

use crate::story::*;

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
                scope: None,
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
