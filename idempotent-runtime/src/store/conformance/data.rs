//! Rules about bytes that cannot be read, and about a store's second face.

use super::{
    Subject,
    trial::{TTL, Trial, done, fingerprint, new_key, new_nonce, paying, released, request},
};
use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    record::{Nonce, OutcomeRef, Record, State, VERSION},
    store::{ClaimRequest, Settled, Store},
};

/// Another version's record, and what is no record at all, answer Incompatible to everything and stay as they are.
pub async fn unreadable_bytes_are_left_alone(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let claim = request();
    let mut newer = claim.record().encode();
    newer[0] = VERSION + 1;
    let mut unknown_state = claim.record().encode();
    unknown_state[1] = b'X';
    let truncated = claim.record().encode()[..20].to_vec();
    for bytes in [
        newer,
        unknown_state,
        truncated,
        b"42".to_vec(),
        b"{\"state\":\"done\"}".to_vec(),
        vec![],
    ] {
        let key = new_key();
        if !subject.plant(&key, &bytes).await {
            return;
        }
        for _twice in 0..2 {
            all_incompatible(&trial, &key, &claim).await;
        }
    }
    let key = new_key();
    let planted = Record {
        token: 5,
        ..claim.record()
    };
    assert!(
        subject.plant(&key, &planted.encode()).await,
        "`Subject::plant` puts any bytes there"
    );
    let rule = "`Subject::plant` puts a record where the store reads it, or the rule above has shown nothing";
    trial.stands(&key, &planted, rule).await;
}

async fn all_incompatible<S: Subject>(trial: &Trial<'_, S>, key: &Key, claim: &ClaimRequest) {
    // The same nonce: not even the owner may touch what it cannot read.
    let owned = Record {
        token: 5,
        ..claim.record()
    };
    let replacement = Record {
        nonce: new_nonce(),
        ..released(&owned)
    };
    let store = &trial.store;
    incompatible("claim", &store.claim(key, &request()).await);
    incompatible("claim", &store.claim(key, claim).await);
    incompatible("read", &store.read(key).await);
    incompatible("renew", &store.renew(key, &owned).await);
    for target in [done(&owned, b"result"), released(&owned)] {
        incompatible("finish", &store.finish(key, &target).await);
    }
    for seen in [Some(&owned), None] {
        incompatible("overrule", &store.overrule(key, seen, &replacement).await);
    }
}

fn incompatible<T: std::fmt::Debug>(method: &str, answer: &Result<T, StoreError>) {
    let kind = answer.as_ref().map_err(StoreError::kind);
    assert!(
        matches!(kind, Err(StoreErrorKind::Incompatible)),
        "contract 7: `{method}` on bytes that are no record this version knows is Incompatible, not {kind:?}"
    );
}

/// A store with a [`LocalStore`](crate::store::LocalStore) face keeps one set of records behind both.
pub async fn the_local_face_is_the_same_store(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let Some(local) = trial.store.local() else {
        return;
    };
    let rule = "`local()` is the same store: what one face writes the other sees";
    let peeked = |key: &Key| {
        let mut seen: Option<(State, Nonce)> = None;
        local.peek(key, &mut |record| seen = Some((record.state, record.nonce)));
        seen
    };
    let (key, claim) = (new_key(), paying(fingerprint(1)));
    assert_eq!(
        peeked(&key),
        None,
        "peek shows nothing where there is no record"
    );
    let owned = match local.grant(&key, &claim) {
        Some(token) => claim.granted(token, 1, claim.lease),
        None => trial.grant(&key, &claim, rule).await.0,
    };
    assert_eq!(trial.record(&key).await.as_ref(), Some(&owned), "{rule}");
    assert_eq!(peeked(&key), Some((State::Running, claim.nonce)), "{rule}");
    for again in [&claim, &paying(fingerprint(2))] {
        let granted = local.grant(&key, again);
        assert_eq!(granted, None, "`grant` is for keys without a record");
    }

    let result = OutcomeRef::Ok(b"result");
    let stranger = Record {
        nonce: new_nonce(),
        ..owned.clone()
    };
    let refused = !local.complete(&key, &stranger, 7, result);
    assert!(refused, "another nonce is refused by the local face too");
    assert_eq!(trial.record(&key).await.as_ref(), Some(&owned), "{rule}");
    if !local.complete(&key, &owned, 7, result) {
        let settled = trial.finish(&key, &done(&owned, b"result")).await;
        assert_eq!(settled, Settled::Applied, "{rule}");
    }
    let repeated = local.complete(&key, &owned, 7, OutcomeRef::Ok(b"other"));
    assert!(!repeated, "what is done stays done");
    let record = trial.record(&key).await.expect(rule);
    assert_eq!(
        record,
        Record {
            expires: record.expires,
            // Nobody looks at it in a store that only this process reaches.
            check: record.check,
            ..done(&owned, b"result")
        },
        "{rule}"
    );
    assert!(record.expires > 0, "the local face sets `expires` too");
    trial.elapse(&key, 2 * TTL).await;
    assert_eq!(
        peeked(&key),
        None,
        "contract 4: an expired record is not shown, by peek neither"
    );
}
