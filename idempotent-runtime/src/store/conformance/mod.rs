//! The suite that every store passes, also one of your own (feature `conformance`).
//!
//! Describe your store to the suite with a [`Subject`], and run every rule as a test of its own:
//!
//! ```
//! use std::time::Duration;
//! use idempotent_fn::{
//!     conformance_tests,
//!     key::Key,
//!     store::{ManualClock, MemoryStore, conformance::Subject},
//! };
//!
//! struct Memory {
//!     store: MemoryStore, // yours
//!     clock: ManualClock,
//! }
//!
//! impl Memory {
//!     async fn connect() -> Self {
//!         let clock = ManualClock::new();
//!         Self { store: MemoryStore::with_clock(&clock), clock }
//!     }
//! }
//!
//! impl Subject for Memory {
//!     type Store = MemoryStore;
//!
//!     async fn store(&self) -> MemoryStore {
//!         self.store.clone()
//!     }
//!
//!     async fn elapse(&self, _key: &Key, time: Duration) {
//!         self.clock.advance(time);
//!     }
//! }
//!
//! conformance_tests!(Memory::connect().await);
//! # fn main() { let _ = Memory::connect; }
//! ```
//!
//! Or run all rules, from anywhere, with [`all`]. Every rule uses new, random keys, so a server may
//! be shared. No rule sleeps or asserts a duration: [`Subject::elapse`] makes records older.
//!
//! `tests/cas_store` in this package's sources has a store over conditional puts with its subject,
//! and `tests/custom_store` one that decides beside its records. Each has about a hundred lines.

#![allow(
    clippy::missing_panics_doc,
    reason = "a rule that is broken panics: that is how the suite speaks"
)]

mod claims;
mod data;
mod doubts;
mod grace;
mod lapses;
mod limits;
mod lists;
mod overrules;
mod races;
mod retention;
mod settling;
mod trial;
mod wakes;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{DEFAULT_MAX_RESULT, Store};
use crate::key::Key;

/// A store, and what the suite needs besides.
pub trait Subject: Send + Sync + 'static {
    /// The store.
    type Store: Store;

    /// A new handle on the same records, as another process would have.
    fn store(&self) -> impl Future<Output = Self::Store> + Send;

    /// Makes the record of `key` older by `time`, by the store's own clock: that much of its lease
    /// and its retention is used up. You may move the clock (and with it all other records) or
    /// change this one record. It is called with milliseconds and with a hundred years, also for
    /// keys without a record.
    fn elapse(&self, key: &Key, time: Duration) -> impl Future<Output = ()> + Send;

    /// Replaces the record of `key` by `bytes`. Returns `false` if the store keeps no bytes: then
    /// nothing can be unreadable, and the rules about that are skipped.
    fn plant(&self, key: &Key, bytes: &[u8]) -> impl Future<Output = bool> + Send {
        let _ = (key, bytes);
        std::future::ready(false)
    }

    /// Makes the next write that `store` sends go unanswered. Returns `false` if that cannot be
    /// done: then the rule about it is skipped. Only the writes of this handle fail, as when its
    /// connection breaks.
    fn lose(&self, store: &Self::Store, loss: Loss) -> impl Future<Output = bool> + Send {
        let _ = (store, loss);
        std::future::ready(false)
    }

    /// The largest result that the store takes, in bytes, if that is less than
    /// [`DEFAULT_MAX_RESULT`]. A larger one must be [`TooLarge`](crate::StoreErrorKind::TooLarge).
    fn max_result(&self) -> usize {
        DEFAULT_MAX_RESULT
    }

    /// How many keys `store` has subscribers for, if that is known.
    fn subscribed(&self, store: &Self::Store) -> impl Future<Output = Option<usize>> + Send {
        let _ = store;
        std::future::ready(None)
    }
}

/// Which part of a write is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The request: nothing is written.
    Request,
    /// The answer: it is written.
    Answer,
}

/// One rule of the suite, to be run against an `S`.
pub struct Rule<S> {
    name: &'static str,
    run: for<'a> fn(&'a S) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

impl<S: Subject> Rule<S> {
    /// The rule's name: that of its function in this module.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Panics if the rule is broken. The message quotes the sentence of [`Store`]'s contract.
    pub async fn check(&self, subject: &S) {
        (self.run)(subject).await;
    }
}

impl<S> fmt::Debug for Rule<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

macro_rules! suite {
    ($($module:ident: $($rule:ident)*;)*) => {
        $($(pub use $module::$rule;)*)*

        /// All rules, for a test harness of your own.
        #[must_use]
        pub fn rules<S: Subject>() -> Vec<Rule<S>> {
            vec![$($(Rule { name: stringify!($rule), run: |subject| Box::pin($rule(subject)) },)*)*]
        }

        /// Makes one `#[tokio::test]` of every rule of the [conformance
        /// suite](crate::store::conformance). The argument is an expression for the
        /// [`Subject`](crate::store::conformance::Subject). It may `.await`, and every test
        /// evaluates it anew. The package needs `tokio` with the features `macros` and
        /// `rt-multi-thread`.
        #[macro_export]
        macro_rules! conformance_tests {
            ($subject:expr) => {
                $($(
                    #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $rule() {
                        $crate::store::conformance::$rule(&$subject).await;
                    }
                )*)*
            };
        }
    };
}

suite! {
    claims:
        a_first_claim_is_granted
        a_held_record_is_shown_as_it_stands
        the_same_nonce_gets_the_same_grant
        a_claim_that_was_dropped_can_be_repeated
        a_failed_record_may_be_claimed
        a_fingerprint_is_pinned;
    lapses:
        a_lapsed_lease_is_taken_over_with_a_longer_one
        a_live_or_renewed_lease_is_not_taken_over
        a_lapsed_lease_under_fail_is_lost
        the_records_own_policy_decides;
    races:
        of_many_claimers_one_is_granted
        both_of_two_claimers_are_answered
        a_record_that_vanishes_between_two_looks_is_claimed
        of_many_takers_one_is_granted
        a_finish_and_a_takeover_never_both_succeed
        keys_do_not_wait_for_each_other;
    settling:
        a_finish_records_all_of_it
        a_finish_that_was_dropped_can_be_repeated
        done_stays_done
        another_nonce_changes_nothing
        after_its_release_an_owner_has_nothing
        an_overtaken_owner_is_refused
        a_lost_owner_may_still_settle
        a_missing_record_is_put_back;
    doubts:
        a_lost_answer_is_not_guessed;
    retention:
        retention_restarts_on_complete
        unfinished_records_are_held_for_seven_days
        an_expired_keys_old_owner_is_refused
        expires_follows_the_retention
        tokens_grow_across_everything;
    grace:
        released_records_are_kept_for_their_ttl
        past_its_end_a_record_is_as_none
        a_large_record_past_its_end_is_replaced
        nothing_late_revives_a_finished_key
        ttl_owner_and_trace_are_kept
        a_result_keeps_its_check;
    lists:
        a_listing_shows_every_record
        a_listing_shows_what_was_asked_for
        a_namespace_lists_its_own_keys;
    limits:
        the_shortest_and_longest_leases_work
        the_shortest_and_longest_retentions_work
        results_come_back_byte_for_byte
        keys_of_every_kind_stay_apart;
    overrules:
        an_overruling_replaces_only_what_was_seen
        nothing_late_undoes_an_overruling
        a_forgotten_key_runs_again
        a_resolved_key_replays;
    // First, because it counts subscriptions, and those that other rules have dropped may take a
    // while to go.
    wakes:
        dropped_subscriptions_leave_nothing
        a_change_wakes_the_subscribers
        another_subscribers_leaving_wakes_nobody_less;
    data:
        unreadable_bytes_are_left_alone
        a_damaged_or_moved_result_is_incompatible
        the_local_face_is_the_same_store
        a_look_holds_nobody_up;
}

/// Runs every rule in a task of its own. Panics at the end if any is broken, and lists those.
///
/// # Panics
/// If a rule is broken.
pub async fn all<S: Subject>(subject: S) {
    let subject = Arc::new(subject);
    let mut broken = Vec::new();
    for rule in rules::<S>() {
        let subject = Arc::clone(&subject);
        let name = rule.name;
        if tokio::spawn(async move { rule.check(&*subject).await })
            .await
            .is_err()
        {
            broken.push(name);
        }
    }
    assert!(
        broken.is_empty(),
        "the store breaks its contract; see the panics above of: {}",
        broken.join(", ")
    );
}
