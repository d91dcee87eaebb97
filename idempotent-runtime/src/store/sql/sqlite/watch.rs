//! Wakes waiters. A write of this process wakes them at once. For the writes of other processes,
//! the writer's thread polls the file while somebody waits: SQLite has no notifications between
//! processes.

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

/// How often the thread checks whether another process has written anything.
const PAUSE: Duration = Duration::from_millis(10);
/// Checking takes at most one part in this many of the thread's time.
const SHARE: u32 = 10;

/// The waiters, and for each key the record that was last seen.
pub(super) struct Watch {
    notifier: KeyNotifier,
    seen: Arc<Mutex<Stamps>>,
}

/// The state and nonce of a key's record, which change when waiters have to be woken. `None` if
/// there is no record.
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

    /// Returns a subscription, and whether it is the only one of its key. `stamp` is called once
    /// the subscription is in force, so that every later write is noticed.
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

    /// The number of keys with waiters.
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

/// Reads the stamp of a key's current record.
pub(super) fn stamp(
    connection: &Connection,
    statements: &Statements,
    key: &Key,
) -> rusqlite::Result<Stamp> {
    let mut peek = connection.prepare_cached(&statements.peek)?;
    peek.query_row([row_key(key)], |row| row.get(0)).optional()
}

/// The thread's side: when it checks next, and what it saw last.
pub(super) struct Watcher {
    next: Instant,
    /// SQLite's counter of other connections' writes.
    data_version: Option<i64>,
}

impl Watcher {
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now(),
            data_version: None,
        }
    }

    /// When to check next, if anybody waits.
    pub(super) fn due(&self, watch: &Watch) -> Option<Instant> {
        (watch.len() > 0).then_some(self.next)
    }

    /// Wakes the waiters whose record another process has changed. An error is ignored: the next
    /// check comes soon, and waiters also poll, only less often.
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
        // If no stamp could be read at the subscription, the key is not known here.
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
        // Set only when all keys were checked.
        self.data_version = Some(version);
        Ok(())
    }
}
