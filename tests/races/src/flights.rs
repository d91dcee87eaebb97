//! Duplicates in one process: one leads, and whatever becomes of it, the others go on.

use crate::{check, is_caught};

variant!(sound: "scenarios/flights.rs", flight = "flight.rs");
variant!(unguarded: "scenarios/flights.rs", flight = "flight_unguarded.rs");
variant!(any: "scenarios/flights.rs", flight = "flight_any.rs");
variant!(late: "scenarios/flights.rs", flight = "flight_late.rs");

#[test]
fn one_leads_and_all_are_answered() {
    check(|| sound::duplicates(0));
}

#[test]
fn a_leader_that_is_dropped_frees_its_followers() {
    check(|| sound::duplicates(1));
    check(|| sound::duplicates(2));
}

#[test]
fn without_the_guard_followers_hang() {
    is_caught(|| unguarded::duplicates(1), "deadlock");
}

#[test]
fn a_leader_that_comes_back_does_not_end_its_successors_flight() {
    check(sound::stalled);
}

#[test]
fn a_flight_that_anybody_ends_has_two_leaders() {
    is_caught(any::stalled, "two lead");
}

#[test]
fn followers_that_listen_after_they_have_looked_hang() {
    is_caught(|| late::duplicates(0), "deadlock");
}
