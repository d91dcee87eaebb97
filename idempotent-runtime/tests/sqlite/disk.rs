//! A disk that takes no more: what was answered stands, what was not is told as it is, and replays
//! go on.
#![cfg(unix)]

use std::io::Read;

use idempotent_runtime::{
    Store,
    record::State,
    store::{ClaimReply, SqliteStore},
};

use crate::{
    child::{self, say},
    common::{File, done, key, request},
};

/// Several failures in a row: it is not over with the first.
const FAILURES: usize = 5;

/// First calls, until some have failed; then replays.
pub(crate) async fn fill(path: &str) {
    let store = SqliteStore::connect(path).await.expect("a file");
    let (mut finished, mut failures) = (Vec::new(), 0);
    for number in 0.. {
        let key = key(&number.to_string());
        let outcome = match store.claim(&key, &request()).await {
            Ok(ClaimReply::Granted { record, .. }) => {
                say(&format!("granted {number}"));
                store.finish(&key, &done(&record, &vec![7; 20_000])).await
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(_) => {
                say(&format!("finished {number}"));
                finished.push(key);
            }
            Err(error) => {
                say(&format!("failed {number} {:?}", error.kind()));
                failures += 1;
            }
        }
        if failures == FAILURES {
            break;
        }
    }
    for key in finished {
        let found = store.read(&key).await.expect("a replay");
        assert_eq!(found.expect("a record").0.state, State::Done);
    }
    say("replayed all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_is_told_and_nothing_is_lost() {
    let file = File::new();
    // No file may be larger than 300 KiB: writing beyond is an error of the disk.
    let limits = "trap '' XFSZ; ulimit -f 600";
    let mut child = child::start_after(limits, "fill", &file.path());
    let mut text = String::new();
    let mut output = child.stdout.take().expect("its output");
    output.read_to_string(&mut text).expect("its output");
    assert!(child.wait().expect("it has ended").success(), "{text}");
    let said: Vec<_> = text.lines().filter_map(child::said).collect();
    assert_eq!(said.last(), Some(&"replayed all"), "{text}");

    let store = file.store();
    let (mut finished, mut failed) = (0, 0);
    for line in said {
        let words: Vec<_> = line.split(' ').collect();
        let found = store.read(&key(words[1])).await.expect("read");
        let state = found.map(|(record, _)| record.state);
        match words[0] {
            "finished" => {
                assert_eq!(state, Some(State::Done), "{line}");
                finished += 1;
            }
            // What is not answered may be there or not, and is told as such.
            "failed" => {
                assert_eq!(words[2], "Ambiguous", "{line}");
                failed += 1;
            }
            "granted" => assert!(state.is_some(), "{line}"),
            _ => {}
        }
    }
    assert!(finished > 0 && failed == FAILURES, "{text}");
}
