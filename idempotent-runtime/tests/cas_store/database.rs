//! A database with conditional puts in this process, in place of a real one. Its connection may
//! break.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use idempotent_runtime::store::{KeyNotifier, conformance::Loss};

/// Why the database did not do as it was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    NotConnected,
    NoAnswer,
    Full,
}

/// A row as the database shows it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) value: Vec<u8>,
    /// Of the whole database: each write has another.
    pub(crate) revision: u64,
    pub(crate) delete_at: u64,
}

/// A connection to the database. Each clone is another, with faults of its own.
#[derive(Default)]
pub(crate) struct Database {
    server: Arc<Server>,
    faults: Mutex<Faults>,
}

#[derive(Default)]
struct Server {
    rows: Mutex<BTreeMap<String, Item>>,
    /// Rows as they were before their last write, for whoever reads a replica.
    behind: Mutex<BTreeMap<String, Option<Item>>>,
    revision: AtomicU64,
    /// Microseconds since 1970; it starts there.
    clock: AtomicU64,
    notifier: KeyNotifier,
}

/// Whether reads fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unread {
    #[default]
    Never,
    /// They are not answered.
    Unanswered,
    /// There is no connection.
    Always,
}

/// What goes wrong, and how often it still does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// The next write is lost like this.
    pub(crate) loss: Option<Loss>,
    /// So many writes from then on are refused.
    pub(crate) refused: u32,
    /// So many writes find that another came first.
    pub(crate) overtaken: u32,
    /// What reads come to.
    pub(crate) unread: Unread,
    /// What reads come to once a write was lost.
    pub(crate) unread_after_loss: Unread,
    /// Conditions on a row's revision are not looked at.
    pub(crate) ignores_revisions: bool,
    /// Nor those that there is no row.
    pub(crate) ignores_rows: bool,
    /// Reads show the row as it was before its last write, once after each.
    pub(crate) replica: bool,
    pub(crate) writes: u32,
    pub(crate) reads: u32,
}

impl Clone for Database {
    fn clone(&self) -> Self {
        let faults = Faults {
            writes: 0,
            reads: 0,
            ..self.faults().clone()
        };
        Self {
            server: Arc::clone(&self.server),
            faults: Mutex::new(faults),
        }
    }
}

impl Database {
    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().expect("no panic")
    }

    pub(crate) fn clock(&self) -> &AtomicU64 {
        &self.server.clock
    }

    pub(crate) fn notifier(&self) -> &KeyNotifier {
        &self.server.notifier
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, Item>> {
        self.server.rows.lock().expect("no panic")
    }

    fn behind(&self) -> MutexGuard<'_, BTreeMap<String, Option<Item>>> {
        self.server.behind.lock().expect("no panic")
    }

    /// The row as it lies there.
    pub(crate) fn item(&self, key: &str) -> Option<Item> {
        self.rows().get(key).cloned()
    }

    /// Deletes the row, as the database's own expiry does.
    pub(crate) fn delete(&self, key: &str) {
        self.rows().remove(key);
    }

    /// The row, and the database's time.
    pub(crate) async fn get(&self, key: &str) -> Result<(Option<Item>, u64), Failure> {
        tokio::task::yield_now().await; // as over a line
        let is_read = {
            let mut faults = self.faults();
            faults.reads += 1;
            match faults.unread {
                Unread::Never => Ok(()),
                Unread::Always => Err(Failure::NotConnected),
                Unread::Unanswered => Err(Failure::NoAnswer),
            }
        };
        is_read?;
        let found = self.rows().get(key).cloned();
        let behind = if self.faults().replica {
            self.behind().remove(key)
        } else {
            None
        };
        let found = behind.unwrap_or(found);
        Ok((found, self.clock().load(Ordering::SeqCst)))
    }

    /// Writes the row if its revision is `expected` (`None`: if there is no row): whether it did.
    pub(crate) async fn put_if(
        &self,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        delete_at: u64,
    ) -> Result<bool, Failure> {
        tokio::task::yield_now().await;
        let (loss, overtaken, ignores) = {
            let mut faults = self.faults();
            faults.writes += 1;
            let loss = faults.loss.take();
            if loss.is_some() {
                faults.unread = faults.unread_after_loss;
            }
            if loss.is_none() && faults.refused > 0 {
                faults.refused -= 1;
                return Err(Failure::Full);
            }
            let overtaken = faults.overtaken > 0;
            faults.overtaken = faults.overtaken.saturating_sub(1);
            let ignores = match expected {
                Some(_) => faults.ignores_revisions,
                None => faults.ignores_rows,
            };
            (loss, overtaken, ignores)
        };
        if loss == Some(Loss::Request) {
            return Err(Failure::NoAnswer);
        }
        let revision = self.server.revision.fetch_add(1, Ordering::SeqCst) + 1;
        {
            let mut rows = self.rows();
            let found = rows.get(key).map(|item| item.revision);
            if overtaken || (found != expected && !ignores) {
                return Ok(false);
            }
            let item = Item {
                value: value.to_vec(),
                revision,
                delete_at,
            };
            let before = rows.insert(key.to_owned(), item);
            self.behind().insert(key.to_owned(), before);
        }
        match loss {
            Some(_) => Err(Failure::NoAnswer),
            None => Ok(true),
        }
    }

    /// Up to `limit` rows whose key begins with `prefix` and comes after `after`, in order.
    pub(crate) async fn scan(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<(String, Item)>, u64), Failure> {
        tokio::task::yield_now().await;
        let rows = self.rows();
        let found = rows
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| key.as_str() > after)
            .take(limit)
            .map(|(key, item)| (key.clone(), item.clone()));
        Ok((found.collect(), self.clock().load(Ordering::SeqCst)))
    }

    /// Puts a row there, whatever was before.
    pub(crate) fn plant(&self, key: &str, value: Vec<u8>) {
        let revision = self.server.revision.fetch_add(1, Ordering::SeqCst) + 1;
        let item = Item {
            value,
            revision,
            delete_at: u64::MAX,
        };
        self.rows().insert(key.to_owned(), item);
    }
}
