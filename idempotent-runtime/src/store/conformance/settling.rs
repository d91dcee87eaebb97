//! Rules about who may change a record: renew, complete, release and abandon.

use super::{
    Subject,
    trial::{
        LEASE, Trial, done, drop_after, failing, fingerprint, lost, new_key, new_nonce, paying,
        refused, released, request,
    },
};
use crate::{
    record::{Record, RecordedBytes, State},
    store::{ClaimRequest, Settled, Store, protocol},
};

/// A finish records the whole target, and every later claim sees it.
pub async fn a_finish_records_all_of_it(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let outcomes = [
        RecordedBytes::Ok(b"fine".as_slice().into()),
        RecordedBytes::Err(b"declined".as_slice().into()),
        RecordedBytes::NotRecorded(b"too large".as_slice().into()),
    ];
    for outcome in outcomes {
        let (key, claim) = (
            new_key(),
            ClaimRequest {
                fingerprint: Some(fingerprint(1)),
                ..failing()
            },
        );
        let (owned, _) = trial.grant(&key, &claim, "a free key").await;
        let target = Record {
            codec: u32::MAX,
            outcome: Some(outcome),
            ..done(&owned, b"")
        };
        let record = trial.finished(&key, &target).await;
        assert!(
            record.expires > 0,
            "the store sets `expires` of a done record, in milliseconds since 1970"
        );
        let expected = Record {
            expires: record.expires,
            ..target
        };
        assert_eq!(
            record, expected,
            "protocol::finish: the target is recorded whole: outcome, codec, fingerprint, …"
        );
        let rule = "protocol::claim: done is held, and shown whole through any handle";
        assert_eq!(
            other.held(&key, &paying(fingerprint(1)), rule).await.0,
            expected,
            "{rule}"
        );
    }
}

/// A finish that was dropped at any of its await points can be sent again.
pub async fn a_finish_that_was_dropped_can_be_repeated(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    for polls in 0..4 {
        let key = new_key();
        let target = done(&trial.start(&key).await, b"result");
        drop_after(polls, trial.store.finish(&key, &target)).await;
        trial.finished(&key, &target).await;
    }
}

/// A recorded result is final: its own owner cannot change it. Sending it again gets the same
/// answer.
pub async fn done_stays_done(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    for claim in [request(), failing()] {
        let key = new_key();
        let (owned, _) = trial.grant(&key, &claim, "a free key").await;
        let record = trial.finished(&key, &done(&owned, b"first")).await;
        let rule =
            "contract 5 (safe to send twice): the same finish again is Applied and changes nothing";
        assert_eq!(
            trial.finish(&key, &done(&owned, b"first")).await,
            Settled::Applied,
            "{rule}"
        );
        trial.stands(&key, &record, rule).await;
        let rule = "protocol::finish: done stays done, whatever its own owner asks for later";
        assert_eq!(
            trial.finish(&key, &done(&owned, b"second")).await,
            Settled::Applied,
            "{rule}"
        );
        trial.stands(&key, &record, rule).await;
        for target in [released(&owned), lost(&owned)] {
            refused(&trial.finish(&key, &target).await, &record, rule);
        }
        refused(
            &trial.renew(&key, &owned).await,
            &record,
            "protocol::renew: a done record does not run again",
        );
        trial.elapse(&key, 2 * LEASE).await;
        let rule = "a done record has no lease that could lapse";
        assert_eq!(trial.held(&key, &request(), rule).await.0, record, "{rule}");
        assert_eq!(
            trial.held(&key, &claim, rule).await.0,
            record,
            "{rule}, not even for its own nonce"
        );
        trial.stands(&key, &record, rule).await;
    }
}

/// The nonce decides: a message with another nonce changes nothing in any state, even if token and
/// all else agree.
pub async fn another_nonce_changes_nothing(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let ends: [fn(&Record) -> Record; 4] = [Record::clone, lost, released, |owned| {
        done(owned, b"result")
    }];
    for end in ends {
        let key = new_key();
        let owned = trial.start(&key).await;
        let target = end(&owned);
        let record = match target.state {
            State::Running => owned.clone(),
            _ => trial.finished(&key, &target).await,
        };
        let stranger = Record {
            nonce: new_nonce(),
            ..owned
        };
        let rule = "every change names the nonce it applies to: with another one it is Stale and changes nothing";
        for _twice in 0..2 {
            refused(&trial.renew(&key, &stranger).await, &record, rule);
            for target in [
                done(&stranger, b"stranger"),
                released(&stranger),
                lost(&stranger),
            ] {
                refused(&trial.finish(&key, &target).await, &record, rule);
            }
        }
        trial.stands(&key, &record, rule).await;
    }
}

/// A release ends the attempt: repeating it changes nothing, and no other message of that owner is
/// carried out.
pub async fn after_its_release_an_owner_has_nothing(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let key = new_key();
    let owned = trial.start(&key).await;
    let record = trial.finished(&key, &released(&owned)).await;
    let rule =
        "contract 5 (safe to send twice): the same release again is Applied and changes nothing";
    assert_eq!(
        trial.finish(&key, &released(&owned)).await,
        Settled::Applied,
        "{rule}"
    );
    let rule = "protocol: only running or lost is open to its owner; after a release nothing is";
    refused(&trial.renew(&key, &owned).await, &record, rule);
    refused(
        &trial.finish(&key, &done(&owned, b"late")).await,
        &record,
        rule,
    );
    refused(&trial.finish(&key, &lost(&owned)).await, &record, rule);
    trial.stands(&key, &record, rule).await;

    let successor = trial.start(&key).await;
    let rule =
        "a rejected owner never touches its successor's record, not even by repeating its release";
    for target in [released(&owned), lost(&owned), done(&owned, b"late")] {
        refused(&trial.finish(&key, &target).await, &successor, rule);
    }
    refused(&trial.renew(&key, &owned).await, &successor, rule);
    trial.stands(&key, &successor, rule).await;
}

/// After a takeover the record is the successor's, whatever the old owner sends, in whatever order.
pub async fn an_overtaken_owner_is_refused(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let key = new_key();
    let claim = paying(fingerprint(1));
    let (old, _) = trial.grant(&key, &claim, "a free key").await;
    trial.elapse(&key, 2 * LEASE).await;
    let (new, _) = other
        .grant(
            &key,
            &paying(fingerprint(1)),
            "running, lapsed, rerun → granted",
        )
        .await;
    let rule =
        "an overtaken owner is told Stale, shown its successor's record, and changes nothing";
    for _twice in 0..2 {
        refused(&trial.renew(&key, &old).await, &new, rule);
        for target in [done(&old, b"old"), released(&old), lost(&old)] {
            refused(&trial.finish(&key, &target).await, &new, rule);
        }
    }
    other.stands(&key, &new, rule).await;
    let record = other.finished(&key, &done(&new, b"new")).await;
    for target in [done(&old, b"old"), released(&old), lost(&old)] {
        refused(&trial.finish(&key, &target).await, &record, rule);
    }
    refused(&trial.renew(&key, &old).await, &record, rule);
    trial
        .stands(&key, &record, "the successor's result is what is recorded")
        .await;
}

/// A record that others made lost is still open to its owner, for every kind of finish.
pub async fn a_lost_owner_may_still_settle(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    for end in [|owned: &Record| done(owned, b"late"), released] {
        let key = new_key();
        let (owned, _) = trial.grant(&key, &failing(), "a free key").await;
        trial.elapse(&key, 2 * LEASE).await;
        other
            .held(&key, &request(), "running, lapsed, fail → lost")
            .await;
        let record = trial.finished(&key, &end(&owned)).await;
        let expected = Record {
            expires: record.expires,
            ..end(&owned)
        };
        assert_eq!(
            record, expected,
            "protocol::finish: an owner's late finish settles its lost record"
        );
    }
    let key = new_key();
    let (owned, _) = trial.grant(&key, &failing(), "a free key").await;
    let rule = "protocol::finish: an abandon under fail is lost, and repeats as itself";
    for _twice in 0..2 {
        assert_eq!(
            trial.finish(&key, &lost(&owned)).await,
            Settled::Applied,
            "{rule}"
        );
    }
    assert_eq!(
        other.held(&key, &request(), rule).await.0,
        lost(&owned),
        "{rule}"
    );
    let key = new_key();
    let (owned, _) = trial.grant(&key, &request(), "a free key").await;
    let rule = "protocol::renew: an owner under rerun that said its effects are unknown stays so, also when a heartbeat \
                that it sent before arrives late";
    let unknown = protocol::lost(&owned);
    trial.finished(&key, &unknown).await;
    assert_eq!(trial.renew(&key, &owned).await, Settled::Applied, "{rule}");
    trial.elapse(&key, 2 * LEASE).await;
    assert_eq!(
        other.held(&key, &request(), rule).await.0,
        unknown,
        "{rule}"
    );
}

/// A missing record is not another attempt's record: what the store lost is put back as asked.
pub async fn a_missing_record_is_put_back(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let rule = "no record is not Stale: renew and finish put it back and answer PutBack";
    let missing = || Record {
        token: 1,
        ..paying(fingerprint(1)).record()
    };

    let (key, owned) = (new_key(), missing());
    assert_eq!(trial.renew(&key, &owned).await, Settled::PutBack, "{rule}");
    trial
        .stands(&key, &owned, "a renew puts the running record back")
        .await;
    let (_, left) = trial
        .held(&key, &request(), "a record put back by a renew is alive")
        .await;
    assert!(
        !left.is_zero(),
        "a record put back by a renew has its lease"
    );
    assert_eq!(
        trial.renew(&key, &owned).await,
        Settled::Applied,
        "the next renew finds it"
    );

    let ends: [fn(&Record) -> Record; 3] = [lost, released, |owned| done(owned, b"result")];
    for end in ends {
        let (key, target) = (new_key(), end(&missing()));
        assert_eq!(
            trial.finish(&key, &target).await,
            Settled::PutBack,
            "{rule}"
        );
        let record = trial.record(&key).await.expect(rule);
        assert_eq!(
            record.expires > 0,
            record.state != State::Lost,
            "`expires` is of done and failed records only"
        );
        assert_eq!(
            record,
            Record {
                expires: record.expires,
                ..target.clone()
            },
            "a finish puts its target back"
        );
        assert_eq!(
            trial.finish(&key, &target).await,
            Settled::Applied,
            "contract 5: its repeat finds it"
        );
        trial
            .stands(&key, &record, "contract 5: a repeat changes nothing")
            .await;
    }
}
