//! Connections that read, in the caller's own thread: a replay waits for no writer.

use std::{
    mem, process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::Connection;

use super::connection::Database;

/// As many connections are kept; there are never more than threads that read at once.
const MAX_IDLE: usize = 16;

/// The connections of one store that are not in use.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    /// Whether the writer has opened the file and found it fit.
    allowed: AtomicBool,
    /// The process that they belong to.
    process: u32,
}

impl Readers {
    pub(super) fn new() -> Self {
        Self {
            idle: Mutex::default(),
            allowed: AtomicBool::new(false),
            process: process::id(),
        }
    }

    /// From now on they may be used.
    pub(super) fn allow(&self) {
        self.allowed.store(true, Ordering::Release);
    }

    pub(super) fn are_allowed(&self) -> bool {
        self.allowed.load(Ordering::Acquire)
    }

    /// What `look` finds on one of the connections. `None`: the writer is to be asked, which waits,
    /// and says what is wrong.
    pub(super) fn with_connection<R>(
        &self,
        database: &Database,
        read: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Option<R> {
        if !self.are_allowed() || database.check_file_lately().is_err() {
            return None;
        }
        let idle = self.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => database.open_reader().ok()?,
        };
        let found = read(&connection).ok()?;
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        Some(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fork does not close what its parent uses: SQLite would take the parent's locks for its own.
impl Drop for Readers {
    fn drop(&mut self) {
        if self.process != process::id() {
            mem::forget(mem::take(
                self.idle.get_mut().unwrap_or_else(PoisonError::into_inner),
            ));
        }
    }
}
