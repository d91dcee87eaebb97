//! A custom store, complete: a table behind a lock, with a clock that tests can move.
//!
//! It is a template for any place that can run code beside its records, under a lock or in a
//! transaction: read the record and its age, let [`protocol`] decide, write its record, and return
//! its answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use idempotent_runtime::{
    Store, StoreError,
    key::Key,
    record::Record,
    store::{
        ClaimReply, ClaimRequest, Cursor, Filter, Found, KeyNotifier, Page, Settled, Subscription,
        protocol::{self, Current, Step},
    },
};

/// Handles on one table; a clone is another handle. A real one would also remove the rows that have
/// expired.
#[derive(Clone, Default)]
pub(crate) struct TableStore {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Shared {
    rows: Mutex<HashMap<Key, Row>>,
    /// The store's own clock, which alone judges leases and retention: microseconds since 1970. It
    /// starts there.
    pub(crate) clock: AtomicU64,
    pub(crate) notifier: KeyNotifier,
}

struct Row {
    record: Record,
    written: u64,
    /// When the row may go.
    until: u64,
}

impl TableStore {
    /// One atomic step: under the lock, the record as it stands → what to write → the answer.
    pub(crate) fn step<R>(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<Current<'_>>, u64) -> Step<R>,
    ) -> R {
        let now = self.shared.clock.load(Ordering::SeqCst);
        let mut rows = self.shared.rows.lock().expect("no step panics");
        let row = rows.get(key).filter(|row| row.until > now);
        let current = row.map(|row| Current {
            record: &row.record,
            age: Duration::from_micros(now.saturating_sub(row.written)),
        });
        let Step { write, reply } = decide(current, now);
        if let Some(write) = write {
            let row = Row {
                until: write.delete_at(now),
                record: write.record,
                written: now,
            };
            rows.insert(key.clone(), row);
        }
        reply
    }
}

impl Store for TableStore {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        Ok(self.step(key, |current, now| protocol::claim(current, request, now)))
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        Ok(self.step(key, |current, now| protocol::renew(current, owned, now)))
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        let settled = self.step(key, |current, now| protocol::finish(current, target, now));
        self.shared.notifier.publish(key.as_str()); // after the write, never before
        Ok(settled)
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        Ok(self.step(key, protocol::read))
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let settled = self.step(key, |current, now| {
            protocol::overrule(current, seen, replacement, now)
        });
        self.shared.notifier.publish(key.as_str());
        Ok(settled)
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        let now = self.shared.clock.load(Ordering::SeqCst);
        let rows = self.shared.rows.lock().expect("no step panics");
        let mut found = Vec::new();
        for (key, row) in rows.iter() {
            let current = Current {
                record: &row.record,
                age: Duration::from_micros(now.saturating_sub(row.written)),
            };
            let is_after = cursor.is_none_or(|cursor| key.as_str() > cursor.as_str());
            let left = current.lease_left();
            if is_after
                && key.as_str().starts_with(&filter.prefix)
                && protocol::visible(Some(current), now).is_some()
                && filter.shows(row.record.state, left)
            {
                found.push(Found::new(key.clone(), Ok((row.record.clone(), left))));
            }
        }
        found.sort_by(|one, other| one.key.as_str().cmp(other.key.as_str()));
        let is_last = found.len() <= filter.page;
        found.truncate(filter.page);
        let last = found.last().filter(|_| !is_last);
        let next = last.map(|found| Cursor::new(found.key.as_str()));
        Ok(Page::new(found, next))
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        Ok(self.shared.notifier.subscribe(key).0)
    }
}
