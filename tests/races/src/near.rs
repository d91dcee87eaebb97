//! The near cache: what an operator decides, and what calls learned before.

use crate::{check, is_caught};

macro_rules! variant {
    ($name:ident, $file:literal) => {
        mod $name {
            #[allow(
                dead_code,
                clippy::all,
                clippy::pedantic,
                reason = "the runtime's own, checked there"
            )]
            mod records {
                include!(concat!(env!("OUT_DIR"), "/", $file));
            }
            #[allow(
                dead_code,
                clippy::all,
                clippy::pedantic,
                reason = "the runtime's own, checked there"
            )]
            mod moment {
                include!(concat!(env!("OUT_DIR"), "/moment.rs"));
            }
            include!("scenarios/near.rs");
        }
    };
}

variant!(sound, "near.rs");
variant!(hasty, "near_hasty.rs");
variant!(lax, "near_lax.rs");

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
