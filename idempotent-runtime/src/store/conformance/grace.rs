//! Rules about a finished record past its end: only late messages and the next claim meet it.

use std::time::Duration;

use super::{
    Subject,
    trial::{
        DAY, HOUR, LEASE, Trial, done, failing, fingerprint, kept, lost, new_key, new_nonce,
        paying, refused, released, request,
    },
};
use crate::{
    record::{DONE_HEADER, HOLD, MAX_TOKEN, Owner, Record, RecordedBytes, State},
    store::{ClaimReply, ClaimRequest, Settled},
};

const SECOND: Duration = Duration::from_secs(1);

/// A released record is kept for its own `ttl`, and for HOLD at most.
pub async fn released_records_are_kept_for_their_ttl(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let rule = "contract 4: a failed record is kept for its `ttl`, but at most for HOLD";
    for (ttl, during, after) in [
        (HOUR, HOUR / 2, HOUR),
        (DAY, 23 * HOUR, 2 * HOUR),
        (30 * DAY, HOLD / 8 * 7, 2 * DAY),
    ] {
        let key = new_key();
        let target = kept(released(&trial.start(&key).await), ttl);
        let record = trial.finished(&key, &target).await;
        trial.elapse(&key, during).await;
        trial.stands(&key, &record, rule).await;
        trial.elapse(&key, after).await;
        assert_eq!(trial.record(&key).await, None, "{rule} ({ttl:?})");
    }
}

/// The next claim replaces a record past its end also where that is as large as a result may be.
pub async fn a_large_record_past_its_end_is_replaced(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let key = new_key();
    let first = trial.start(&key).await;
    let result = vec![7; subject.max_result() - DONE_HEADER];
    let target = kept(done(&first, &result), SECOND);
    trial.finished(&key, &target).await;
    trial.elapse(&key, 10 * SECOND).await;
    let rule = "a record past its end is as none, however large it is";
    let (second, takeover) = trial.grant(&key, &request(), rule).await;
    assert!(
        second.token > first.token && !takeover,
        "{rule}: {second:?}"
    );
    trial.finished(&key, &done(&second, b"small")).await;
}

/// A key whose record has a large token, ends in a second, and is then kept for twice its lease.
async fn ending<S: Subject>(
    trial: &Trial<'_, S>,
    end: fn(&Record) -> Record,
) -> (crate::key::Key, Record) {
    let key = new_key();
    let granted = Record {
        // Larger than any clock's time: the next token must be taken from the record.
        token: MAX_TOKEN - 1000,
        attempts: 7,
        ttl: SECOND,
        ..paying(fingerprint(1)).record()
    };
    let settled = trial.finish(&key, &end(&granted)).await;
    assert_eq!(
        settled,
        Settled::PutBack,
        "a finish puts a missing record back"
    );
    let record = trial.record(&key).await.expect("it has just been put back");
    trial.elapse(&key, 10 * SECOND).await;
    (key, record)
}

fn finish_done(owned: &Record) -> Record {
    done(owned, b"result")
}

const ENDS: [fn(&Record) -> Record; 2] = [finish_done, released];

/// Past its end a record counts as none for readers, operators and the next claim, except for its
/// token and its attempts.
pub async fn past_its_end_a_record_is_as_none(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    for end in ENDS {
        let (key, ended) = ending(&trial, end).await;
        let rule = "contract 4: past its end a record is shown to nobody";
        assert_eq!(trial.record(&key).await, None, "{rule}");
        let rule =
            "protocol::claim: past its end a record is as none, but tokens go on from its own";
        let claim = paying(fingerprint(2));
        let (record, takeover) = other.grant(&key, &claim, rule).await;
        assert!(!takeover, "{rule}: nobody is overtaken");
        assert!(
            record.token > ended.token,
            "contract 6: {rule}: {} → {}",
            ended.token,
            record.token
        );
        let expected = Record {
            token: record.token,
            attempts: ended.attempts + 1,
            ..claim.record()
        };
        assert_eq!(record, expected, "{rule}, and its attempts");

        let (key, ended) = ending(&trial, end).await;
        let replacement = Record {
            nonce: new_nonce(),
            ..kept(done(&ended, b"resolved"), DAY)
        };
        let rule = "protocol::overrule: past its end a record is as none";
        let settled = trial.overrule(&key, Some(&ended), &replacement).await;
        assert_eq!(settled, Settled::Absent, "{rule}, though it was seen");
        assert_eq!(trial.record(&key).await, None, "{rule}");
        let settled = trial.overrule(&key, None, &replacement).await;
        assert_eq!(settled, Settled::Applied, "{rule}");
        let record = trial.record(&key).await.expect(rule);
        assert!(
            record.token > ended.token,
            "contract 6: {rule}, but tokens go on from its own: {} → {}",
            ended.token,
            record.token
        );
    }
}

/// However late a claim, a renew or a finish arrives, it does not make a finished key run again.
pub async fn nothing_late_revives_a_finished_key(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let rule = "a finished record is kept for `protocol::grace` past its end, so that what comes late meets it";
    for end in ENDS {
        let (key, ended) = ending(&trial, end).await;
        let owned = Record {
            state: State::Running,
            codec: 0,
            expires: 0,
            outcome: None,
            ..ended.clone()
        };
        let stranger = Record {
            nonce: new_nonce(),
            ..owned.clone()
        };
        for _twice in 0..2 {
            for late in [&owned, &stranger] {
                refused(&trial.renew(&key, late).await, &ended, rule);
                for target in [done(late, b"late"), released(late), lost(late)] {
                    let settled = trial.finish(&key, &target).await;
                    if late.nonce == ended.nonce && target.state == ended.state {
                        assert_eq!(settled, Settled::Applied, "contract 5: a repeat is Applied");
                    } else {
                        refused(&settled, &ended, rule);
                    }
                }
            }
            let repeated = ClaimRequest {
                nonce: ended.nonce,
                ..paying(fingerprint(1))
            };
            let reply = trial.claim(&key, &repeated).await;
            assert!(
                matches!(reply, ClaimReply::Held { .. }),
                "{rule}: a claim's late repeat gets nothing, but the answer is {reply:?}"
            );
            assert_eq!(
                trial.record(&key).await,
                None,
                "{rule}, and changes nothing"
            );
        }
        let (next, _) = trial.grant(&key, &request(), rule).await;
        refused(&trial.renew(&key, &owned).await, &next, rule);
        refused(&trial.finish(&key, &finish_done(&owned)).await, &next, rule);
        trial.stands(&key, &next, rule).await;
    }
}

/// Owner, trace and `ttl` of the claim are kept in the record.
pub async fn ttl_owner_and_trace_are_kept(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let named = |name: &str, trace| ClaimRequest {
        ttl: 3 * DAY,
        owner: Owner::new(name),
        trace,
        ..failing()
    };
    let long = "é".repeat(Owner::MAX / 2);
    for (name, trace) in [
        ("host:1", Some([7; 16])),
        (&long, None),
        ("", Some([0; 16])),
    ] {
        let rule = "the record keeps ttl, owner and trace of the request";
        let (key, claim) = (new_key(), named(name, trace));
        let (running, _) = trial.grant(&key, &claim, "a free key").await;
        let expected = Record {
            token: running.token,
            ..claim.record()
        };
        assert_eq!(running, expected, "{rule}");
        other.stands(&key, &running, rule).await;
        assert_eq!(trial.renew(&key, &running).await, Settled::Applied);
        other
            .stands(&key, &running, "a heartbeat changes nothing of it")
            .await;
        trial.elapse(&key, 2 * LEASE).await;
        let (seen, _) = other.held(&key, &request(), "lapsed under fail").await;
        assert_eq!(seen, lost(&running), "a lost record still tells who ran it");

        for target in [finish_done(&running), released(&running)] {
            let key = new_key();
            let claim = named(name, trace);
            let (owned, _) = trial.grant(&key, &claim, "a free key").await;
            let target = Record {
                nonce: owned.nonce,
                token: owned.token,
                ..target
            };
            let record = trial.finished(&key, &target).await;
            let expected = Record {
                expires: record.expires,
                owner: None,
                ..target
            };
            assert_eq!(
                record, expected,
                "{rule}; of a finished one nobody is the owner"
            );
        }
    }
}

/// A result keeps the check that its writer made, so that damage, or a copy at another key, is
/// noticed.
pub async fn a_result_keeps_its_check(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let rule =
        "`check` is the writer's: the store keeps it, and all that it guards, as it was sent";
    for outcome in [
        RecordedBytes::Ok(b"".as_slice().into()),
        RecordedBytes::Err(b"declined".as_slice().into()),
        RecordedBytes::NotRecorded(b"too large".as_slice().into()),
    ] {
        let (key, claim) = (new_key(), paying(fingerprint(1)));
        let (owned, _) = trial.grant(&key, &claim, "a free key").await;
        let mut target = Record {
            outcome: Some(outcome),
            trace: Some([3; 16]),
            ..done(&owned, b"")
        };
        target.seal(&key);
        let record = trial.finished(&key, &target).await;
        assert_eq!(record.check, target.check, "{rule}");
        assert!(
            record.is_sound(&key) && !record.is_sound(&new_key()),
            "{rule}"
        );
        let (held, _) = other.held(&key, &request(), "done is held").await;
        assert!(held.is_sound(&key), "{rule}");
    }
}
