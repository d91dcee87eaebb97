//! Who waits for a change is told of it, whoever else comes and goes.

use crate::{check, is_caught};

variant!(sound: "scenarios/topics.rs", source = "topics.rs");
variant!(hasty: "scenarios/topics.rs", source = "topics_hasty.rs");

#[test]
fn no_wake_up_is_lost() {
    check(sound::waiting);
}

#[test]
fn a_topic_that_leaves_with_its_first_waiter_loses_one() {
    is_caught(hasty::waiting, "deadlock");
}

#[test]
fn each_topic_that_begins_is_reported_when_it_ends() {
    check(sound::coming_and_going);
}
