//! What the store answers if the database does not answer, or refuses.

use std::{future::Future, sync::Arc, time::Duration};

use idempotent_runtime::{
    Store, StoreErrorKind,
    key::Key,
    record::{Nonce, Record, RecordedBytes, State},
    store::{
        ClaimReply, ClaimRequest, Settled,
        cas::{self, CasStore},
        conformance::Loss,
    },
};

use crate::{
    database::{Database, Faults, Unread},
    table::Table,
};

pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const TTL: Duration = Duration::from_secs(3600);

pub(crate) fn key() -> Key {
    Key::new("cas", &[&"key"]).expect("a valid key")
}

/// The claim of the attempt with this number.
pub(crate) fn request(number: u8) -> ClaimRequest {
    let mut request = ClaimRequest::new(Nonce::from_bytes([number; 16]));
    request.lease = LEASE;
    request.ttl = TTL;
    request
}

pub(crate) fn done(owned: &Record) -> Record {
    let mut record = owned.clone();
    record.state = State::Done;
    record.outcome = Some(RecordedBytes::Ok([1][..].into()));
    record
}

#[track_caller]
pub(crate) fn granted(reply: ClaimReply) -> Record {
    match reply {
        ClaimReply::Granted { record, .. } => record,
        held => panic!("not granted: {held:?}"),
    }
}

fn store(faults: Faults) -> CasStore<Table> {
    let database = Arc::new(Database::default());
    *database.faults() = faults;
    CasStore::new(Table { database })
}

fn kind<T: std::fmt::Debug>(answer: Result<T, idempotent_runtime::StoreError>) -> StoreErrorKind {
    answer.expect_err("an error").kind()
}

/// Writes that the database was sent, and reads.
fn sent(store: &CasStore<Table>) -> (u32, u32) {
    let faults = store.table().database.faults();
    (faults.writes, faults.reads)
}

#[tokio::test]
async fn a_write_that_was_carried_out_is_found_by_reading() {
    let store = store(Faults {
        loss: Some(Loss::Answer),
        ..Faults::default()
    });
    let owned = granted(store.claim(&key(), &request(1)).await.expect("an answer"));
    assert_eq!(sent(&store), (1, 2), "it is read back, not written again");

    store.table().database.faults().loss = Some(Loss::Answer);
    let settled = store
        .finish(&key(), &done(&owned))
        .await
        .expect("an answer");
    assert_eq!(settled, Settled::Applied);
    assert_eq!(sent(&store), (2, 4), "read, written, read back");
}

#[tokio::test]
async fn a_write_that_may_still_come_is_ambiguous() {
    let store = store(Faults {
        loss: Some(Loss::Request),
        ..Faults::default()
    });
    let answer = store.claim(&key(), &request(1)).await;
    assert_eq!(kind(answer), StoreErrorKind::Ambiguous);
    assert_eq!(
        sent(&store),
        (1, 2),
        "it is not repeated: the caller's is the time"
    );
    granted(store.claim(&key(), &request(1)).await.expect("an answer"));
}

#[tokio::test]
async fn what_cannot_be_read_back_is_ambiguous() {
    for loss in [Loss::Answer, Loss::Request] {
        for unread in [Unread::Unanswered, Unread::Always] {
            let store = store(Faults {
                loss: Some(loss),
                unread_after_loss: unread,
                ..Faults::default()
            });
            let answer = store.claim(&key(), &request(1)).await;
            assert_eq!(
                kind(answer),
                StoreErrorKind::Ambiguous,
                "{loss:?}, {unread:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_load_that_is_not_answered_has_changed_nothing() {
    let store = store(Faults {
        unread: Unread::Unanswered,
        ..Faults::default()
    });
    let answer = store.claim(&key(), &request(1)).await;
    assert_eq!(kind(answer), StoreErrorKind::NotSent);
    assert_eq!(kind(store.read(&key()).await), StoreErrorKind::NotSent);
    assert_eq!(sent(&store).0, 0);
}

#[tokio::test]
async fn a_refusal_is_told_as_it_is_and_not_repeated() {
    let store = store(Faults {
        refused: 1,
        ..Faults::default()
    });
    let answer = store.claim(&key(), &request(1)).await;
    assert_eq!(kind(answer), StoreErrorKind::Refused);
    assert_eq!(sent(&store), (1, 1));
}

/// The heartbeat was carried out, and its repeat refused: "nothing changed" would be a lie.
#[tokio::test]
async fn a_refusal_after_a_lost_answer_is_ambiguous() {
    let store = store(Faults::default());
    let owned = granted(store.claim(&key(), &request(1)).await.expect("an answer"));
    *store.table().database.faults() = Faults {
        loss: Some(Loss::Answer),
        refused: 1,
        ..Faults::default()
    };
    let answer = store.renew(&key(), &owned).await;
    assert_eq!(kind(answer), StoreErrorKind::Ambiguous);
    assert_eq!(sent(&store).0, 2, "it was repeated, and refused");
}

#[tokio::test(start_paused = true)]
async fn a_race_that_is_lost_again_and_again_ends() {
    let store = store(Faults {
        overtaken: 3,
        ..Faults::default()
    });
    granted(store.claim(&key(), &request(1)).await.expect("an answer"));
    assert_eq!(sent(&store), (4, 4), "it is decided anew each time");

    store.table().database.faults().overtaken = u32::MAX;
    let mut late = request(2);
    late.lease = LEASE;
    let other = Key::new("cas", &[&"other"]).expect("a valid key");
    let answer = store.claim(&other, &late).await;
    assert_eq!(kind(answer), StoreErrorKind::Ambiguous);
}

#[tokio::test]
async fn what_is_no_row_of_ours_is_left_alone() {
    let store = store(Faults::default());
    let record = request(1).record().encode();
    let sound = cas::value(&record, 1_000_000);
    let mut damaged = vec![Vec::new(), b"42".to_vec(), record.clone()];
    // Every bit of when it was written.
    for bit in record.len() * 8..sound.len() * 8 {
        let mut value = sound.clone();
        value[bit / 8] ^= 1 << (bit % 8);
        damaged.push(value);
    }
    for value in damaged {
        store.table().database.plant(key().as_str(), value.clone());
        let claimed = store.claim(&key(), &request(1)).await;
        assert_eq!(kind(claimed), StoreErrorKind::Incompatible, "{value:?}");
        let finished = store.finish(&key(), &done(&request(1).record())).await;
        assert_eq!(kind(finished), StoreErrorKind::Incompatible, "{value:?}");
        let left = store.table().database.item(key().as_str()).expect("a row");
        assert_eq!(left.value, value);
    }
    store.table().database.plant(key().as_str(), sound);
    granted(store.claim(&key(), &request(1)).await.expect("an answer"));
}

/// A call that is given up at any of its awaits leaves the row as it was or written, and its repeat
/// finds its way.
#[tokio::test]
async fn a_call_that_is_dropped_is_repeated() {
    for polls in 0..6 {
        for loss in [None, Some(Loss::Answer)] {
            let store = store(Faults {
                loss,
                ..Faults::default()
            });
            {
                let (key, request) = (key(), request(1));
                let mut call = std::pin::pin!(store.claim(&key, &request));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                for _ in 0..polls {
                    if call.as_mut().poll(&mut context).is_ready() {
                        break;
                    }
                }
            }
            let owned = match store.claim(&key(), &request(1)).await {
                Ok(reply) => granted(reply),
                // The fault was still to come.
                Err(_) => granted(store.claim(&key(), &request(1)).await.expect("an answer")),
            };
            assert_eq!(owned.attempts, 1, "{polls} polls, {loss:?}");
        }
    }
}
