//! What is in the table, and what becomes of it.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use idempotent_runtime::{
    Store,
    key::Key,
    record::State,
    store::{ClaimReply, Filter, Settled, SqliteOptions, SqliteStore, SqliteSynchronous},
};
use rusqlite::params;
use tokio::runtime::Builder;

use crate::common::{File, done, first_call, granted, key, request};

/// All rows end.
fn end_all(file: &File) {
    let ended = file
        .outsider()
        .execute("UPDATE idempotent_records SET expires = 1", []);
    ended.expect("ended");
}

fn rows(file: &File) -> i64 {
    let count = "SELECT count(*) FROM idempotent_records";
    let count = file.outsider().query_row(count, [], |row| row.get(0));
    count.expect("counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_deletes_what_is_past_its_time_and_nothing_else() {
    let file = File::new();
    let store = SqliteOptions::new().with_sweep(false);
    let store = store.open(file.path()).expect("a path");
    assert_eq!(store.sweep().await.expect("swept"), 0);
    let fill = |prefix: &str, count: i32| {
        let connection = file.outsider();
        let fill = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             INSERT INTO idempotent_records SELECT '{prefix}|' || i, 1, 1, x'00' FROM n"
        );
        connection.execute(&fill, []).expect("filled");
    };
    fill("a", 2500);
    for number in 0..3 {
        first_call(&store, &key(&number.to_string()), b"kept").await;
    }
    fill("b", 10);
    assert_eq!(store.sweep().await.expect("swept"), 2510);
    assert_eq!(rows(&file), 3);
    for number in 0..3 {
        let found = store.read(&key(&number.to_string())).await.expect("read");
        assert_eq!(found.expect("a record").0.state, State::Done);
    }
}

/// The clock was ahead when that row was written, or has been set back since.
#[tokio::test]
async fn tokens_grow_past_a_row_that_nobody_has_deleted_yet() {
    let file = File::new();
    let store = file.store();
    let mut owned = first_call(&store, &key("1"), b"1").await;
    owned.token += 3_600_000_000;
    let last = owned.token;
    let mut ended = done(&owned, b"1");
    ended.expires = 1;
    file.outsider()
        .execute(
            "UPDATE idempotent_records SET expires = 1, record = ?1",
            params![ended.encode()],
        )
        .expect("changed");
    let record = granted(store.claim(&key("1"), &request()).await.expect("claim"));
    assert_eq!((record.token, record.attempts), (last + 1, 1));
    let settled = store.finish(&key("1"), &done(&record, b"2")).await;
    assert_eq!(settled.expect("finish"), Settled::Applied);
}

#[tokio::test]
async fn a_row_past_its_time_is_as_none() {
    let file = File::new();
    let store = file.store();
    let owned = first_call(&store, &key("1"), b"1").await;
    end_all(&file);
    assert!(store.read(&key("1")).await.expect("read").is_none());
    let page = store.list(&Filter::new(), None).await.expect("listed");
    assert!(page.records.is_empty());
    let settled = store.finish(&key("1"), &done(&owned, b"1")).await;
    assert_eq!(settled.expect("finish"), Settled::PutBack);
}

/// Only namespaces within namespaces make them.
#[tokio::test]
async fn keys_that_are_too_long_for_an_index_are_shortened() {
    let file = File::new();
    let store = file.store();
    let long = |last: &str| {
        let mut key = Key::new("payments.charge", &[&"1"]).expect("a key");
        for namespace in [last, "a", "b", "c", "d", "e", "f"] {
            key = key.in_namespace(&namespace.repeat(199));
        }
        key
    };
    let (one, other) = (long("x"), long("y"));
    assert!(one.as_str().len() > 1024);
    first_call(&store, &one, b"1").await;
    let longest = "SELECT max(length(key)) FROM idempotent_records";
    let longest: i64 = file
        .outsider()
        .query_row(longest, [], |row| row.get(0))
        .expect("a row");
    assert!(longest <= 265, "{longest}");
    let again = store.claim(&one, &request()).await.expect("claim");
    assert!(matches!(again, ClaimReply::Held { .. }), "{again:?}");
    granted(store.claim(&other, &request()).await.expect("claim"));
}

#[tokio::test]
async fn people_see_what_is_in_a_record() {
    let file = File::new();
    let store = file.store();
    let mut asked = request();
    asked.lease = Duration::from_secs(70_000);
    asked.trace = Some([1; 16]);
    let owned = granted(store.claim(&key("1"), &asked).await.expect("claim"));
    first_call(&store, &key("2"), &[0; 300]).await;
    let connection = file.outsider();
    let mut view = connection
        .prepare("SELECT state, token, lease_ms, attempts, result_bytes, substr(renewed, 1, 2), substr(expires, 1, 2) FROM idempotent_records_view ORDER BY key")
        .expect("a view");
    let seen = view.query_map([], |row| {
        let number = |at| row.get::<_, Option<i64>>(at);
        let text = |at| row.get::<_, String>(at);
        Ok((
            text(0)?,
            number(1)?,
            number(2)?,
            number(3)?,
            number(4)?,
            (text(5)?, text(6)?),
        ))
    });
    let seen: Vec<_> = seen.expect("rows").map(|row| row.expect("a row")).collect();
    let century = || ("20".to_owned(), "20".to_owned());
    let token = i64::try_from(owned.token).expect("below 2^53");
    assert_eq!(
        seen[0],
        (
            "running".to_owned(),
            Some(token),
            Some(70_000_000),
            Some(1),
            None,
            century()
        )
    );
    assert_eq!((&*seen[1].0, seen[1].4), ("done", Some(300)));
}

#[test]
fn several_runtimes_and_stores_use_one_file() {
    let file = File::new();
    let shared = file.store();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (shared, own) = (shared.clone(), file.store());
            std::thread::spawn(move || {
                let runtime = Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(async {
                    let mut granted = 0;
                    for number in 0..40 {
                        let key = key(&number.to_string());
                        let store = if number % 2 == thread % 2 {
                            &shared
                        } else {
                            &own
                        };
                        if let ClaimReply::Granted { record, .. } =
                            store.claim(&key, &request()).await.expect("claim")
                        {
                            store
                                .finish(&key, &done(&record, b"1"))
                                .await
                                .expect("finish");
                            granted += 1;
                        }
                    }
                    granted
                })
            })
        })
        .collect();
    let granted: i32 = threads
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .sum();
    assert_eq!(granted, 40);
}

/// Whoever drops a future leaves the command carried out or not, and the store as it was.
#[tokio::test]
async fn dropped_futures_leave_the_store_whole() {
    let file = File::new();
    let store = file.store();
    store.check().await.expect("a file");
    for number in 0..50 {
        let (key, request) = (key(&number.to_string()), request());
        {
            let mut claim = pin!(store.claim(&key, &request));
            let _ = claim.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        let owned = granted(store.claim(&key, &request).await.expect("claim"));
        let target = done(&owned, b"1");
        {
            let mut finish = pin!(store.finish(&key, &target));
            let _ = finish
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
        }
        let settled = store.finish(&key, &target).await.expect("finish");
        assert_eq!(settled, Settled::Applied);
    }
}

#[tokio::test]
async fn normal_synchronous_keeps_records_too() {
    let file = File::new();
    let open = || -> SqliteStore {
        let options = SqliteOptions::new().with_synchronous(SqliteSynchronous::Normal);
        options.open(file.path()).expect("a path")
    };
    first_call(&open(), &key("1"), b"1").await;
    let found = open().read(&key("1")).await.expect("read");
    assert_eq!(found.expect("a record").0.state, State::Done);
}

/// The clock was set back by a day, or somebody has changed the column.
#[tokio::test]
async fn a_row_dated_ahead_blocks_nobody_for_ever() {
    let file = File::new();
    let store = file.store();
    let owned = granted(store.claim(&key("1"), &request()).await.expect("claim"));
    let ahead = "UPDATE idempotent_records SET renewed = renewed + 86400000000, expires = expires + 86400000000";
    file.outsider().execute(ahead, []).expect("changed");
    match store.claim(&key("1"), &request()).await.expect("claim") {
        ClaimReply::Held { record, lease_left } => {
            assert_eq!((record, lease_left), (owned.clone(), owned.lease));
        }
        granted => panic!("it counts as just renewed: {granted:?}"),
    }
    // It is dated again, so a lease later it is lapsed.
    let past = "UPDATE idempotent_records SET renewed = renewed - 31000000";
    file.outsider().execute(past, []).expect("changed");
    granted(store.claim(&key("1"), &request()).await.expect("claim"));
}
