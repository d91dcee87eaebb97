//! A store that keeps bytes, as a store over a network does: they may be written by anybody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use idempotent_fn::{
    Store, StoreError,
    key::Key,
    record::Record,
    store::{
        ClaimReply, ClaimRequest, KeyNotifier, Settled, Subscription,
        protocol::{self, Current, Step},
    },
};

/// Records as bytes, for which no time passes. It is not local, and tells its waiters of changes.
#[derive(Clone, Default)]
pub struct Bytes {
    pub notifier: KeyNotifier,
    rows: Arc<Mutex<HashMap<Key, Vec<u8>>>>,
}

impl Bytes {
    pub fn plant(&self, key: &Key, bytes: &[u8]) {
        self.rows().insert(key.clone(), bytes.to_vec());
    }

    /// Loses the record, as a store does that was restarted without its data.
    pub fn lose(&self, key: &Key) {
        self.rows().remove(key).expect("there is a record to lose");
        self.notifier.publish(key.as_str());
    }

    pub fn found(&self, key: &Key) -> Option<Vec<u8>> {
        self.rows().get(key).cloned()
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Key, Vec<u8>>> {
        self.rows.lock().expect("no step panics")
    }

    fn step<R>(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<Current<'_>>) -> Step<R>,
    ) -> Result<R, StoreError> {
        let mut rows = self.rows();
        let record = rows.get(key).map(|bytes| Record::decode(bytes));
        let record = record.transpose()?;
        let current = record.as_ref().map(|record| Current {
            record,
            age: Duration::ZERO,
        });
        let Step { write, reply } = decide(current);
        if let Some(write) = write {
            rows.insert(key.clone(), write.bytes());
        }
        Ok(reply)
    }
}

impl Store for Bytes {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        self.step(key, |current| protocol::claim(current, request, 1))
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        self.step(key, |current| protocol::renew(current, owned, 1))
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        let settled = self.step(key, |current| protocol::finish(current, target, 1));
        self.notifier.publish(key.as_str());
        settled
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.step(key, |current| Step {
            write: None,
            reply: current.map(|current| (current.record.clone(), current.lease_left())),
        })
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let settled = self.step(key, |current| {
            protocol::overrule(current, seen, replacement, 1)
        });
        self.notifier.publish(key.as_str());
        settled
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        Ok(self.notifier.subscribe(key).0)
    }
}
