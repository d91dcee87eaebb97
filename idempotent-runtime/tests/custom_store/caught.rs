//! Which rule of the suite notices which flaw. A suite that cannot fail proves nothing.

use std::{collections::BTreeSet, sync::Arc};

use idempotent_runtime::store::conformance::{Rule, rules};

use crate::flawed::Flawed;

macro_rules! flaws {
    ($($flaw:ident => $($rule:ident)+;)*) => {
        /// What is wrong with a [`Flawed`] store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Flaw { Nothing, $($flaw,)* }

        const CAUGHT_BY: &[(Flaw, &[&str])] = &[$((Flaw::$flaw, &[$(stringify!($rule)),+]),)*];

        #[allow(non_snake_case, reason = "each test is named after its flaw")]
        mod flaw {
            $(
                #[tokio::test(start_paused = true)]
                async fn $flaw() {
                    super::is_caught(super::Flaw::$flaw).await;
                }
            )*
        }
    };
}

flaws! {
    // Who may run
    GrantsWithoutAToken => a_first_claim_is_granted;
    EveryHandleIsAnotherStore => a_held_record_is_shown_as_it_stands of_many_claimers_one_is_granted;
    ReadsThenWrites => of_many_claimers_one_is_granted of_many_takers_one_is_granted
        a_finish_and_a_takeover_never_both_succeed;
    RefusesWhoLosesARace => both_of_two_claimers_are_answered;
    TakesTheVanishedForLost => a_record_that_vanishes_between_two_looks_is_claimed;
    WaitsForOtherKeys => keys_do_not_wait_for_each_other;
    RefusesARepeatedClaim => the_same_nonce_gets_the_same_grant;
    RefusesItsOwnLost => the_same_nonce_gets_the_same_grant;
    GrantsAfterItsRelease => the_same_nonce_gets_the_same_grant;
    ClaimsInTwoSteps => a_claim_that_was_dropped_can_be_repeated;
    ForgetsTheAttempts => a_failed_record_may_be_claimed;
    FailedPinsThePayload => a_failed_record_may_be_claimed;
    ReleaseForgets => a_failed_record_may_be_claimed;
    ForgetsThePayloadOnLapse => a_fingerprint_is_pinned;
    ForgetsThePayloadOnFinish => a_fingerprint_is_pinned a_finish_records_all_of_it;

    // Leases
    TakesALiveLease => a_live_or_renewed_lease_is_not_taken_over the_shortest_and_longest_leases_work;
    RenewLeavesTheAge => a_live_or_renewed_lease_is_not_taken_over;
    NeverLengthensALease => a_lapsed_lease_is_taken_over_with_a_longer_one;
    LengthensALeaseForEver => a_lapsed_lease_is_taken_over_with_a_longer_one;
    KeepsTheTokenOnTakeover => a_lapsed_lease_is_taken_over_with_a_longer_one;
    TakersPolicy => the_records_own_policy_decides;
    TakersLease => the_records_own_policy_decides;
    LostHasNoOwner => a_lapsed_lease_under_fail_is_lost a_lost_owner_may_still_settle;
    LostIsFinal => a_lapsed_lease_under_fail_is_lost a_lost_owner_may_still_settle;

    // Who may change a record
    FinishIgnoresTheNonce => another_nonce_changes_nothing an_overtaken_owner_is_refused;
    RenewIgnoresTheNonce => another_nonce_changes_nothing an_overtaken_owner_is_refused;
    ReleasesWhateverIsThere => another_nonce_changes_nothing after_its_release_an_owner_has_nothing;
    CompletesAfterItsRelease => after_its_release_an_owner_has_nothing;
    OverwritesDone => done_stays_done;
    AbandonsDone => done_stays_done;
    RefusesARepeatedFinish => done_stays_done after_its_release_an_owner_has_nothing;
    FinishesInTwoSteps => a_finish_that_was_dropped_can_be_repeated;
    RecordsEveryOutcomeAsOk => a_finish_records_all_of_it;
    DoesNotPutBack => a_missing_record_is_put_back;

    // Answers that were lost
    TakesALostAnswerForARefusal => a_lost_answer_is_not_guessed;
    TakesALostRequestForDone => a_lost_answer_is_not_guessed;

    // Time
    KeepsUnfinishedForAnHour => unfinished_records_are_held_for_seven_days
        a_lapsed_lease_is_taken_over_with_a_longer_one;
    KeepsDoneForHold => retention_restarts_on_complete the_shortest_and_longest_retentions_work;
    CountsRetentionFromTheClaim => retention_restarts_on_complete;
    TakesZeroForNoEnd => the_shortest_and_longest_retentions_work;
    NeverForgets => an_expired_keys_old_owner_is_refused unfinished_records_are_held_for_seven_days;
    SetsNoExpires => expires_follows_the_retention a_finish_records_all_of_it;
    ForgetsAtTheEnd => nothing_late_revives_a_finished_key past_its_end_a_record_is_as_none;
    KeepsWhatIsLarge => a_large_record_past_its_end_is_replaced;
    ShowsWhatHasEnded => past_its_end_a_record_is_as_none nothing_late_revives_a_finished_key;
    RevivesWhatHasEnded => nothing_late_revives_a_finished_key;
    KeepsReleasedForHold => released_records_are_kept_for_their_ttl;
    CountsTokensPerRecord => tokens_grow_across_everything an_expired_keys_old_owner_is_refused;

    // Keys and bytes
    FoldsTheCaseOfKeys => keys_of_every_kind_stay_apart;
    CutsKeys => keys_of_every_kind_stay_apart;
    TrimsKeys => keys_of_every_kind_stay_apart;
    CutsResults => results_come_back_byte_for_byte;
    ForgetsTheOwner => ttl_owner_and_trace_are_kept;
    ForgetsTheTrace => ttl_owner_and_trace_are_kept a_result_keeps_its_check;
    LosesTheCheck => a_result_keeps_its_check;
    MendsTheCheck => a_damaged_or_moved_result_is_incompatible;
    OverrulesWithTheOldCheck => nothing_late_undoes_an_overruling;
    OverwritesWhatItCannotRead => unreadable_bytes_are_left_alone;
    LocalFaceOfAnotherStore => the_local_face_is_the_same_store of_many_claimers_one_is_granted;
    LocalFaceGrantsWhatIsHeld => the_local_face_is_the_same_store of_many_claimers_one_is_granted;
    LocalFaceCompletesForAnybody => the_local_face_is_the_same_store;
    LocalFaceLooksUnderItsLock => a_look_holds_nobody_up;
    LocalFaceCompletesWhatIsDone => the_local_face_is_the_same_store;

    // Listings
    ListsOnePageOnly => a_listing_shows_every_record;
    ListsWhateverIsThere => a_listing_shows_what_was_asked_for;
    TakesThePrefixForAPattern => a_listing_shows_what_was_asked_for;
    ListsOtherNamespaces => a_namespace_lists_its_own_keys;

    // Operators' decisions
    OverrulesUnseen => an_overruling_replaces_only_what_was_seen;
    OverrulesTheMissing => an_overruling_replaces_only_what_was_seen;
    OverrulesWithoutLookingAtTheState => an_overruling_replaces_only_what_was_seen;
    OverrulesWithTheOldToken => nothing_late_undoes_an_overruling tokens_grow_across_everything;
    OverrulesWithTheOldNonce => nothing_late_undoes_an_overruling;
    RefusesARepeatedOverruling => nothing_late_undoes_an_overruling;
    ForgetsNothingDone => a_forgotten_key_runs_again;
    ResolvesToFailed => a_resolved_key_replays;

    // Waiters
    WakesNobody => a_change_wakes_the_subscribers;
    WakesNobodyOnAnOverruling => a_change_wakes_the_subscribers;
    WakesOnlyTheFirst => a_change_wakes_the_subscribers another_subscribers_leaving_wakes_nobody_less;
    KeepsSubscriptions => dropped_subscriptions_leave_nothing;
}

/// Runs the rules that are named for the flaw, each on a new store with it: every one of them must
/// fail.
async fn is_caught(flaw: Flaw) {
    let named = CAUGHT_BY
        .iter()
        .find(|(listed, _)| *listed == flaw)
        .map(|(_, rules)| *rules);
    for name in named.expect("a listed flaw") {
        let rule = rules().into_iter().find(|rule| rule.name() == *name);
        let caught = fails(rule.expect("a rule of the suite"), flaw).await;
        assert!(caught, "`{name}` does not see that a store {flaw:?}");
    }
}

async fn fails(rule: Rule<Flawed>, flaw: Flaw) -> bool {
    let subject = Arc::new(Flawed::with(flaw));
    let run = tokio::spawn(async move { rule.check(&*subject).await });
    run.await.is_err_and(|error| error.is_panic())
}

/// Without a flaw the same code passes, so what the tests above see is the flaw.
#[tokio::test(start_paused = true)]
async fn without_a_flaw_it_passes() {
    for rule in rules::<Flawed>() {
        let name = rule.name();
        assert!(!fails(rule, Flaw::Nothing).await, "{name}");
    }
}

/// No rule is there for show: each catches at least one flaw.
#[test]
fn every_rule_catches_something() {
    let all: BTreeSet<_> = rules::<Flawed>().iter().map(Rule::name).collect();
    let catching: BTreeSet<_> = CAUGHT_BY
        .iter()
        .flat_map(|(_, rules)| *rules)
        .copied()
        .collect();
    assert_eq!(all, catching);
}
