//! Files and tables that are not fit: one clear error, nothing overwritten, and no panic.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use idempotent_runtime::{
    Store, StoreError, StoreErrorKind,
    store::{SQLITE_SCHEMA, SqliteOptions, SqliteStore},
};
use rusqlite::Connection;

use crate::{
    child,
    common::{File, done, first_call, granted, key, request},
};

#[track_caller]
fn is_config(error: &StoreError, word: &str) {
    assert_eq!(error.kind(), StoreErrorKind::Config, "{error}");
    assert!(error.to_string().contains(word), "{error}");
}

async fn refused(path: impl AsRef<Path> + Send, word: &str) {
    let store = SqliteStore::new(path).expect("a path");
    for _ in 0..2 {
        is_config(&store.check().await.expect_err("it is not fit"), word);
        let claim = store.claim(&key("1"), &request()).await;
        is_config(&claim.expect_err("it is not fit"), word);
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_opened_is_told() {
    let file = File::new();
    refused(file.path().parent().expect("a folder"), "directory").await;
    refused(file.beside("none/records.db"), "directory there").await;
    for path in ["", ":memory:", "a\0b"] {
        let error = SqliteStore::new(path).expect_err("no path of a file");
        assert_eq!(error.kind(), StoreErrorKind::Config);
    }
}

#[tokio::test]
async fn a_missing_file_is_not_made_where_that_is_not_wanted() {
    let file = File::new();
    let store = SqliteOptions::new().with_file_creation(false);
    let store = store.open(file.path()).expect("a path");
    is_config(&store.check().await.expect_err("no file"), "does not exist");
    is_config(
        &store.migrate().await.expect_err("no file"),
        "does not exist",
    );
    assert!(!file.path().exists());
    // Somebody else makes it.
    first_call(&file.store(), &key("1"), b"1").await;
    let found = store.read(&key("1")).await.expect("there is a file");
    assert!(found.is_some());
}

/// Has the file open until its input ends.
pub(crate) async fn hold(path: &str) {
    let store = SqliteStore::connect(path).await.expect("a file");
    for number in 0..50 {
        first_call(&store, &key(&number.to_string()), &[7; 500]).await;
    }
    child::say("open");
    let mut input = String::new();
    std::io::stdin().read_line(&mut input).expect("its end");
}

/// The log of a deleted file belongs to the process that has that file open. A process that is
/// started then finds it beside no file, and is told what that is.
#[cfg(unix)]
#[tokio::test]
async fn a_log_of_a_deleted_file_is_told() {
    let file = File::new();
    let mut running = child::start("hold", file.path());
    let output = BufReader::new(running.stdout.take().expect("its output"));
    let mut lines = output.lines().map(|line| line.expect("a line"));
    assert!(lines.any(|line| child::said(&line) == Some("open")));
    fs::remove_file(file.path()).expect("deleted");
    refused(file.path(), "beside it").await;
    drop(running.stdin.take());
    running.wait().expect("it ends");
    // All have ended, and the next one begins anew.
    first_call(&file.store(), &key("1"), b"1").await;
}

#[tokio::test]
async fn what_is_no_database_is_left_as_it_is() {
    let file = File::new();
    let text = "a diary, and by no means a database ".repeat(100);
    fs::write(file.path(), &text).expect("written");
    refused(file.path(), "no SQLite database").await;
    assert_eq!(fs::read_to_string(file.path()).expect("read"), text);
}

#[tokio::test]
async fn a_damaged_file_is_told() {
    let file = File::new();
    {
        let store = file.store();
        for number in 0..200 {
            first_call(&store, &key(&number.to_string()), &[7; 500]).await;
        }
    }
    let outsider = file.outsider();
    let copied = outsider.execute("VACUUM INTO ?1", [file.beside("copy.db").to_str()]);
    copied.expect("a copy");
    let mut bytes = fs::read(file.beside("copy.db")).expect("read");
    let end = bytes.len();
    bytes[4096..end].fill(0x5a);
    fs::write(file.beside("copy.db"), bytes).expect("written");
    let store = SqliteStore::new(file.beside("copy.db")).expect("a path");
    let claim = store.claim(&key("7"), &request()).await;
    is_config(&claim.expect_err("it is damaged"), "damaged");
}

#[tokio::test]
async fn another_programs_table_is_left_as_it_is() {
    let file = File::new();
    let theirs = file.outsider();
    let made = theirs.execute_batch(
        "CREATE TABLE Idempotent_Records (key TEXT PRIMARY KEY, answer TEXT); INSERT INTO idempotent_records VALUES ('a', 'b');",
    );
    made.expect("made");
    refused(file.path(), "with_table").await;
    let store = SqliteOptions::new().with_table("billing_records");
    let store = store.open(file.path()).expect("a name");
    first_call(&store, &key("1"), b"1").await;
    let answer: String = theirs
        .query_row("SELECT answer FROM idempotent_records", [], |row| {
            row.get(0)
        })
        .expect("their row");
    assert_eq!(answer, "b");
    let ours: i64 = theirs
        .query_row("SELECT count(*) FROM billing_records_view", [], |row| {
            row.get(0)
        })
        .expect("our view");
    assert_eq!(ours, 1);
}

#[tokio::test]
async fn a_table_of_another_version_is_left_as_it_is() {
    for (number, word) in [("2", "update this program"), ("0", "no release")] {
        let file = File::new();
        let schema = SQLITE_SCHEMA.replace("idempotent-fn 1", &format!("idempotent-fn {number}"));
        file.outsider().execute_batch(&schema).expect("made");
        refused(file.path(), word).await;
        let migrated = file.store().migrate().await;
        is_config(&migrated.expect_err("another version"), word);
    }
}

#[tokio::test]
async fn a_table_is_made_when_asked_for() {
    let file = File::new();
    let store = SqliteOptions::new().with_table_creation(false);
    let store = store.open(file.path()).expect("a name");
    let claim = store.claim(&key("1"), &request()).await;
    is_config(&claim.expect_err("no table"), "migrate");
    for _ in 0..2 {
        store.migrate().await.expect("made");
    }
    first_call(&store, &key("1"), b"1").await;

    file.outsider()
        .execute_batch("DROP VIEW idempotent_records_view; DROP TABLE idempotent_records;")
        .expect("dropped");
    let claim = store.claim(&key("2"), &request()).await;
    is_config(&claim.expect_err("no table"), "migrate");
    // Their own migrations, with the text that is shipped for them.
    file.outsider().execute_batch(SQLITE_SCHEMA).expect("made");
    first_call(&store, &key("2"), b"2").await;
}

#[tokio::test]
async fn names_that_are_no_tables_are_refused() {
    for name in [
        "",
        "a b",
        "records; DROP TABLE x",
        "a.b.c",
        "billing.records",
    ] {
        let store = SqliteOptions::new().with_table(name);
        let error = store.open("records.db").expect_err("no name");
        assert_eq!(error.kind(), StoreErrorKind::Config);
    }
    let store = SqliteOptions::new().with_table("main.records");
    store.open("records.db").expect("the one schema");
}

/// What is written to a file that is gone nobody else sees. Replays are refused too: whoever asks
/// elsewhere runs the body.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_gone_or_replaced_is_told() {
    let file = File::new();
    let store = file.store();
    let owned = first_call(&store, &key("1"), b"1").await;
    let aside = file.beside("aside.db");
    let asked = async || {
        // A replay looks at the file once a millisecond.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let claims = [key("1"), key("2")].map(|key| (key, request()));
        for (key, request) in claims {
            let claim = store.claim(&key, &request).await;
            is_config(&claim.expect_err("another file"), "replaced");
        }
        let finished = store.finish(&key("1"), &done(&owned, b"1")).await;
        is_config(&finished.expect_err("another file"), "replaced");
    };

    fs::rename(file.path(), &aside).expect("moved");
    asked().await;
    Connection::open(file.path())
        .and_then(|other| other.execute_batch("CREATE TABLE other (a)"))
        .expect("another file");
    asked().await;

    fs::rename(&aside, file.path()).expect("put back");
    let found = store.read(&key("1")).await.expect("it is back");
    assert_eq!(found.expect("a record").0.token, owned.token);
    granted(
        store
            .claim(&key("2"), &request())
            .await
            .expect("it is back"),
    );
}

/// A table of somebody else's under this name, and a row that is no record: the errors show nothing of what is there.
#[tokio::test]
async fn what_is_in_a_foreign_file_is_not_shown() {
    let secret = "customer-4711";
    let (other_table, other_row) = (File::new(), File::new());
    let columns = format!(
        "CREATE TABLE idempotent_records (\"{secret}\" TEXT PRIMARY KEY);
         INSERT INTO idempotent_records VALUES ('{secret}')"
    );
    other_table
        .outsider()
        .execute_batch(&columns)
        .expect("a table");
    other_row.store().check().await.expect("a file");
    let row = "INSERT INTO idempotent_records VALUES (?1, 1, 9000000000000000, ?2)";
    let row = other_row
        .outsider()
        .execute(row, rusqlite::params![key("1").as_str(), secret.as_bytes()]);
    row.expect("a row");
    for file in [&other_table, &other_row] {
        let store = file.store();
        let claimed = store.claim(&key("1"), &request()).await;
        let error = claimed.expect_err("it is not ours");
        let read = store.read(&key("1")).await.expect_err("it is not ours");
        for shown in [
            format!("{error} {error:?} {read} {read:?}"),
            format!("{store:?}"),
        ] {
            assert!(!shown.contains("4711"), "{shown}");
        }
    }
}
