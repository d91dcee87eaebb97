//! Processes that are killed in the middle of a batch: what was answered stands.

use std::{
    io::{BufRead, BufReader},
    sync::Arc,
};

use idempotent_runtime::{
    Store,
    record::State,
    store::{ClaimReply, SqliteStore},
};

use crate::{
    child,
    common::{File, done, granted, key, request},
};

/// First calls from many tasks, each told once it is answered.
pub(crate) async fn call_for_ever(path: &str) {
    let store = SqliteStore::connect(path).await.expect("a file");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            for number in 0.. {
                let part = format!("{}-{task}-{number}", std::process::id());
                let key = key(&part);
                let owned = granted(store.claim(&key, &request()).await.expect("claim"));
                child::say(&format!("claimed {part} {}", owned.token));
                let result = owned.token.to_string();
                let finished = store.finish(&key, &done(&owned, result.as_bytes())).await;
                finished.expect("finish");
                child::say(&format!("finished {part} {}", owned.token));
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_kill() {
    let file = File::new();
    let mut told = Vec::new();
    for lines in [300, 1000, 50] {
        let mut child = child::start("first_calls", file.path());
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut seen = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if output.read_line(&mut line).expect("its output") == 0 {
                break;
            }
            if let Some(rest) = child::said(&line) {
                told.push(rest.to_owned());
                seen += 1;
                if seen == lines {
                    child.kill().expect("killed");
                }
            }
        }
        child.wait().expect("it has ended");
        assert!(seen >= lines, "it was killed while it worked");
    }
    let store = Arc::new(file.store());
    for line in &told {
        let words: Vec<_> = line.split(' ').collect();
        let [what, part, token] = words[..] else {
            continue; // cut by the kill
        };
        let Ok(token) = token.parse::<u64>() else {
            continue;
        };
        let found = store.read(&key(part)).await.expect("read");
        let (record, _) = found.unwrap_or_else(|| panic!("{line}, but nothing is there"));
        assert_eq!(record.token, token, "{line}");
        if what == "finished" {
            assert_eq!(record.state, State::Done, "{line}");
            let claim = store.claim(&key(part), &request()).await.expect("claim");
            assert!(matches!(claim, ClaimReply::Held { .. }), "{line}");
        }
    }
    let check: String = file
        .outsider()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("checked");
    assert_eq!(check, "ok");
}
