//! Records that end and then live again; results that are too large to record.

use idempotent_chaos::{
    check::Rule,
    history::{Answer, End, Event, Function, Kind, Met, Settled, Target},
};

use crate::story::*;

fn once(function: Function) -> Story {
    Story::of(function).starts(FIRST).completes(FIRST)
}

/// The first result, its end, and the second one.
fn twice(function: Function) -> Story {
    once(function).pass(END).starts(SECOND).completes(SECOND)
}

#[test]
fn a_key_runs_again_once_its_result_has_ended() {
    for function in [Function::Brief, Function::BriefFail] {
        twice(function)
            .replays(turn(3, 3, 0, 0), SECOND.run())
            .passes();
        // Its attempts are counted anew.
        let anew = turn(2, 2, 200, 1);
        once(function)
            .pass(END)
            .starts(anew)
            .completes(anew)
            .passes();
    }
    // Before that it does not.
    let early = |function| once(function).pass(100_000).starts(SECOND);
    early(Function::Brief)
        .completes(SECOND)
        .breaks(Rule::Repeat);
    early(Function::Brief)
        .completes(SECOND)
        .breaks(Rule::Agreement);
    early(Function::BriefFail)
        .completes(SECOND)
        .breaks(Rule::AtMostOnce);
    // Nor where results are kept.
    twice(Function::Rerun).breaks(Rule::Agreement);
    twice(Function::Fail).breaks(Rule::AtMostOnce);
}

#[test]
fn a_result_that_is_not_replayed_while_it_is_kept_is_found() {
    let third = turn(3, 3, 0, 0);
    let story = || once(Function::BriefFail).pass(100_000);
    story()
        .refused(third, "Indeterminate")
        .breaks(Rule::Agreement);
    story().pass(END).refused(third, "Unavailable").passes();
}

#[test]
fn tokens_that_shrink_beyond_the_end_of_a_record_are_found() {
    let smaller = turn(3, 3, 50, 1);
    once(Function::Brief)
        .pass(END)
        .starts(smaller)
        .completes(smaller)
        .breaks(Rule::Ended);
    twice(Function::Brief)
        .meets(FIRST, SECOND.token, Met::Done)
        .passes();
    twice(Function::Brief)
        .meets(FIRST, FIRST.token, Met::Done)
        .breaks(Rule::Ended);
}

#[test]
fn a_finished_key_that_lives_again_is_found() {
    let third = turn(3, 3, 0, 0);
    for state in [Met::Running, Met::Lost, Met::Released] {
        once(Function::BriefFail)
            .pass(END)
            .meets(third, FIRST.token, state)
            .breaks(Rule::Ended);
    }
    let done = |after| {
        once(Function::Brief)
            .pass(after)
            .meets(third, FIRST.token, Met::Done)
    };
    done(100_000).passes();
    done(END).breaks(Rule::Ended);
    let replayed = |after| {
        once(Function::Brief)
            .pass(after)
            .replays(third, FIRST.run())
    };
    replayed(100_000).passes();
    replayed(END).breaks(Rule::Ended);
    // Acknowledged late, after it was asked for more than once: it counts from then.
    let late = Story::of(Function::Brief)
        .starts(FIRST)
        .ended(FIRST, End::Ok)
        .pass(END);
    late.finished(FIRST, Target::Done, Settled::Applied)
        .answered(FIRST, Answer::Ok(FIRST.run()))
        .replays(third, FIRST.run())
        .passes();
}

#[test]
fn a_record_that_is_put_back_beyond_its_end_is_found() {
    once(Function::Brief)
        .noted("record lost", "chaos.brief")
        .breaks(Rule::Kept);
    // Nobody asks for longer than the result would be kept.
    once(Function::Brief)
        .noted("gave up", "chaos.brief")
        .passes();
    once(Function::Rerun)
        .noted("gave up", "chaos.rerun")
        .breaks(Rule::Kept);
}

#[test]
fn a_result_that_is_too_large_is_so_for_everybody_and_never_made_again() {
    let (third, fourth) = (turn(3, 3, 0, 0), turn(4, 1, 0, 0));
    for function in [Function::Bulky, Function::BulkyFail] {
        let refused = || once(function).refused(third, "NotRecorded");
        refused().refused(fourth, "NotRecorded").passes();
        refused().refused(fourth, "Unavailable").passes();
        refused().replays(fourth, FIRST.run()).breaks(Rule::Refused);
        refused()
            .refused(fourth, "Indeterminate")
            .breaks(Rule::Refused);
        refused()
            .pass(LAPSE)
            .starts(SECOND)
            .completes(SECOND)
            .breaks(Rule::Refused);
    }
    // Its finish was refused, and its lease ran out.
    let unrecorded = Event::Answered {
        call: 1,
        answer: Answer::Ok(FIRST.run()),
        unrecorded: true,
    };
    Story::of(Function::Bulky)
        .starts(FIRST)
        .ended(FIRST, End::Ok)
        .add(1, unrecorded)
        .suffers(FIRST, Kind::Oversize, true)
        .pass(LAPSE)
        .starts(SECOND)
        .completes(SECOND)
        .breaks(Rule::Alive);
}

#[test]
fn a_small_result_that_is_not_recorded_is_found() {
    rerun().refused(FIRST, "NotRecorded").breaks(Rule::Refused);
}

#[test]
fn a_recorded_result_that_is_later_too_large_is_found() {
    let (third, fourth) = (turn(3, 3, 0, 0), turn(4, 1, 0, 0));
    once(Function::Bulky)
        .replays(third, FIRST.run())
        .refused(fourth, "NotRecorded")
        .breaks(Rule::Agreement);
}
