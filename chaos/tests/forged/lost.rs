//! Too many effects, results from nowhere, and calls and records that are lost.

use idempotent_chaos::{
    check::Rule,
    history::{Answer, End, Event, Function, Run},
};

use crate::story::*;

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
        scope: None,
    };
    rerun()
        .starts(FIRST)
        .completes(FIRST)
        .add(1, lost)
        .breaks(Rule::Kept);
}

#[test]
fn a_finish_that_was_never_delivered_is_found() {
    let drained = |left| Event::Noted {
        what: format!("drained {left}"),
        call: None,
        scope: None,
    };
    let story = || rerun().starts(FIRST).completes(FIRST);
    story().add(1, drained(0)).passes();
    story().add(1, drained(1)).breaks(Rule::Answered);
}
