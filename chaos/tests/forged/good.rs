//! Histories that the checker must accept.

use idempotent_chaos::{
    check::{Rule, check},
    history::{Answer, End, Entry, Event, Function, Kind, Settled, Target},
};

use crate::story::*;

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
        let again = begun.pass(LAPSE).starts(SECOND).completes(SECOND);
        again.suffers(FIRST, Kind::Stop, false)
    };
    story(Function::Rerun).passes();
    story(Function::Fail).breaks(Rule::Agreement);
}

#[test]
fn repeats_are_counted_by_their_reason() {
    let fault = Event::Fault {
        kind: Kind::Stop,
        process: Some(1),
        call: None,
        until: 2_000_000,
        observed: true,
    };
    let mut entries = overtaken(Function::Rerun).left(FIRST).entries;
    entries.push(Entry {
        at: 1_100_000,
        process: 0,
        event: fault,
    });
    let reasons: Vec<_> = check(&entries).repeats.into_iter().collect();
    assert_eq!(reasons, [("silent for its lease: Stop".to_owned(), 1)]);
}
