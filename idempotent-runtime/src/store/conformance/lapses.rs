//! Rules about leases: when an owner is believed dead, and what that means.

use std::time::Duration;

use super::{
    Subject,
    trial::{DAY, HOUR, LEASE, Trial, failing, fingerprint, lost, new_key, request},
};
use crate::{
    OnCrash,
    record::{MAX_LEASE, State},
    store::{ClaimRequest, Settled},
};

/// Under `rerun` a silent owner is overtaken: with a larger token, one more attempt, and twice the
/// lease, up to 8 times the option.
pub async fn a_lapsed_lease_is_taken_over_with_a_longer_one(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let key = new_key();
    let mut last = trial.start(&key).await;
    for growth in [2, 4, 8, 8] {
        trial.elapse(&key, last.lease + HOUR).await;
        let rule = "protocol::claim: running, lapsed, rerun → granted";
        let (record, takeover) = other.grant(&key, &request(), rule).await;
        assert!(takeover, "{rule}, and told as a takeover");
        assert!(
            record.token > last.token,
            "contract 6: a takeover's token grows: {} → {}",
            last.token,
            record.token
        );
        assert_eq!(
            record.attempts,
            last.attempts + 1,
            "{rule}; each grant counts"
        );
        assert_eq!(
            record.lease,
            LEASE * growth,
            "a takeover grants twice the lapsed lease, at most 8× the option"
        );
        trial
            .stands(&key, &record, "the grant that was told is the record")
            .await;
        last = record;
    }
    for (option, longer, expected) in [
        (HOUR, 6 * HOUR, 6 * HOUR),
        (20 * HOUR, 20 * HOUR, MAX_LEASE),
    ] {
        let key = new_key();
        trial
            .grant(
                &key,
                &ClaimRequest {
                    lease: option,
                    ..request()
                },
                "a free key",
            )
            .await;
        trial.elapse(&key, option + HOUR).await;
        let (record, _) = trial
            .grant(
                &key,
                &ClaimRequest {
                    lease: longer,
                    ..request()
                },
                "a lapsed lease",
            )
            .await;
        assert_eq!(
            record.lease, expected,
            "a takeover's lease is never below the option and never over a day"
        );
    }
}

/// An owner that renews within its lease is left alone, however long it has been running.
pub async fn a_live_or_renewed_lease_is_not_taken_over(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    for request_of_owner in [request(), failing()] {
        let key = new_key();
        let (owned, _) = trial.grant(&key, &request_of_owner, "a free key").await;
        for _ in 0..3 {
            trial.elapse(&key, LEASE / 3 * 2).await;
            let rule = "protocol::renew: a heartbeat makes the owner's running record young again";
            assert_eq!(trial.renew(&key, &owned).await, Settled::Applied, "{rule}");
            trial.elapse(&key, LEASE / 3 * 2).await;
            let (seen, _) = other.held(&key, &request(), rule).await;
            assert_eq!(seen, owned, "{rule}, and changes nothing else");
        }
    }
}

/// Under `fail` a silent owner's record becomes lost and keeps its nonce. Only that owner may still
/// bring it back.
pub async fn a_lapsed_lease_under_fail_is_lost(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let key = new_key();
    let payload = Some(fingerprint(1));
    let (owned, _) = trial
        .grant(
            &key,
            &ClaimRequest {
                fingerprint: payload,
                ..failing()
            },
            "a free key",
        )
        .await;
    trial.elapse(&key, 2 * LEASE).await;
    let rule = "protocol::claim: running, lapsed, fail → lost, with its owner's nonce and all else";
    let expected = lost(&owned);
    for claim in [
        ClaimRequest {
            fingerprint: payload,
            ..failing()
        },
        request(),
    ] {
        assert_eq!(
            other.held(&key, &claim, rule).await,
            (expected.clone(), Duration::ZERO),
            "{rule}"
        );
    }
    trial.stands(&key, &expected, rule).await;

    let rule = "protocol::renew: a late heartbeat makes its own lost record run again";
    assert_eq!(trial.renew(&key, &owned).await, Settled::Applied, "{rule}");
    let (seen, left) = other.held(&key, &request(), rule).await;
    assert_eq!(seen, owned, "{rule}");
    assert!(!left.is_zero(), "{rule}, with its whole lease");
}

/// The lease and `on_crash` that count are those that the record was granted with, not those of a
/// later claim.
pub async fn the_records_own_policy_decides(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let rule = "the record's own on_crash decides what a lapse means, not the later caller's";
    let key = new_key();
    trial.start(&key).await;
    trial.elapse(&key, 2 * LEASE).await;
    let (taken, _) = trial.grant(&key, &failing(), rule).await;
    assert_eq!(
        taken.on_crash,
        OnCrash::Fail,
        "a grant carries its own request's policy"
    );
    trial.elapse(&key, taken.lease + HOUR).await;
    assert_eq!(
        trial.held(&key, &request(), rule).await.0.state,
        State::Lost,
        "{rule}"
    );

    let rule = "the record's own lease decides when it has lapsed, not the later caller's";
    let (key, brief) = (new_key(), Duration::from_millis(1));
    let (long, _) = trial
        .grant(
            &key,
            &ClaimRequest {
                lease: DAY,
                ..request()
            },
            "a free key",
        )
        .await;
    trial.elapse(&key, DAY / 2).await;
    assert_eq!(
        trial
            .held(
                &key,
                &ClaimRequest {
                    lease: brief,
                    ..request()
                },
                rule
            )
            .await
            .0,
        long,
        "{rule}"
    );
    let key = new_key();
    trial
        .grant(
            &key,
            &ClaimRequest {
                lease: brief,
                ..request()
            },
            "a free key",
        )
        .await;
    trial.elapse(&key, HOUR).await;
    trial
        .grant(
            &key,
            &ClaimRequest {
                lease: DAY,
                ..request()
            },
            rule,
        )
        .await;
}
