//! Makes a store's records older, where a test can only move them: it cannot move the store's
//! clock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use idempotent_runtime::{
    Store, StoreError,
    key::Key,
    record::{Nonce, Record, State},
    store::{ClaimReply, ClaimRequest, Cursor, Filter, Found, Page, Settled, Subscription},
};

/// The store as it would answer had time gone by: what a test took off the end of a finished record
/// is on it again in what is shown.
pub(crate) struct Aged<S> {
    store: S,
    taken: Taken,
}

/// What was taken off the ends of records, in ms, by the record's attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Arc<Mutex<HashMap<Nonce, u64>>>);

impl Taken {
    /// A record's end was moved.
    pub(crate) fn note(&self, before: &Record, after: &Record) {
        let mut taken = self.0.lock().expect("no panic under it");
        *taken.entry(after.nonce).or_default() += before.expires - after.expires;
    }
}

impl<S> Aged<S> {
    pub(crate) fn new(store: S, taken: &Taken) -> Self {
        Self {
            store,
            taken: taken.clone(),
        }
    }

    fn shown(&self, record: Record) -> Record {
        let taken = self.taken.0.lock().expect("no panic under it");
        let taken = match record.state {
            State::Done | State::Failed => taken.get(&record.nonce).copied().unwrap_or(0),
            _ => 0,
        };
        let mut record = record;
        record.expires += taken;
        record
    }

    fn settled(&self, settled: Settled) -> Settled {
        match settled {
            Settled::Stale { record, lease_left } => Settled::Stale {
                record: self.shown(record),
                lease_left,
            },
            other => other,
        }
    }
}

impl<S: Store> Store for Aged<S> {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        Ok(match self.store.claim(key, request).await? {
            ClaimReply::Held { record, lease_left } => ClaimReply::Held {
                record: self.shown(record),
                lease_left,
            },
            other => other,
        })
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        Ok(self.settled(self.store.renew(key, owned).await?))
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        Ok(self.settled(self.store.finish(key, target).await?))
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        let read = self.store.read(key).await?;
        Ok(read.map(|(record, left)| (self.shown(record), left)))
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let settled = self.store.overrule(key, seen, replacement).await?;
        Ok(self.settled(settled))
    }

    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        let page = self.store.list(filter, cursor).await?;
        let shown = page.records.into_iter().map(|found| {
            let record = found
                .record
                .map(|(record, left)| (self.shown(record), left));
            Found::new(found.key, record)
        });
        Ok(Page::new(shown.collect(), page.next))
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        self.store.subscribe(key).await
    }

    fn clock(&self) -> Option<u64> {
        self.store.clock()
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}
