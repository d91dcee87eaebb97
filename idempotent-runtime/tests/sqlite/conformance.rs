//! The conformance suite, on one file that each handle opens for itself.

use std::time::Duration;

use idempotent_runtime::{
    conformance_tests,
    key::Key,
    record::{Record, State},
    store::{SqliteStore, conformance::Subject},
};
use rusqlite::{OptionalExtension, params};

use crate::{
    aged::{Aged, Taken},
    common::File,
};

/// Makes a record older.
pub(crate) fn age(file: &File, taken: &Taken, key: &Key, time: Duration) {
    let micros = i64::try_from(time.as_micros()).expect("a time of the suite");
    let mut connection = file.outsider();
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .expect("the lock");
    let bytes: Option<Vec<u8>> = transaction
        .query_row(
            "SELECT record FROM idempotent_records WHERE key = ?1",
            [key.as_str()],
            |row| row.get(0),
        )
        .optional()
        .expect("a row");
    let Some(bytes) = bytes else { return };
    let aged = Record::decode(&bytes).map_or(bytes, |before| {
        let mut after = before.clone();
        if matches!(before.state, State::Done | State::Failed) && before.expires != 0 {
            let millis = u64::try_from(time.as_millis()).expect("a time of the suite");
            // 0 would be no end.
            after.expires = before.expires.saturating_sub(millis).max(1);
            taken.note(&before, &after);
        }
        after.encode()
    });
    transaction
        .execute(
            "UPDATE idempotent_records SET record = ?2, renewed = renewed - ?3, expires = expires - ?3 WHERE key = ?1",
            params![key.as_str(), aged, micros],
        )
        .expect("aged");
    transaction.commit().expect("a commit");
}

/// Puts bytes where a record is kept.
pub(crate) fn plant(file: &File, key: &Key, bytes: &[u8]) {
    let now = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)";
    let put = format!(
        "INSERT INTO idempotent_records (key, record, renewed, expires) VALUES (?1, ?2, {now}, {now} + 604800000000)
         ON CONFLICT (key) DO UPDATE SET record = excluded.record"
    );
    let planted = file.outsider().execute(&put, params![key.as_str(), bytes]);
    planted.expect("planted");
}

struct OneFile(File, Taken);

impl Subject for OneFile {
    type Store = Aged<SqliteStore>;

    async fn store(&self) -> Aged<SqliteStore> {
        let store = self.0.store();
        store.check().await.expect("a file");
        Aged::new(store, &self.1)
    }

    async fn elapse(&self, key: &Key, time: Duration) {
        age(&self.0, &self.1, key, time);
    }

    async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
        plant(&self.0, key, bytes);
        true
    }
}

conformance_tests!(OneFile(File::new(), Taken::default()));
