//! A store over a database with conditional puts: all the code that has to be written.

use std::sync::Arc;

use idempotent_runtime::{
    StoreError, StoreErrorKind,
    key::Key,
    store::{
        Cursor, Subscription,
        cas::{CasTable, Loaded, Put, Row, Scanned, Swapped, Time},
    },
};

use crate::database::{Database, Failure};

/// Our table in the database.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) database: Arc<Database>,
}

/// What a failure means for the row: when in doubt, `Ambiguous`.
fn failed(failure: Failure) -> StoreError {
    let (kind, message) = match failure {
        Failure::NotConnected => (StoreErrorKind::NotSent, "the database cannot be reached"),
        Failure::NoAnswer => (StoreErrorKind::Ambiguous, "the database has not answered"),
        Failure::Full => (StoreErrorKind::Refused, "the database is full; make room"),
    };
    StoreError::new(kind, message)
}

impl CasTable for Table {
    type Version = u64;

    async fn load(&self, key: &Key) -> Result<Loaded<u64>, StoreError> {
        let (item, now) = self.database.get(key.as_str()).await.map_err(failed)?;
        let row = item.map(|item| Row::new(item.value, item.revision));
        Ok(Loaded::new(row, Time::of_database(now)))
    }

    async fn swap(
        &self,
        key: &Key,
        expected: Option<&u64>,
        put: &Put,
    ) -> Result<Swapped, StoreError> {
        let (key, expected) = (key.as_str(), expected.copied());
        let database = &self.database;
        let written = database.put_if(key, expected, &put.value, put.delete_at);
        if written.await.map_err(failed)? {
            Ok(Swapped::Stored)
        } else {
            Ok(Swapped::Conflict)
        }
    }

    async fn scan(
        &self,
        prefix: &str,
        cursor: Option<&Cursor>,
        page: usize,
    ) -> Result<Scanned, StoreError> {
        let after = cursor.map_or("", Cursor::as_str);
        let scan = self.database.scan(prefix, after, page).await;
        let (items, now) = scan.map_err(failed)?;
        let is_full = items.len() == page;
        let last = items.last().filter(|_| is_full);
        let next = last.map(|(key, _)| Cursor::new(key.as_str()));
        let rows = items.into_iter().map(|(key, item)| (key, item.value));
        Ok(Scanned::new(rows.collect(), next, Time::of_database(now)))
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        Ok(self.database.notifier().subscribe(key).0)
    }

    async fn notify(&self, key: &Key) {
        self.database.notifier().publish(key.as_str());
    }

    fn describe(&self) -> String {
        "the example's database".to_owned()
    }
}
