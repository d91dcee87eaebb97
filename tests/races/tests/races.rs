//! The runtime's own flights, notifier, memory store and near cache under a scheduler that decides
//! who runs on at each lock, atomic and await. Each test explores thousands of interleavings, and
//! any can be repeated by its seed.
//!
//! `mutant!` lines in the runtime's sources show that these tests notice faults.

use idempotent_races::races::{self, with_mutant};

/// How many interleavings each test goes through; `SHUTTLE_ITERATIONS` says otherwise.
fn interleavings() -> usize {
    let given = std::env::var("SHUTTLE_ITERATIONS").ok();
    given.map_or(1_000, |text| text.parse().expect("a number"))
}

/// Runs `scenario` in all of them: at random, and with few switches at the worst places.
fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(scenario, interleavings());
    shuttle::check_pct(scenario, interleavings(), 3);
}

/// The checker has to find an interleaving in which `scenario` fails on the mutant with this fault,
/// and in this way.
#[track_caller]
fn is_caught(fault: &'static str, scenario: impl Fn() + Send + Sync + Copy + 'static, how: &str) {
    let check = std::panic::AssertUnwindSafe(|| check(scenario));
    let caught = with_mutant(fault, || std::panic::catch_unwind(check));
    let panic = caught.expect_err("no interleaving shows what is wrong with the mutant");
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    assert!(
        message.is_some_and(|message| message.contains(how)),
        "{message:?}"
    );
}

mod flights {
    use super::{check, is_caught, races::flights};

    #[test]
    fn one_leads_and_all_are_answered() {
        check(|| flights::duplicates(0));
    }

    #[test]
    fn a_leader_that_is_dropped_frees_its_followers() {
        check(|| flights::duplicates(1));
        check(|| flights::duplicates(2));
    }

    #[test]
    fn without_the_guard_followers_hang() {
        is_caught(
            "a dropped leader frees nobody",
            || flights::duplicates(1),
            "deadlock",
        );
    }

    #[test]
    fn a_leader_that_comes_back_does_not_end_its_successors_flight() {
        check(flights::stalled);
    }

    #[test]
    fn a_flight_that_anybody_ends_has_two_leaders() {
        is_caught("anybody ends a flight", flights::stalled, "two lead");
    }

    #[test]
    fn followers_that_listen_after_they_have_looked_hang() {
        is_caught(
            "a follower listens after it has looked",
            || flights::duplicates(0),
            "deadlock",
        );
    }
}

mod topics {
    use super::{check, is_caught, races::topics};

    #[test]
    fn no_wake_up_is_lost() {
        check(topics::waiting);
    }

    #[test]
    fn a_topic_that_leaves_with_its_first_waiter_loses_one() {
        is_caught(
            "a topic leaves with its first waiter",
            topics::waiting,
            "deadlock",
        );
    }

    #[test]
    fn each_topic_that_begins_is_reported_when_it_ends() {
        check(topics::coming_and_going);
    }
}

mod memory {
    use super::{check, is_caught, races::memory};

    #[test]
    fn one_is_granted_and_the_waiters_are_told() {
        check(memory::duplicates);
    }

    #[test]
    fn a_bounded_store_takes_no_more_than_it_may() {
        check(memory::bounded);
    }

    #[test]
    fn a_bounded_store_that_looks_and_then_counts_takes_too_many() {
        is_caught(
            "the bound is looked at, then counted",
            memory::bounded,
            "takes as many as it may",
        );
    }

    #[test]
    fn what_is_swept_has_ended() {
        check(memory::swept);
    }

    #[test]
    fn a_sweep_that_does_not_look_takes_a_live_record() {
        is_caught(
            "a sweep takes live records",
            memory::swept,
            "a live record is gone",
        );
    }
}

mod near {
    use super::{check, is_caught, races::near};

    #[test]
    fn nothing_late_undoes_an_operators_decision() {
        check(near::forgotten);
    }

    #[test]
    fn an_answer_that_is_kept_whenever_it_comes_undoes_it() {
        is_caught(
            "late answers are kept",
            near::forgotten,
            "what was forgotten is replayed",
        );
    }

    #[test]
    fn a_decision_that_only_removes_what_is_kept_is_undone() {
        is_caught(
            "a decision only removes",
            near::forgotten,
            "what was forgotten is replayed",
        );
    }

    #[test]
    fn side_by_side_it_takes_no_more_than_it_may() {
        check(near::bounded);
    }
}
