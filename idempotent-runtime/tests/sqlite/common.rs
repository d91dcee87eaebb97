//! Helpers that the tests share.

use std::{path::PathBuf, sync::Arc, time::Duration};

use idempotent_runtime::{
    Store,
    key::Key,
    record::{Nonce, Record, RecordedBytes, State},
    store::{ClaimReply, ClaimRequest, SqliteStore},
};
use rusqlite::Connection;
use tempfile::TempDir;

/// A database file in a folder of its own.
pub(crate) struct File {
    folder: TempDir,
}

impl File {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("records.db")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new handle, with connections of its own.
    pub(crate) fn store(&self) -> SqliteStore {
        SqliteStore::new(self.path()).expect("a path")
    }

    /// Another program's connection.
    pub(crate) fn outsider(&self) -> Connection {
        let connection = Connection::open(self.path()).expect("the file opens");
        connection
            .busy_timeout(Duration::from_secs(30))
            .expect("a setting");
        connection
    }
}

pub(crate) fn key(part: &str) -> Key {
    Key::new("payments.charge", &[&part]).expect("a valid key")
}

/// A new attempt.
pub(crate) fn request() -> ClaimRequest {
    ClaimRequest::new(Nonce::random().expect("randomness"))
}

pub(crate) fn done(owned: &Record, result: &[u8]) -> Record {
    let mut record = owned.clone();
    record.state = State::Done;
    record.codec = 7;
    record.outcome = Some(RecordedBytes::Ok(Arc::from(result)));
    record
}

#[track_caller]
pub(crate) fn granted(reply: ClaimReply) -> Record {
    match reply {
        ClaimReply::Granted { record, .. } => record,
        other => panic!("not granted: {other:?}"),
    }
}

/// Claims and completes, as a first call does.
pub(crate) async fn first_call(store: &SqliteStore, key: &Key, result: &[u8]) -> Record {
    let owned = granted(store.claim(key, &request()).await.expect("claim"));
    let finished = store.finish(key, &done(&owned, result)).await;
    finished.expect("finish");
    owned
}
