//! The near cache: what an operator decides, and what calls learned before.

use crate::{check, is_caught};

variant!(sound: "scenarios/near.rs", records = "near.rs", deadline = "deadline.rs");
variant!(hasty: "scenarios/near.rs", records = "near_hasty.rs", deadline = "deadline.rs");
variant!(lax: "scenarios/near.rs", records = "near_lax.rs", deadline = "deadline.rs");

#[test]
fn nothing_late_undoes_an_operators_decision() {
    check(sound::forgotten);
}

#[test]
fn an_answer_that_is_kept_whenever_it_comes_undoes_it() {
    is_caught(hasty::forgotten, "what was forgotten is replayed");
}

#[test]
fn a_decision_that_only_removes_what_is_kept_is_undone() {
    is_caught(lax::forgotten, "what was forgotten is replayed");
}

#[test]
fn side_by_side_it_takes_no_more_than_it_may() {
    check(sound::bounded);
}
