//! The log, cut anywhere: what a power cut leaves of it. What was answered before is there, and
//! nothing else.

use std::{collections::HashMap, fs};

use idempotent_runtime::{
    Store,
    record::{Record, RecordedBytes, State},
    store::{ClaimReply, Settled, SqliteStore},
};

use crate::common::{File, done, granted, key, request};

/// What a key's record must be.
type Told = HashMap<String, (State, u64, Option<Vec<u8>>)>;

fn told(record: &Record) -> (State, u64, Option<Vec<u8>>) {
    let result = match &record.outcome {
        Some(RecordedBytes::Ok(bytes)) => Some(bytes.to_vec()),
        _ => None,
    };
    (record.state, record.token, result)
}

/// How long the log was when what `told` says was answered.
struct Answered {
    length: u64,
    told: Told,
}

/// First calls of some sizes, errors that are released, renewals: one at a time, so that each
/// answer is one commit.
async fn work(file: &File, store: &SqliteStore) -> Vec<Answered> {
    let mut answered = Vec::new();
    let mut now = Told::new();
    let mut note = |part: &str, record: &Record| {
        now.insert(part.to_owned(), told(record));
        let length = fs::metadata(file.beside("records.db-wal"));
        answered.push(Answered {
            length: length.expect("a log").len(),
            told: now.clone(),
        });
    };
    for number in 0..40_usize {
        let part = number.to_string();
        let owned = granted(store.claim(&key(&part), &request()).await.expect("claim"));
        note(&part, &owned);
        let target = if number % 5 == 4 {
            let mut released = owned.clone();
            released.state = State::Failed;
            released
        } else {
            done(&owned, &vec![7; number * number])
        };
        let settled = store.finish(&key(&part), &target).await.expect("finish");
        assert_eq!(settled, Settled::Applied);
        note(&part, &target);
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_cut_anywhere_has_all_that_was_answered_before() {
    let file = File::new();
    let store = file.store();
    store.check().await.expect("a file");
    let answered = work(&file, &store).await;
    let data = fs::read(file.path()).expect("the file");
    let log = fs::read(file.beside("records.db-wal")).expect("the log");
    let longest = answered.last().expect("answers").length;
    assert_eq!(longest, log.len() as u64, "no checkpoint came between");

    // Evenly, and right before, at and behind the ends of commits.
    let even = (0..120).map(|part| longest * part / 119);
    let ends = answered.iter().step_by(3).flat_map(|answer| {
        let end = answer.length;
        [end - 1, end, end + 1]
    });
    let cuts: Vec<u64> = even.chain(ends).filter(|cut| *cut <= longest).collect();
    assert!(cuts.len() >= 200, "{}", cuts.len());
    for cut in cuts {
        let after = File::new();
        fs::write(after.path(), &data).expect("copied");
        let kept = usize::try_from(cut).expect("a length");
        fs::write(after.beside("records.db-wal"), &log[..kept]).expect("copied");
        let before = answered.iter().rev().find(|answer| answer.length <= cut);
        let nothing = Told::new();
        stands(&after, before.map_or(&nothing, |answer| &answer.told), cut).await;
    }
}

async fn stands(file: &File, told_before: &Told, cut: u64) {
    let store = file.store();
    for number in 0..40 {
        let part = number.to_string();
        let found = store.read(&key(&part)).await.expect("read");
        let found = found.map(|(record, _)| told(&record));
        assert_eq!(
            found.as_ref(),
            told_before.get(&part),
            "key {part}, cut at {cut}"
        );
    }
    let Some((state, token, _)) = told_before.get("3") else {
        return;
    };
    match store.claim(&key("3"), &request()).await.expect("claim") {
        ClaimReply::Held { record, .. } => {
            assert_eq!((&record.state, &record.token), (state, token));
        }
        other => panic!("not held: {other:?}"),
    }
}
