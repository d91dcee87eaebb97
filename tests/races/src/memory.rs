//! The memory store's steps, side by side.

use crate::{check, is_caught};

macro_rules! variant {
    ($name:ident, $file:literal) => {
        mod $name {
            #[allow(
                dead_code,
                unreachable_pub,
                clippy::all,
                clippy::pedantic,
                reason = "the runtime's own, checked there"
            )]
            mod source {
                pub(crate) use super::Store;
                pub(crate) use idempotent_runtime::store::{
                    ClaimReply, ClaimRequest, Cursor, Filter, Found, LocalStore, Page, Settled,
                    protocol,
                };
                pub(crate) use topics::{Subscription, Topics};

                pub(crate) mod memory {
                    include!(concat!(env!("OUT_DIR"), "/", $file));
                }
                pub(crate) mod topics {
                    include!(concat!(env!("OUT_DIR"), "/topics.rs"));
                }
            }
            include!("scenarios/memory.rs");
        }
    };
}

variant!(sound, "memory.rs");
variant!(forgetful, "memory_forgetful.rs");
variant!(crowded, "memory_crowded.rs");

#[test]
fn one_is_granted_and_the_waiters_are_told() {
    check(sound::duplicates);
}

#[test]
fn a_bounded_store_takes_no_more_than_it_may() {
    check(sound::bounded);
}

#[test]
fn a_bounded_store_that_looks_and_then_counts_takes_too_many() {
    is_caught(crowded::bounded, "takes as many as it may");
}

#[test]
fn what_is_swept_has_ended() {
    check(sound::swept);
}

#[test]
fn a_sweep_that_does_not_look_takes_a_live_record() {
    is_caught(forgetful::swept, "a live record is gone");
}
