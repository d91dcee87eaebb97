//! A store that notes what the real one answered. An operator's own wrapper around a store would
//! look like this.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use idempotent_fn::{
    Store, StoreError,
    key::Key,
    record::{Nonce, Record, RecordedBytesRef, State},
    store::{ClaimReply, ClaimRequest, LocalStore, Settled, Subscription},
};

use crate::{
    history::{self, Event, Met, Micros, Target, now},
    say::say,
};

/// The real store, observed.
#[derive(Debug)]
pub(crate) struct Witness<S> {
    store: S,
    /// When claims without an answer were sent for the first time. A lease may count from then.
    asked: Mutex<HashMap<Nonce, Micros>>,
}

/// A key's number: here a key is `scope|42`.
fn number(key: &Key) -> u32 {
    let text = key.as_str();
    let number = text
        .rsplit('|')
        .next()
        .and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("not a key of ours: {text}"))
}

fn settled(settled: &Settled) -> history::Settled {
    match settled {
        Settled::Applied => history::Settled::Applied,
        Settled::PutBack => history::Settled::PutBack,
        _ => history::Settled::Stale,
    }
}

fn claimed(key: &Key, reply: &ClaimReply, sent: Micros) {
    match reply {
        ClaimReply::Granted { record, takeover } => say(Event::Granted {
            key: number(key),
            token: record.token,
            attempt: record.attempts,
            lease_ms: history::micros(record.lease) / 1000,
            takeover: *takeover,
            sent,
        }),
        ClaimReply::Held { record, .. } => say(Event::Met {
            key: number(key),
            token: record.token,
            state: match record.state {
                State::Running => Met::Running,
                State::Done => Met::Done,
                State::Lost => Met::Lost,
                _ => Met::Released,
            },
            sent,
        }),
        _ => {}
    }
}

fn finished(key: &Key, target: &Record, reply: &Settled, sent: Micros) {
    say(Event::Finished {
        key: number(key),
        token: target.token,
        target: match target.state {
            State::Done => Target::Done,
            State::Lost => Target::Lost,
            _ => Target::Released,
        },
        settled: settled(reply),
        sent,
    });
}

/// Forwards the store's local face, so that a store in this process stays one.
impl<S: Store> LocalStore for Witness<S> {
    fn peek(&self, key: &Key, look: &mut dyn FnMut(&idempotent_fn::record::RecordRef<'_>)) {
        self.local_store().peek(key, look);
    }

    fn grant(&self, key: &Key, request: &ClaimRequest) -> Option<u64> {
        let sent = now();
        let token = self.local_store().grant(key, request)?;
        let mut record = request.record();
        record.token = token;
        let takeover = false;
        claimed(key, &ClaimReply::Granted { record, takeover }, sent);
        Some(token)
    }

    fn complete(
        &self,
        key: &Key,
        owned: &Record,
        codec: u32,
        outcome: RecordedBytesRef<'_>,
    ) -> bool {
        let sent = now();
        let local = self.local_store();
        let completed = local.complete(key, owned, codec, outcome);
        if completed {
            let mut target = owned.clone();
            target.state = State::Done;
            finished(key, &target, &Settled::Applied, sent);
        }
        completed
    }
}

impl<S: Store> Witness<S> {
    pub(crate) fn new(store: S) -> Self {
        Self {
            store,
            asked: Mutex::default(),
        }
    }

    fn asked<T>(&self, look: impl FnOnce(&mut HashMap<Nonce, Micros>) -> T) -> T {
        look(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn local_store(&self) -> &dyn LocalStore {
        self.store
            .local()
            .expect("only a local store is asked like this")
    }
}

impl<S: Store> Store for Witness<S> {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        let nonce = request.nonce;
        let sent = self.asked(|asked| *asked.entry(nonce).or_insert_with(now));
        let reply = self.store.claim(key, request).await?;
        self.asked(|asked| asked.remove(&nonce));
        claimed(key, &reply, sent);
        Ok(reply)
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        let sent = now();
        let reply = self.store.renew(key, owned).await?;
        say(Event::Renewed {
            key: number(key),
            token: owned.token,
            settled: settled(&reply),
            sent,
        });
        Ok(reply)
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        let sent = now();
        let reply = self.store.finish(key, target).await?;
        finished(key, target, &reply, sent);
        Ok(reply)
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        self.store.read(key).await
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        self.store.overrule(key, seen, replacement).await
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        self.store.subscribe(key).await
    }

    fn local(&self) -> Option<&dyn LocalStore> {
        self.store.local().map(|_| self as &dyn LocalStore)
    }

    fn clock(&self) -> Option<u64> {
        self.store.clock()
    }

    fn describe(&self) -> String {
        self.store.describe()
    }
}
