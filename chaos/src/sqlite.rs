//! The file of a run without servers, and what other programs do to it.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::{
    history::{Micros, now},
    pulse,
};

/// For so long is the lock asked for before it counts as held. A batch takes some milliseconds.
const HELD: Duration = Duration::from_millis(200);

/// A database file in a folder of its own.
#[derive(Debug)]
pub(crate) struct File {
    folder: TempDir,
}

impl File {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("records.db")
    }

    /// Another program's connection, once a worker has made the file.
    fn connect(&self) -> Option<Connection> {
        let connection = self.path().exists().then(|| Connection::open(self.path()));
        let connection = connection?.ok()?;
        connection.busy_timeout(Duration::ZERO).ok()?;
        Some(connection)
    }

    /// Holds the lock for writing. Whether nobody wrote meanwhile, and somebody did afterwards.
    pub(crate) fn hold_lock(&self, duration: Duration, trace: Duration) -> bool {
        let Some(connection) = self.connect() else {
            return false;
        };
        if !took_lock(&connection, HELD) {
            return false;
        }
        let written =
            || connection.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0));
        let at_first = written();
        thread::sleep(duration);
        let at_last = written();
        let _ = connection.execute_batch("COMMIT");
        let since = Instant::now();
        while since.elapsed() < trace {
            if written() != at_last {
                return at_first == at_last;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Whether no other program gets the lock for writing.
    pub(crate) fn is_locked(&self) -> bool {
        let connection = self.connect();
        connection.is_some_and(|connection| !took_lock(&connection, HELD))
    }

    /// Copies the log into the file, and empties it. Whether that was done.
    pub(crate) fn checkpoint(&self) -> bool {
        let Some(connection) = self.connect() else {
            return false;
        };
        let since = Instant::now();
        while since.elapsed() < HELD {
            let busy =
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            if busy == Ok(0_i64) {
                return true;
            }
            thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// Calls `late` whenever the disk was slow with a file of its own.
    pub(crate) fn watch_the_disk(&self, late: impl Fn(Micros) + Send + 'static) {
        let path = self.folder.path().join("pulse");
        thread::spawn(move || {
            while let Ok(mut file) = fs::File::create(&path) {
                let (asked, since) = (Instant::now(), now());
                let written = file.write_all(b"pulse").and_then(|()| file.sync_all());
                if written.is_err() {
                    return;
                }
                if asked.elapsed() > pulse::LATE {
                    late(since);
                }
                thread::sleep(pulse::BEAT);
            }
        });
    }
}

/// Takes the lock, within this time.
fn took_lock(connection: &Connection, patience: Duration) -> bool {
    let since = Instant::now();
    while since.elapsed() < patience {
        if connection.execute_batch("BEGIN IMMEDIATE").is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(1));
    }
    false
}
