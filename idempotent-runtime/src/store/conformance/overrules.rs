//! Rules about an operator's decisions.

use super::{
    Subject,
    trial::{
        DAY, LEASE, Trial, done, failing, fingerprint, kept, lost, new_key, new_nonce, paying,
        refused, released, request,
    },
};
use crate::{
    key::Key,
    record::{Record, State},
    store::{ClaimRequest, Settled},
};

/// The replacement of `forget` and of `resolve(Rerun)`.
fn forgotten(seen: &Record) -> Record {
    Record {
        nonce: new_nonce(),
        fingerprint: None,
        outcome: None,
        codec: 0,
        expires: 0,
        ..released(seen)
    }
}

/// The replacement of `resolve(Done(value))`.
fn resolved(seen: &Record) -> Record {
    Record {
        nonce: new_nonce(),
        ..done(seen, b"resolved")
    }
}

/// The record equals the replacement, except for what the store sets: token and `expires`. Its
/// check fits the new token.
fn replaced(key: &Key, record: &Record, replacement: &Record, rule: &str) {
    let expected = Record {
        token: record.token,
        expires: record.expires,
        check: record.check,
        ..replacement.clone()
    };
    assert_eq!(*record, expected, "{rule}");
    assert!(
        record.is_sound(key),
        "protocol::overrule: the check of a done record goes with its token (the old check xor both tokens)"
    );
}

/// Only the record that the operator saw is replaced, by its nonce and state; or no record, if none
/// was seen.
pub async fn an_overruling_replaces_only_what_was_seen(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let rule = "protocol::overrule: replaces the very record that was seen, by nonce and state, and nothing else";
    let key = new_key();
    let running = trial.start(&key).await;
    let strange = Record {
        nonce: new_nonce(),
        ..running.clone()
    };
    for seen in [Some(&strange), Some(&lost(&running)), None] {
        refused(
            &trial.overrule(&key, seen, &forgotten(&running)).await,
            &running,
            rule,
        );
    }
    let record = trial.finished(&key, &done(&running, b"result")).await;
    refused(
        &trial
            .overrule(&key, Some(&running), &resolved(&running))
            .await,
        &record,
        rule,
    );
    trial.stands(&key, &record, rule).await;

    let key = new_key();
    let rule = "protocol::overrule: what was seen is gone: Absent, and nothing is written";
    assert_eq!(
        trial
            .overrule(&key, Some(&running), &resolved(&running))
            .await,
        Settled::Absent,
        "{rule}"
    );
    assert_eq!(trial.record(&key).await, None, "{rule}");

    let mut replacement = Record {
        token: 0,
        ..resolved(&running)
    };
    replacement.seal(&key);
    let rule =
        "protocol::overrule: no record was seen and there is none: the replacement is written";
    assert_eq!(
        trial.overrule(&key, None, &replacement).await,
        Settled::Applied,
        "{rule}"
    );
    let record = trial.record(&key).await.expect(rule);
    assert!(
        record.token > 0,
        "contract 6: the store gives the token, also where there was no record"
    );
    replaced(&key, &record, &replacement, rule);
}

/// The replacement has a new nonce and a larger token. No late message and no repetition changes
/// it.
pub async fn nothing_late_undoes_an_overruling(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    for decide in [forgotten, resolved] {
        for crashed in [false, true] {
            let key = new_key();
            let (owned, _) = trial.grant(&key, &failing(), "a free key").await;
            let mut seen = owned.clone();
            if crashed {
                trial.elapse(&key, 2 * LEASE).await;
                seen = trial
                    .held(&key, &request(), "running, lapsed, fail → lost")
                    .await
                    .0;
            }
            let mut replacement = decide(&seen);
            replacement.seal(&key);
            let rule = "protocol::overrule: the record that was seen becomes the replacement, with a larger token";
            let settled = other.overrule(&key, Some(&seen), &replacement).await;
            assert_eq!(settled, Settled::Applied, "{rule}");
            let record = trial.record(&key).await.expect(rule);
            assert!(
                record.token > owned.token,
                "contract 6: {rule}: {} → {}",
                owned.token,
                record.token
            );
            replaced(&key, &record, &replacement, rule);

            let rule = "contract 5 (safe to send twice): the same overruling again is Applied and changes nothing";
            assert_eq!(
                other.overrule(&key, Some(&seen), &replacement).await,
                Settled::Applied,
                "{rule}"
            );
            trial.stands(&key, &record, rule).await;

            let rule =
                "nothing late undoes a resolve or forget: the overruled owner's nonce is gone";
            refused(&trial.renew(&key, &owned).await, &record, rule);
            for target in [done(&owned, b"late"), released(&owned), lost(&owned)] {
                refused(&trial.finish(&key, &target).await, &record, rule);
            }
            refused(
                &trial.overrule(&key, Some(&seen), &forgotten(&seen)).await,
                &record,
                rule,
            );
            trial.stands(&key, &record, rule).await;
        }
    }
}

/// After `forget` the next claim is granted, with any payload, and the attempts are counted on.
pub async fn a_forgotten_key_runs_again(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let key = new_key();
    let (owned, _) = trial
        .grant(&key, &paying(fingerprint(1)), "a free key")
        .await;
    let record = trial.finished(&key, &done(&owned, b"wrong")).await;
    let settled = trial
        .overrule(&key, Some(&record), &forgotten(&record))
        .await;
    assert_eq!(
        settled,
        Settled::Applied,
        "protocol::overrule: a done record can be forgotten"
    );
    let forgotten = trial
        .record(&key)
        .await
        .expect("what forget leaves is a record: it keeps the token");
    let (again, takeover) = trial
        .grant(
            &key,
            &paying(fingerprint(2)),
            "after forget the key is free",
        )
        .await;
    assert!(!takeover, "nobody was overtaken: an operator decided");
    assert!(
        again.token > forgotten.token,
        "contract 6: tokens grow: {} → {}",
        forgotten.token,
        again.token
    );
    refused(
        &trial.finish(&key, &done(&owned, b"wrong")).await,
        &again,
        "the forgotten owner is refused",
    );
}

/// After `resolve(Done(value))` the value is replayed and kept for its retention, and its
/// fingerprint is compared.
pub async fn a_resolved_key_replays(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let key = new_key();
    let claim = ClaimRequest {
        fingerprint: Some(fingerprint(1)),
        ..failing()
    };
    trial.grant(&key, &claim, "a free key").await;
    trial.elapse(&key, 2 * LEASE).await;
    let (seen, _) = trial
        .held(&key, &request(), "running, lapsed, fail → lost")
        .await;
    let replacement = kept(resolved(&seen), 30 * DAY);
    let settled = trial.overrule(&key, Some(&seen), &replacement).await;
    assert_eq!(
        settled,
        Settled::Applied,
        "protocol::overrule: a lost record can be resolved"
    );
    let rule =
        "a resolved record is done: held, replayed, kept for its `ttl`, its fingerprint pinned";
    trial.elapse(&key, 20 * DAY).await;
    for claim in [request(), paying(fingerprint(1)), paying(fingerprint(2))] {
        let (record, _) = trial.held(&key, &claim, rule).await;
        assert_eq!(
            (record.state, &record.outcome),
            (State::Done, &replacement.outcome),
            "{rule}"
        );
        assert_eq!(record.fingerprint, Some(fingerprint(1)), "{rule}");
        assert!(
            record.expires > 0,
            "the store sets `expires` of a resolved record too"
        );
    }
    trial.elapse(&key, 20 * DAY).await;
    assert_eq!(trial.record(&key).await, None, "{rule}, and no longer");
}
