//! Rules about writes whose answer is lost.

use super::{
    Loss, Subject,
    trial::{Trial, done, new_key, new_nonce, released, request},
};
use crate::{
    StoreError,
    key::Key,
    record::Record,
    store::{ClaimReply, Settled, Store},
};

const RULE: &str = "contract 8 (honest errors): a write whose answer is lost may have been carried out, and may not";

/// The answer to a write that was lost on its way is true, or says that the outcome is unknown.
/// Asking again with the same nonce gets what was asked for.
pub async fn a_lost_answer_is_not_guessed(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    for loss in [Loss::Answer, Loss::Request] {
        let (key, request) = (new_key(), request());
        if !subject.lose(&trial.store, loss).await {
            return;
        }
        match trial.store.claim(&key, &request).await {
            Ok(ClaimReply::Granted { record, .. }) => other.stands(&key, &record, RULE).await,
            Ok(held) => panic!("{RULE}: a claim of a free key answers {held:?}"),
            Err(error) => in_doubt("claim", loss, &error),
        }
        let rule = "contract 5 (safe to send twice): the same nonce gets the same grant";
        let (owned, _) = trial.grant(&key, &request, rule).await;

        assert!(subject.lose(&trial.store, loss).await);
        let renewed = trial.store.renew(&key, &owned).await;
        is_true(&other, "renew", loss, renewed, (&key, &owned)).await;
        other.stands(&key, &owned, RULE).await;

        for end in [done(&owned, b"result"), released(&owned)] {
            let key = new_key();
            trial.renew(&key, &owned).await; // It is put there.
            assert!(subject.lose(&trial.store, loss).await);
            let finished = trial.store.finish(&key, &end).await;
            is_true(&other, "finish", loss, finished, (&key, &end)).await;
            let record = trial.finished(&key, &end).await;

            let replacement = Record {
                nonce: new_nonce(),
                ..released(&owned)
            };
            assert!(subject.lose(&trial.store, loss).await);
            let store = &trial.store;
            let overruled = store.overrule(&key, Some(&record), &replacement).await;
            is_true(&other, "overrule", loss, overruled, (&key, &replacement)).await;
            let again = trial.overrule(&key, Some(&record), &replacement).await;
            assert_eq!(again, Settled::Applied, "contract 5: its repeat is applied");
        }
    }
}

/// A change that was reported as applied must be there.
async fn is_true<S: Subject>(
    other: &Trial<'_, S>,
    method: &str,
    loss: Loss,
    answer: Result<Settled, StoreError>,
    (key, asked): (&Key, &Record),
) {
    match answer {
        Ok(Settled::Applied) => {
            let stands = other.record(key).await;
            let stands = stands.map(|record| (record.state, record.nonce));
            let rule = "a write that was told to be applied is there";
            assert_eq!(stands, Some((asked.state, asked.nonce)), "{RULE}: {rule}");
        }
        Ok(settled) => panic!("{RULE}: `{method}` answers {settled:?}, its {loss:?} was lost"),
        Err(error) => in_doubt(method, loss, &error),
    }
}

fn in_doubt(method: &str, loss: Loss, error: &StoreError) {
    assert!(
        error.is_ambiguous(),
        "{RULE}: `{method}` is Ambiguous, not {:?}, when its {loss:?} was lost: {error}",
        error.kind()
    );
}
