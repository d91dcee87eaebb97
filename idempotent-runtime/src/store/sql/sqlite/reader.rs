//! Connections that read, in the caller's own thread. With a write-ahead log, readers do not wait
//! for writers.

use std::{
    mem, process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::Connection;

use super::connection::Database;

/// The most idle connections that are kept. There are never more connections than threads that read
/// at once.
const MAX_IDLE: usize = 16;

/// The idle connections of one store.
pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    /// Whether the writer has opened and checked the file.
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

    /// Called when the writer has opened and checked the file: from now on connections may be
    /// opened.
    pub(super) fn allow(&self) {
        self.allowed.store(true, Ordering::Release);
    }

    pub(super) fn are_allowed(&self) -> bool {
        self.allowed.load(Ordering::Acquire)
    }

    /// Runs `read` on one of the connections. `None` means that it could not read. The caller then
    /// asks the writer, which waits for locks, and tells what is wrong.
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

/// In a forked process, the connections are leaked and not closed. To close them, SQLite would act
/// on the file as if the parent's locks were its own.
impl Drop for Readers {
    fn drop(&mut self) {
        if self.process != process::id() {
            mem::forget(mem::take(
                self.idle.get_mut().unwrap_or_else(PoisonError::into_inner),
            ));
        }
    }
}
