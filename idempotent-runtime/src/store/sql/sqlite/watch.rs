//! Wakes waiters. What this process writes wakes them at once; for what others write the writer's
//! thread looks, as long as somebody waits.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension};

use super::statements::Statements;
use crate::{
    key::Key,
    store::{KeyNotifier, Subscription, sql::table::row_key},
};

/// How often the thread looks whether another process has written anything.
const PAUSE: Duration = Duration::from_millis(10);
/// Looking takes at most this part of the thread's time.
const SHARE: u32 = 10;

/// Those who wait, and what they have seen.
pub(super) struct Watch {
    notifier: KeyNotifier,
    seen: Arc<Mutex<Stamps>>,
}

/// State and nonce of a key's record; `None` where there is none.
type Stamp = Option<Vec<u8>>;
type Stamps = HashMap<Key, Stamp>;

impl Watch {
    pub(super) fn new() -> Self {
        let seen = Arc::new(Mutex::new(Stamps::new()));
        let forgotten = Arc::clone(&seen);
        let notifier = KeyNotifier::reporting(move |key| {
            lock(&forgotten).remove(key);
        });
        Self { notifier, seen }
    }

    /// A subscription, and whether it is its key's only one. `stamp` is read after it is in force:
    /// what is written later differs.
    pub(super) fn subscribe(
        &self,
        key: &Key,
        stamp: impl FnOnce() -> Option<Stamp>,
    ) -> (Subscription, bool) {
        let (subscription, is_first) = self.notifier.subscribe(key);
        if let Some(stamp) = stamp() {
            lock(&self.seen).entry(key.clone()).or_insert(stamp);
        }
        (subscription, is_first)
    }

    pub(super) fn publish(&self, key: &Key) {
        self.notifier.publish(key.as_str());
    }

    /// How many keys somebody waits for.
    pub(super) fn len(&self) -> usize {
        self.notifier.len()
    }

    #[cfg(test)]
    pub(super) fn stamps(&self) -> usize {
        lock(&self.seen).len()
    }
}

fn lock(seen: &Mutex<Stamps>) -> MutexGuard<'_, Stamps> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State and nonce of a key's record, as it is.
pub(super) fn stamp(
    connection: &Connection,
    statements: &Statements,
    key: &Key,
) -> rusqlite::Result<Stamp> {
    let mut peek = connection.prepare_cached(&statements.peek)?;
    peek.query_row([row_key(key)], |row| row.get(0)).optional()
}

/// The thread's part: when it looks, and what it saw last.
pub(super) struct Watcher {
    next: Instant,
    /// SQLite's number for what others have written, as this connection sees it.
    data_version: Option<i64>,
}

impl Watcher {
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now(),
            data_version: None,
        }
    }

    /// When to look, if anybody waits.
    pub(super) fn due(&self, watch: &Watch) -> Option<Instant> {
        (watch.len() > 0).then_some(self.next)
    }

    /// Wakes those whose record another process has changed. What fails here is looked at again:
    /// waiters also poll, only less often.
    pub(super) fn look_if_due(
        &mut self,
        connection: &Connection,
        statements: &Statements,
        watch: &Watch,
    ) {
        let started = Instant::now();
        if self.due(watch).is_none_or(|due| due > started) {
            return;
        }
        let _ = self.look(connection, statements, watch);
        self.next = Instant::now() + PAUSE.max(started.elapsed() * SHARE);
    }

    fn look(
        &mut self,
        connection: &Connection,
        statements: &Statements,
        watch: &Watch,
    ) -> rusqlite::Result<()> {
        let mut version = connection.prepare_cached("PRAGMA data_version")?;
        let version = version.query_row([], |row| row.get(0))?;
        let keys = watch.notifier.keys();
        // A key that is not known was subscribed to without a look.
        let is_known = |key| lock(&watch.seen).contains_key(key);
        if self.data_version == Some(version) && keys.iter().all(is_known) {
            return Ok(());
        }
        for key in &keys {
            let now = stamp(connection, statements, key)?;
            let has_changed = match lock(&watch.seen).entry(key.clone()) {
                Entry::Occupied(mut seen) => {
                    let has_changed = *seen.get() != now;
                    seen.insert(now);
                    has_changed
                }
                Entry::Vacant(unknown) => {
                    unknown.insert(now);
                    true
                }
            };
            if has_changed {
                watch.publish(key);
            }
        }
        // Not before all were looked at.
        self.data_version = Some(version);
        Ok(())
    }
}
