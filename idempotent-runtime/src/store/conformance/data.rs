//! Rules about bytes that cannot be read, and about a store's
//! [`LocalStore`](crate::store::LocalStore).

use super::{
    Subject,
    trial::{TTL, Trial, done, fingerprint, new_key, new_nonce, paying, released, request},
};
use crate::{
    SharedStore, StoreError, StoreErrorKind,
    key::Key,
    record::{Nonce, Record, RecordedBytesRef, State, VERSION},
    store::{ClaimRequest, LocalStore, Settled, Store},
};

/// A record of another version, and bytes that are no record, answer `Incompatible` to everything
/// and stay as they are.
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

/// How long to wait for a look to end.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

async fn all_incompatible<S: Subject>(trial: &Trial<'_, S>, key: &Key, claim: &ClaimRequest) {
    // With the same nonce: even the owner may not change what it cannot read.
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

/// A result with any one bit flipped, or stored at another key, is refused when it is replayed,
/// inspected or listed.
pub async fn a_damaged_or_moved_result_is_incompatible(subject: &impl Subject) {
    let store = SharedStore::new(subject.store().await);
    if store.local().is_some() {
        return; // Nobody else can write there.
    }
    let key = new_key();
    let mut whole = Record {
        token: 5,
        expires: 1 << 47,
        ..done(&paying(fingerprint(1)).record(), b"result")
    };
    whole.seal(&key);
    let bytes = whole.encode();
    if !subject.plant(&key, &bytes).await {
        return;
    }
    let read = |key: Key| {
        let store = &store;
        async move {
            store
                .read(&key)
                .await
                .map(|read| read.map(|(record, _)| record))
        }
    };
    assert_eq!(
        read(key.clone()).await.ok().flatten(),
        Some(whole),
        "a sound record is read"
    );
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        subject.plant(&key, &damaged).await;
        incompatible("read", &read(key.clone()).await);
        incompatible("claim", &store.claim(&key, &paying(fingerprint(1))).await);
    }
    for other in [new_key(), key.in_namespace("n")] {
        subject.plant(&other, &bytes).await;
        incompatible("read", &read(other.clone()).await);
        incompatible("claim", &store.claim(&other, &request()).await);
    }
}

/// A [`LocalStore`](crate::store::LocalStore) shows a record outside of its locks: the function
/// that looks may take long, and may be a user's code.
pub async fn a_look_holds_nobody_up(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let Some(local) = trial.store.local() else {
        return;
    };
    let key = new_key();
    let owned = trial.start(&key).await;
    for result in [vec![1], vec![2; 1 << 20]] {
        let key = new_key();
        let owned = trial.start(&key).await;
        trial.finished(&key, &done(&owned, &result)).await;
        looks_freely(local, &key, &owned);
    }
    looks_freely(local, &key, &owned);
}

fn looks_freely(local: &dyn LocalStore, key: &Key, owned: &Record) {
    let mut waited = None;
    // A scope around the look. If the store holds a lock, it has released it by the time the scope
    // joins the thread.
    std::thread::scope(|scope| {
        local.peek(key, &mut |_| {
            let (done, is_done) = std::sync::mpsc::channel();
            scope.spawn(move || {
                local.peek(key, &mut |_| {});
                // Both want the lock for writing. Neither succeeds: there is no such claim and no
                // such owner.
                let _ = local.grant(key, &request());
                let stranger = Record {
                    nonce: new_nonce(),
                    ..owned.clone()
                };
                let _ = local.complete(key, &stranger, 7, RecordedBytesRef::Ok(b"other"));
                let _ = done.send(());
            });
            waited = Some(is_done.recv_timeout(PATIENCE).is_ok());
        });
    });
    let rule = "LocalStore::peek: a record that is there is shown";
    assert!(
        waited.expect(rule),
        "LocalStore::peek: the look is under a lock that others want"
    );
}

/// A store and its [`LocalStore`](crate::store::LocalStore) share one set of records.
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

    let result = RecordedBytesRef::Ok(b"result");
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
    let repeated = local.complete(&key, &owned, 7, RecordedBytesRef::Ok(b"other"));
    assert!(!repeated, "what is done stays done");
    let record = trial.record(&key).await.expect(rule);
    assert_eq!(
        record,
        Record {
            expires: record.expires,
            // A store that only this process reaches need not keep the check.
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
