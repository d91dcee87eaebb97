//! Rules about who is granted the right to run.

use std::time::Duration;

use super::{
    Subject,
    trial::{
        LEASE, Trial, done, drop_after, failing, fingerprint, lost, new_key, paying, refused,
        released, request,
    },
};
use crate::{
    OnCrash,
    record::{MAX_TOKEN, Record},
    store::{ClaimRequest, Store},
};

/// A free key is granted, with the record that the request describes, and a token.
pub async fn a_first_claim_is_granted(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    for request in [paying(fingerprint(1)), failing()] {
        let key = new_key();
        assert_eq!(
            trial.record(&key).await,
            None,
            "a key nobody has used has no record"
        );
        let rule = "protocol::claim: no record is granted";
        let (record, takeover) = trial.grant(&key, &request, rule).await;
        assert!(!takeover, "nobody was overtaken on a first claim");
        assert!(
            (1..=MAX_TOKEN).contains(&record.token),
            "contract 6: a token is from 1 to 2^53 - 1: {}",
            record.token
        );
        let expected = Record {
            token: record.token,
            ..request.record()
        };
        assert_eq!(
            record, expected,
            "a first grant is the request's own record with a token"
        );
        trial
            .stands(
                &key,
                &record,
                "contract 2: the granted record is what a read shows",
            )
            .await;
    }
}

/// A second claim is shown the same record through any handle, and what is left of its lease.
pub async fn a_held_record_is_shown_as_it_stands(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let key = new_key();
    let (running, _) = trial
        .grant(&key, &paying(fingerprint(1)), "a free key")
        .await;
    let rule = "contract 2: another handle sees every acknowledged write";
    let (seen, left) = other.held(&key, &paying(fingerprint(1)), rule).await;
    assert_eq!(seen, running, "{rule}");
    assert!(
        left <= LEASE && !left.is_zero(),
        "lease_left of a running record just granted is {left:?} of {LEASE:?}"
    );

    trial.elapse(&key, LEASE / 2).await;
    let (_, left) = other
        .held(&key, &request(), "a lease half over holds")
        .await;
    assert!(
        left <= LEASE / 2,
        "contract 3: the store's clock uses up the lease; {left:?} of {LEASE:?} after half"
    );

    for end in [|owned: &Record| done(owned, b"result"), lost] {
        let key = new_key();
        let owned = trial.start(&key).await;
        let record = trial.finished(&key, &end(&owned)).await;
        let (seen, left) = other
            .held(&key, &request(), "protocol::claim: done and lost are held")
            .await;
        assert_eq!(
            (seen, left),
            (record, Duration::ZERO),
            "the record is shown whole; only a running one has a lease"
        );
    }
}

/// An owner whose grant was not answered claims again and gets the same grant. Claims of others in
/// between change nothing.
pub async fn the_same_nonce_gets_the_same_grant(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let rule = "contract 5 (safe to send twice): the same nonce gets the same grant";
    let (key, first) = (new_key(), failing());
    let (granted, _) = trial.grant(&key, &first, rule).await;
    assert_eq!(trial.grant(&key, &first, rule).await.0, granted, "{rule}");
    other.held(&key, &request(), "a live lease holds").await;
    assert_eq!(
        other.grant(&key, &first, rule).await.0,
        granted,
        "{rule}, through any handle"
    );

    trial.elapse(&key, 2 * LEASE).await;
    other
        .held(
            &key,
            &request(),
            "a lapsed lease under `fail` is lost, not granted",
        )
        .await;
    let (again, _) = trial
        .grant(
            &key,
            &first,
            "an owner that still asks has run nothing: granted though lost",
        )
        .await;
    assert_eq!(again, granted, "{rule}, also after others took it for lost");
    trial
        .stands(
            &key,
            &granted,
            "the grant that was told is the record: running",
        )
        .await;

    let (key, first, second) = (new_key(), request(), request());
    trial.grant(&key, &first, rule).await;
    trial.elapse(&key, 2 * LEASE).await;
    let (taken, _) = trial
        .grant(&key, &second, "a lapsed lease is taken over")
        .await;
    assert_eq!(
        trial.grant(&key, &second, rule).await.0,
        taken,
        "{rule}, of a takeover too"
    );
    let (seen, _) = trial
        .held(&key, &first, "the overtaken nonce has no grant any more")
        .await;
    assert_eq!(seen, taken, "the overtaken nonce sees its successor");

    let record = trial.finished(&key, &released(&taken)).await;
    let rule = "a claim's repeat that arrives after its own release is late: nobody waits for it, so it must not run";
    assert_eq!(trial.held(&key, &second, rule).await.0, record, "{rule}");
}

/// A claim that was dropped at any of its await points can be sent again: the key is this
/// attempt's, or still free.
pub async fn a_claim_that_was_dropped_can_be_repeated(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    for polls in 0..4 {
        let (key, request) = (new_key(), request());
        drop_after(polls, trial.store.claim(&key, &request)).await;
        let rule =
            "contract 9: a dropped claim may or may not have been made; the same nonce asks again";
        let (record, _) = trial.grant(&key, &request, rule).await;
        assert_eq!(record.attempts, 1, "{rule}; it is still the first grant");
        trial.finished(&key, &done(&record, b"")).await;
    }
}

/// After a release the next claim is granted, with any payload, as a further attempt of the key.
pub async fn a_failed_record_may_be_claimed(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let key = new_key();
    let (first, _) = trial
        .grant(&key, &paying(fingerprint(1)), "a free key")
        .await;
    trial.finished(&key, &released(&first)).await;
    let rule = "protocol::claim: failed → granted at once; a failed record pins no fingerprint";
    let second = ClaimRequest {
        lease: 3 * LEASE,
        ..paying(fingerprint(2))
    };
    let (record, takeover) = other.grant(&key, &second, rule).await;
    assert!(!takeover, "nobody was overtaken: the owner had released");
    assert!(
        record.token > first.token,
        "contract 6: tokens grow with every grant"
    );
    let expected = Record {
        token: record.token,
        attempts: 2,
        ..second.record()
    };
    assert_eq!(
        record, expected,
        "{rule}: the request's own record, its lease not doubled, counted as the second"
    );
    let rule = "the new grant pins its own payload";
    assert_eq!(
        trial.held(&key, &paying(fingerprint(1)), rule).await.0,
        record,
        "{rule}"
    );
    refused(
        &trial.finish(&key, &done(&first, b"late")).await,
        &record,
        "the released owner is refused",
    );
}

/// A claim with another payload is shown the record, whatever its state, and changes nothing, not
/// even if the lease has lapsed.
pub async fn a_fingerprint_is_pinned(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let rule = "the fingerprint is compared before anything else: another payload is Held and changes nothing";
    for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
        let (key, pinned) = (
            new_key(),
            ClaimRequest {
                on_crash,
                ..paying(fingerprint(1))
            },
        );
        let (owned, _) = trial.grant(&key, &pinned, "a free key").await;
        assert_eq!(
            trial.held(&key, &paying(fingerprint(2)), rule).await.0,
            owned,
            "{rule} (running)"
        );
        trial.elapse(&key, 2 * LEASE).await;
        assert_eq!(
            trial.held(&key, &paying(fingerprint(2)), rule).await.0,
            owned,
            "{rule} (running, lapsed)"
        );
        trial.stands(&key, &owned, rule).await;
        for target in [lost(&owned), done(&owned, b"result")] {
            let record = trial.finished(&key, &target).await;
            assert_eq!(
                record.fingerprint, pinned.fingerprint,
                "protocol::finish: the record keeps its fingerprint"
            );
            assert_eq!(
                trial.held(&key, &paying(fingerprint(2)), rule).await.0,
                record,
                "{rule} ({:?})",
                record.state
            );
        }
    }
    let rule = "a fingerprint that is absent on either side matches";
    for (first, second) in [
        (request(), paying(fingerprint(1))),
        (paying(fingerprint(1)), request()),
    ] {
        let key = new_key();
        trial.grant(&key, &first, "a free key").await;
        trial.elapse(&key, 2 * LEASE).await;
        trial.grant(&key, &second, rule).await;
    }
}
