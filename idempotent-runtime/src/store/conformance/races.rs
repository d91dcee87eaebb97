//! Rules about claims and finishes at the same time.

use std::sync::Arc;

use tokio::{sync::Barrier, time::timeout};

use super::{
    Subject,
    trial::{HANGS, HOUR, LEASE, Trial, done, failing, new_key, refused, request},
};
use crate::{
    key::Key,
    record::{HOLD, Record, State},
    store::{ClaimReply, ClaimRequest, Settled, Store},
};

const CLAIMERS: usize = 16;
const HANDLES: usize = 4;
const ROUNDS: usize = 8;

/// Claims in parallel tasks, over several handles, and also through the store's
/// [`LocalStore`](crate::store::LocalStore).
async fn claim_at_once<S: Subject>(
    handles: &[Arc<S::Store>],
    key: &Key,
    request: &ClaimRequest,
) -> Vec<ClaimReply> {
    let tasks: Vec<_> = (0..CLAIMERS)
        .map(|claimer| {
            let store = Arc::clone(&handles[claimer % handles.len()]);
            let key = key.clone();
            let request = ClaimRequest {
                nonce: super::trial::new_nonce(),
                ..request.clone()
            };
            tokio::spawn(async move {
                let local = store.local().filter(|_| claimer % 2 == 0);
                match local.and_then(|local| local.grant(&key, &request)) {
                    Some(token) => Ok(ClaimReply::Granted {
                        record: request.granted(token, 1, request.lease),
                        takeover: false,
                    }),
                    None => store.claim(&key, &request).await,
                }
            })
        })
        .collect();
    let mut replies = Vec::new();
    for task in tasks {
        let reply = timeout(HANGS, task)
            .await
            .expect("contract 1: one of many claims on one key hangs");
        replies.push(
            reply
                .expect("a claim panicked")
                .expect("a claim answered with an error"),
        );
    }
    replies
}

async fn handles<S: Subject>(subject: &S) -> Vec<Arc<S::Store>> {
    let mut handles = Vec::new();
    for _ in 0..HANDLES {
        handles.push(Arc::new(subject.store().await));
    }
    handles
}

/// Exactly one claim is granted. All others were shown its record, which is returned.
fn one_winner(replies: Vec<ClaimReply>, rule: &str) -> Record {
    let (mut winners, mut shown) = (Vec::new(), Vec::new());
    for reply in replies {
        match reply {
            ClaimReply::Granted { record, .. } => winners.push(record),
            ClaimReply::Held { record, .. } => shown.push(record),
        }
    }
    assert_eq!(
        winners.len(),
        1,
        "contract 1 (atomic): {rule}; these were granted: {winners:?}"
    );
    assert!(
        shown.iter().all(|record| *record == winners[0]),
        "{rule}; the others see the winner's record: {shown:?}"
    );
    winners.remove(0)
}

/// Of many claims for a free key, over several handles and threads, one is granted, and the others
/// see its record.
pub async fn of_many_claimers_one_is_granted<S: Subject>(subject: &S) {
    let handles = handles(subject).await;
    for _ in 0..ROUNDS {
        let replies = claim_at_once::<S>(&handles, &new_key(), &request()).await;
        one_winner(replies, "of many claims on a free key one is granted");
    }
}

/// Two claimers that begin together: whoever comes too late to see the winner's record before it
/// decides is answered all the same, and with that record.
pub async fn both_of_two_claimers_are_answered<S: Subject>(subject: &S) {
    let handles = handles(subject).await;
    for _ in 0..4 * ROUNDS {
        let (key, together) = (new_key(), Arc::new(Barrier::new(2)));
        let tasks: Vec<_> = handles[..2]
            .iter()
            .map(|store| {
                let (store, key, together) =
                    (Arc::clone(store), key.clone(), Arc::clone(&together));
                tokio::spawn(async move {
                    let request = request();
                    together.wait().await;
                    store.claim(&key, &request).await
                })
            })
            .collect();
        let mut replies = Vec::new();
        for task in tasks {
            let reply = timeout(HANGS, task).await;
            let reply = reply.expect("contract 1: one of two claims on one key hangs");
            replies.push(
                reply
                    .expect("a claim panicked")
                    .expect("a lost race is no error: the winner's record is the answer"),
            );
        }
        one_winner(replies, "of two claims on a free key one is granted");
    }
}

/// A record that is removed between two looks at it: whoever has seen it run is granted the free
/// key, as all others are.
pub async fn a_record_that_vanishes_between_two_looks_is_claimed<S: Subject>(subject: &S) {
    let (trial, handles) = (Trial::of(subject).await, handles(subject).await);
    let rule = "a record past its time is no record: the key is free, and nothing is in doubt";
    for _ in 0..ROUNDS {
        let key = new_key();
        trial.grant(&key, &failing(), "a free key").await;
        for store in &handles {
            let reply = store.claim(&key, &request()).await;
            assert!(
                matches!(reply, Ok(ClaimReply::Held { .. })),
                "a running owner's record is shown: {reply:?}"
            );
        }
        trial.elapse(&key, HOLD + HOUR).await;
        let winner = one_winner(claim_at_once::<S>(&handles, &key, &request()).await, rule);
        assert_eq!(winner.attempts, 1, "{rule}");
    }
}

/// Of many claims on one lapsed lease, one is granted under `rerun`, and none under `fail`.
pub async fn of_many_takers_one_is_granted<S: Subject>(subject: &S) {
    let (trial, handles) = (Trial::of(subject).await, handles(subject).await);
    for _ in 0..ROUNDS {
        let key = new_key();
        let owned = trial.start(&key).await;
        trial.elapse(&key, 2 * LEASE).await;
        let taken = one_winner(
            claim_at_once::<S>(&handles, &key, &request()).await,
            "a takeover names the nonce and state it saw and applies to that record only",
        );
        assert!(
            taken.token > owned.token && taken.attempts == 2,
            "one takeover is one grant: {owned:?} → {taken:?}"
        );
    }
    let key = new_key();
    trial.grant(&key, &failing(), "a free key").await;
    trial.elapse(&key, 2 * LEASE).await;
    for reply in claim_at_once::<S>(&handles, &key, &request()).await {
        let lost = matches!(&reply, ClaimReply::Held { record, .. } if record.state == State::Lost);
        assert!(
            lost,
            "of many takers of a lapsed `fail` record none is granted; the answer is {reply:?}"
        );
    }
}

/// A late finish of a lapsed owner races a takeover: one of them gets the record, and both are told
/// which.
pub async fn a_finish_and_a_takeover_never_both_succeed<S: Subject>(subject: &S) {
    let trial = Trial::of(subject).await;
    let (late, taker) = (
        Arc::new(subject.store().await),
        Arc::new(subject.store().await),
    );
    for round in 0..2 * ROUNDS {
        let key = new_key();
        let owned = trial.start(&key).await;
        trial.elapse(&key, 2 * LEASE).await;
        let finish = {
            let (store, key, target) = (Arc::clone(&late), key.clone(), done(&owned, b"late"));
            async move { store.finish(&key, &target).await }
        };
        let take = {
            let (store, key) = (Arc::clone(&taker), key.clone());
            async move { store.claim(&key, &request()).await }
        };
        let (settled, reply) = if round % 2 == 0 {
            let (finish, take) = (tokio::spawn(finish), tokio::spawn(take));
            (finish.await, take.await)
        } else {
            let (take, finish) = (tokio::spawn(take), tokio::spawn(finish));
            (finish.await, take.await)
        };
        let settled = settled
            .expect("finish panicked")
            .expect("finish answered with an error");
        let reply = reply
            .expect("claim panicked")
            .expect("claim answered with an error");
        match (settled, reply) {
            (Settled::Applied, ClaimReply::Held { record, .. }) => {
                assert_eq!(record.state, State::Done);
            }
            (settled, ClaimReply::Granted { record, .. }) => {
                refused(
                    &settled,
                    &record,
                    "contract 1 (atomic): the record is the taker's, so the finish is refused",
                );
            }
            both => panic!(
                "contract 1 (atomic): a late finish and a takeover contradict each other: {both:?}"
            ),
        }
    }
}

/// Keys with a running owner, and many keys at once, do not delay any other key.
pub async fn keys_do_not_wait_for_each_other<S: Subject>(subject: &S) {
    let handles = handles(subject).await;
    let tasks: Vec<_> = (0..64)
        .map(|index| {
            let store = Arc::clone(&handles[index % HANDLES]);
            // None of these is finished: a claim that waits for another key's owner waits for ever.
            tokio::spawn(async move { store.claim(&new_key(), &request()).await })
        })
        .collect();
    for task in tasks {
        let reply = timeout(HANGS, task)
            .await
            .expect("contract 1: a key waits for another key's running owner");
        let reply = reply
            .expect("a claim panicked")
            .expect("a claim answered with an error");
        assert!(
            matches!(reply, ClaimReply::Granted { .. }),
            "contract 1: every key is its own; got {reply:?}"
        );
    }
}
