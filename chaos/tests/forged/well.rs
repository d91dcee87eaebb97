//! Owners without a fault that are overtaken or doubted; callers that are not answered although
//! nothing fails.

use idempotent_chaos::{
    check::Rule,
    history::{Answer, Event, Function, Kind, Met, Settled},
};

use crate::story::*;

#[test]
fn an_owner_that_is_overtaken_for_no_reason_is_found() {
    let silent = || overtaken(Function::Rerun).left(FIRST);
    silent().breaks(Rule::Alive);
    for kind in [Kind::Stop, Kind::Block, Kind::Late, Kind::Starved] {
        silent().suffers(FIRST, kind, false).passes();
    }
    silent().suffers(FIRST, Kind::Held, true).passes();
    // Neither is another process' misfortune its own, nor another call's.
    silent()
        .suffers(SECOND, Kind::Stop, false)
        .breaks(Rule::Alive);
    let other = turn(3, 1, 0, 0);
    silent()
        .suffers(other, Kind::Held, true)
        .breaks(Rule::Alive);
}

#[test]
fn work_that_yields_is_no_reason_to_be_overtaken() {
    for kind in [Kind::Busy, Kind::Sibling, Kind::Oversize] {
        let silent = overtaken(Function::Rerun).left(FIRST);
        silent.suffers(FIRST, kind, true).breaks(Rule::Alive);
    }
    let silent = overtaken(Function::Rerun).left(FIRST);
    silent.suffers(FIRST, Kind::Wave, false).breaks(Rule::Alive);
}

#[test]
fn a_call_that_is_killed_while_it_is_kept_has_a_reason() {
    let (kind, call) = (Kind::Held, Some(FIRST.call));
    let kept = || {
        rerun()
            .starts(FIRST)
            .add(FIRST.process, Event::Begun { kind, call })
            .pass(LAPSE)
            .starts(SECOND)
            .completes(SECOND)
    };
    kept().add(0, Event::Killed { process: 1 }).passes();
    kept().left(FIRST).passes();
}

#[test]
fn a_doubt_about_an_owner_that_is_well_is_found() {
    let doubted = || {
        Story::of(Function::Fail)
            .starts(FIRST)
            .pass(LAPSE)
            .refused(SECOND, "Indeterminate")
    };
    doubted().left(FIRST).breaks(Rule::Alive);
    doubted()
        .left(FIRST)
        .suffers(FIRST, Kind::Busy, true)
        .breaks(Rule::Alive);
    doubted()
        .left(FIRST)
        .suffers(FIRST, Kind::Stop, false)
        .passes();
    // Stopped for long, and back: its renewal is on its way when another is told of the doubt.
    let story = Story::of(Function::Fail)
        .starts(FIRST)
        .pass(LAPSE)
        .left(FIRST);
    let story = story.suffers(FIRST, Kind::Stop, false).pass(1_000);
    let (sent, token) = (story.now(), FIRST.token);
    let renewed = Event::Renewed {
        key: KEY,
        token,
        settled: Settled::Applied,
        sent,
    };
    let doubt = |story: Story| story.pass(1_000).refused(SECOND, "Indeterminate");
    doubt(story.clone())
        .add(FIRST.process, renewed.clone())
        .passes();
    doubt(story.add(FIRST.process, renewed)).breaks(Rule::Alive);
    // Dead before the doubt, not after it.
    let killed = Event::Killed { process: 1 };
    let dead = Story::of(Function::Fail)
        .starts(FIRST)
        .add(0, killed.clone());
    dead.pass(LAPSE).refused(SECOND, "Indeterminate").passes();
    doubted().add(0, killed).breaks(Rule::Alive);
}

#[test]
fn a_doubt_that_its_owner_resolves_later_had_its_reason() {
    let (key, token, settled) = (KEY, FIRST.token, Settled::Applied);
    let stopped =
        Story::of(Function::Fail)
            .starts(FIRST)
            .pass(LAPSE)
            .suffers(FIRST, Kind::Stop, false);
    let sent = START + LAPSE + 1_100;
    let renewed = Event::Renewed {
        key,
        token,
        settled,
        sent,
    };
    let in_doubt = Answer::Refused("Indeterminate".to_owned());
    stopped
        .pass(1_000)
        .called(SECOND)
        .pass(500)
        .add(1, renewed)
        .answered(SECOND, in_doubt)
        .completes(FIRST)
        .passes();
}

#[test]
fn a_doubt_about_a_claim_that_nobody_noted_is_not_the_earlier_owners() {
    let done = || {
        let once = Story::of(Function::BriefFail).starts(FIRST);
        once.completes(FIRST).pass(END)
    };
    done()
        .called(SECOND)
        .meets(SECOND, 300, Met::Lost)
        .answered(SECOND, Answer::Refused("Indeterminate".to_owned()))
        .passes();
    // The record that is in doubt is the first one's.
    done()
        .called(SECOND)
        .meets(SECOND, FIRST.token, Met::Lost)
        .answered(SECOND, Answer::Refused("Indeterminate".to_owned()))
        .breaks(Rule::Ended);
}

#[test]
fn a_store_that_is_there_and_unavailable_is_found() {
    let late = turn(3, 3, 0, 0);
    let story = || rerun().starts(FIRST).completes(FIRST).pass(2_000_000);
    let unavailable = || story().refused(late, "Unavailable").pass(1_000);
    unavailable().passes();
    unavailable().calm().breaks(Rule::Progress);
    // It could not look for itself.
    unavailable()
        .calm()
        .suffers(late, Kind::Starved, false)
        .passes();
    // Just after the storm, or when the next one has begun.
    rerun()
        .refused(late, "Unavailable")
        .pass(1_000)
        .calm()
        .passes();
    let storm = story().calm();
    storm.pass(1_000).refused(late, "Unavailable").passes();
}

#[test]
fn a_recorded_result_that_its_process_keeps_back_is_found() {
    let late = turn(3, 1, 0, 0);
    let busy = || rerun().starts(FIRST).pass(2_000_000);
    let in_flight = |story: Story| story.refused(late, "InFlight").pass(1_000).calm();
    in_flight(busy().completes(FIRST)).breaks(Rule::Progress);
    in_flight(busy()).left(FIRST).passes();
    // Its caller keeps the call, and may come too late to ask.
    let mut kept = in_flight(busy().completes(FIRST));
    for entry in &mut kept.entries {
        if let Event::Called { call: 3, held, .. } = &mut entry.event {
            *held = true;
        }
    }
    kept.passes();
}

#[test]
fn a_call_that_is_answered_long_after_all_faults_is_found() {
    let story = |millis: u64| {
        let healed = rerun().add(0, Event::Healed).starts(FIRST);
        healed.pass(millis * 1_000).completes(FIRST)
    };
    story(20_000).passes();
    story(40_000).breaks(Rule::Answered);
    let too_large = Answer::Refused("NotRecorded".to_owned());
    let healed = |function| Story::of(function).add(0, Event::Healed).called(FIRST);
    healed(Function::Bulky)
        .answered(FIRST, too_large.clone())
        .passes();
    healed(Function::Rerun)
        .answered(FIRST, too_large)
        .breaks(Rule::Answered);
}
