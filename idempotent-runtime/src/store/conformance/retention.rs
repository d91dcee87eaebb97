//! Rules about how long a record is kept, and what stays after it.

use super::{
    Subject,
    trial::{
        DAY, HOUR, LEASE, TTL, Trial, done, failing, fingerprint, kept, leasing, lost, new_key,
        new_nonce, paying, refused, released, request,
    },
};
use crate::{
    record::{HOLD, MAX_LEASE, MAX_TOKEN, MAX_TTL, Record, State},
    store::Settled,
};

/// A result is kept for its own retention, counted from the complete: no less because the body was
/// slow, and no more.
pub async fn retention_restarts_on_complete(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let rule = "contract 4: a done record is kept for its `ttl`, counted from the finish";
    let key = new_key();
    let owned = trial.start(&key).await;
    trial.elapse(&key, 6 * DAY).await;
    let target = kept(done(&owned, b"result"), 3 * DAY);
    let record = trial.finished(&key, &target).await;
    trial.elapse(&key, 2 * DAY).await;
    trial.stands(&key, &record, rule).await;
    assert_eq!(trial.held(&key, &request(), rule).await.0, record, "{rule}");
    trial.elapse(&key, 2 * DAY).await;
    assert_eq!(
        trial.record(&key).await,
        None,
        "{rule}; afterwards it is as if it had never been"
    );

    let rule = "a done record's retention may be longer than HOLD";
    let key = new_key();
    let target = kept(done(&trial.start(&key).await, b"result"), 30 * DAY);
    let record = trial.finished(&key, &target).await;
    trial.elapse(&key, 29 * DAY).await;
    trial.stands(&key, &record, rule).await;
}

/// Running, failed and lost records are kept for [`HOLD`] from their last write, whatever the
/// lease.
pub async fn unfinished_records_are_held_for_seven_days(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let rule =
        "contract 4: running, failed and lost are kept for HOLD (7 days), counted from the write";
    for end in [released, lost] {
        let key = new_key();
        let (owned, _) = trial.grant(&key, &failing(), "a free key").await;
        trial.elapse(&key, 5 * DAY).await;
        let record = trial.finished(&key, &end(&owned)).await;
        trial.elapse(&key, 6 * DAY).await;
        trial.stands(&key, &record, rule).await;
        trial.elapse(&key, 2 * DAY).await;
        assert_eq!(trial.record(&key).await, None, "{rule}, and no longer");
    }
    let key = new_key();
    let (owned, _) = trial.grant(&key, &failing(), "a free key").await;
    trial.elapse(&key, 6 * DAY).await;
    assert_eq!(
        trial.renew(&key, &owned).await,
        Settled::Applied,
        "{rule}, though the lease lapsed long ago"
    );
    trial.elapse(&key, 6 * DAY).await;
    trial
        .stands(&key, &owned, "contract 4: a renew starts HOLD again")
        .await;
    assert_eq!(
        trial.held(&key, &request(), rule).await.0.state,
        State::Lost,
        "running, lapsed, fail → lost"
    );
    trial.elapse(&key, 6 * DAY).await;
    trial
        .stands(
            &key,
            &lost(&owned),
            "contract 4: declaring it lost is a write and starts HOLD again",
        )
        .await;

    let key = new_key();
    let (owned, _) = trial.grant(&key, &leasing(MAX_LEASE), "a free key").await;
    trial.elapse(&key, MAX_LEASE / 24 * 23).await;
    let rule = "a running record is kept for HOLD, not for a ttl: a lease of a day is a live owner for a day";
    assert_eq!(trial.held(&key, &request(), rule).await.0, owned, "{rule}");
}

/// The key has expired and has another owner: the old owner's late finish and renew are refused.
pub async fn an_expired_keys_old_owner_is_refused(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let rule = "after retention the key is free, as if it had never been used";
    let refusal =
        "expire → new claim with the same fingerprint → everything of the old owner is refused";
    let key = new_key();
    let (old, _) = trial
        .grant(&key, &paying(fingerprint(1)), "a free key")
        .await;
    trial.elapse(&key, HOLD + HOUR).await;
    assert_eq!(trial.record(&key).await, None, "{rule}");
    let claim = paying(fingerprint(1));
    let (new, takeover) = trial.grant(&key, &claim, rule).await;
    assert!(
        !takeover && new.attempts == 1 && new.lease == LEASE,
        "{rule}: a first grant, but it is {new:?}"
    );
    assert!(
        new.token > old.token,
        "contract 6: tokens grow across retention: {} → {}",
        old.token,
        new.token
    );
    for target in [done(&old, b"old"), released(&old), lost(&old)] {
        refused(&trial.finish(&key, &target).await, &new, refusal);
    }
    refused(&trial.renew(&key, &old).await, &new, refusal);
    trial.stands(&key, &new, refusal).await;

    let target = kept(done(&new, b"result"), HOUR);
    trial.finished(&key, &target).await;
    trial.elapse(&key, 2 * HOUR).await;
    let (third, _) = trial
        .grant(
            &key,
            &paying(fingerprint(2)),
            "an expired result pins nothing",
        )
        .await;
    refused(
        &trial.finish(&key, &done(&new, b"result")).await,
        &third,
        refusal,
    );
    trial.stands(&key, &third, refusal).await;
}

/// `expires` is the end of retention in done and failed records, also when they were put back. It
/// is zero in all others.
pub async fn expires_follows_the_retention(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let mut last = 0;
    for retain in [HOUR, 2 * DAY, HOLD, 365 * DAY, MAX_TTL] {
        let key = new_key();
        let target = kept(done(&trial.start(&key).await, b""), retain);
        let record = trial.finished(&key, &target).await;
        assert!(
            record.expires > last,
            "`expires` is the store's time plus the `ttl`: {} after {last}",
            record.expires
        );
        last = record.expires;
    }
    let year = u64::try_from((365 * DAY).as_millis()).unwrap_or(u64::MAX);
    assert!(
        last >= 99 * year,
        "`expires` counts milliseconds: {last} is less than the retention of a century"
    );
    assert!(
        last <= 400 * year,
        "`expires` counts milliseconds since 1970: {last} is too much"
    );

    let key = new_key();
    let owned = trial.start(&key).await;
    // The caller may send a record that it has read: the store sets `expires`, whatever the target
    // has.
    let stray = Record {
        expires: 1,
        ..done(&owned, b"")
    };
    assert!(
        trial.finished(&key, &stray).await.expires > 1,
        "the store sets `expires`, not the caller"
    );
    let (key, other) = (new_key(), new_key());
    let target = released(&trial.start(&key).await);
    let record = trial.finished(&key, &target).await;
    assert!(record.expires > 0, "`expires` is of failed records too");
    let target = lost(&trial.start(&other).await);
    let record = trial.finished(&other, &target).await;
    assert_eq!(
        record.expires, 0,
        "`expires` is of done and failed records only"
    );
}

/// Across release, takeover, expiry, an operator's decision and HOLD, the token of every grant is
/// larger.
pub async fn tokens_grow_across_everything(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let key = new_key();
    let mut owned = trial.start(&key).await;
    for step in [
        "release",
        "takeover",
        "expiry of a result",
        "forget",
        "resolve",
        "HOLD",
    ] {
        let floor = match step {
            "release" => trial.finished(&key, &released(&owned)).await.token,
            "takeover" => {
                trial.elapse(&key, owned.lease + HOUR).await;
                owned.token
            }
            "expiry of a result" => {
                let target = kept(done(&owned, b""), HOUR);
                trial.finished(&key, &target).await;
                trial.elapse(&key, 2 * HOUR).await;
                owned.token
            }
            "forget" | "resolve" => {
                let nonce = new_nonce();
                let replacement = Record {
                    nonce,
                    token: 0,
                    ..if step == "forget" {
                        released(&owned)
                    } else {
                        done(&owned, b"")
                    }
                };
                let settled = trial.overrule(&key, Some(&owned), &replacement).await;
                assert_eq!(
                    settled,
                    Settled::Applied,
                    "protocol::overrule: the record that was seen is replaced"
                );
                let token = trial.record(&key).await.expect("the replacement").token;
                assert!(
                    token > owned.token,
                    "contract 6: tokens grow with {step}: {} → {token}",
                    owned.token
                );
                if step == "resolve" {
                    trial.elapse(&key, TTL + HOUR).await;
                }
                token
            }
            _ => {
                trial.elapse(&key, HOLD + HOUR).await;
                owned.token
            }
        };
        let next = trial.start(&key).await;
        assert!(
            next.token > floor,
            "contract 6: tokens grow across {step}: {floor} → {}",
            next.token
        );
        assert!(
            next.token <= MAX_TOKEN,
            "contract 6: tokens stay below 2^53: {}",
            next.token
        );
        owned = next;
    }
}
