//! Opens connections to the file, with the settings that the store needs.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, ffi::ErrorCode};

use super::{
    error::{Stage, explain},
    options::{SqliteOptions, SqliteSynchronous},
    schema,
};
use crate::{
    StoreError, StoreErrorKind,
    store::{sql::table::TableName, warning::warn},
};

/// 3.37, which brought `STRICT` tables.
const MIN_VERSION: i32 = 3_037_000;
/// The first version with the correction of the "WAL-reset bug": before, two connections could
/// damage a file by a checkpoint at the wrong moment.
const SOUND_VERSION: i32 = 3_051_003;
/// How long to wait while another program holds the lock for writing. It is shorter than the 10
/// seconds after which a caller takes a command for lost.
const LOCK_TIMEOUT: Duration = Duration::from_secs(8);
/// The largest size that the log file keeps after it was copied into the database, in bytes.
const LOG_LIMIT: i64 = 64 * 1024 * 1024;

/// A file, the table in it, and the options for both.
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) table: TableName,
    /// Its name in events and errors.
    pub(super) name: String,
    pub(super) synchronous: SqliteSynchronous,
    pub(super) creates_file: bool,
    pub(super) creates_table: bool,
    pub(super) sweeps: bool,
    /// The process that made the store. SQLite's connections must not be used after a fork.
    pub(super) process: u32,
    /// The file that was opened first. Another one at the same path has other records.
    identity: OnceLock<Identity>,
    opened: Instant,
    /// The last millisecond since `opened` in which [`check_file`](Self::check_file) succeeded.
    checked: AtomicU64,
}

/// What identifies a file, whatever its path: its device, and its number there.
type Identity = (u64, u64);

impl Database {
    pub(super) fn new(
        path: &Path,
        table: TableName,
        options: &SqliteOptions,
    ) -> Result<Self, StoreError> {
        let text = path.to_string_lossy();
        let config = |reason: &str| Err(StoreError::new(StoreErrorKind::Config, reason));
        if text.is_empty() || text == ":memory:" {
            return config(
                "an SQLite store needs the path of a file; for records in this process' memory use `MemoryStore`, or `memory:`",
            );
        }
        if text.contains('\0') {
            return config("a path has no character 0");
        }
        if table
            .schema
            .as_deref()
            .is_some_and(|schema| schema != "main")
        {
            return config(
                "an SQLite file has one schema, `main`: leave out what is before the dot",
            );
        }
        Ok(Self {
            name: format!("SQLite at {text}"),
            path: path.to_owned(),
            table,
            synchronous: options.synchronous,
            creates_file: options.creates_file,
            creates_table: options.creates_table,
            sweeps: options.sweeps,
            process: process::id(),
            identity: OnceLock::new(),
            opened: Instant::now(),
            checked: AtomicU64::new(u64::MAX),
        })
    }

    /// Whether this is the process that made the store.
    pub(super) fn is_own_process(&self) -> bool {
        self.process == process::id()
    }

    /// Checks that the path still leads to the file that was opened first. If that file was deleted
    /// or replaced, other programs do not see what is written to it, and two could both be granted
    /// a key.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        let there = identity(&self.path);
        if there.is_some() && self.identity.get().copied() == there {
            return Ok(());
        }
        let reason = format!(
            "{} was deleted, moved or replaced while this process had it open: put the file back; if its records are lost, \
             restart all programs that use it",
            self.name
        );
        Err(StoreError::new(StoreErrorKind::Config, reason))
    }

    /// As [`check_file`](Self::check_file), at most once a millisecond. Replays use it, because a
    /// check takes a third as long as reading a row.
    pub(super) fn check_file_lately(&self) -> Result<(), StoreError> {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.checked.load(Ordering::Relaxed) == now {
            return Ok(());
        }
        self.check_file()?;
        self.checked.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// Opens the connection that writes. It creates the file if it is missing and that is allowed,
    /// and the table if `creates_table`.
    pub(super) fn open_writer(&self, creates_table: bool) -> Result<Connection, StoreError> {
        let failed = |error| explain(error, &self.name, Stage::Before);
        if rusqlite::version_number() < MIN_VERSION {
            let reason = format!(
                "SQLite {} is too old: 3.37 or later is needed, or the feature `sqlite`, which brings its own",
                rusqlite::version()
            );
            return Err(StoreError::new(StoreErrorKind::Config, reason));
        }
        if self.identity.get().is_some() {
            self.check_file()?;
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        if self.creates_file {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        } else if !self.path.exists() {
            let reason = format!(
                "{} does not exist, and `with_file_creation(false)` says not to create it: is the path right?",
                self.name
            );
            return Err(StoreError::new(StoreErrorKind::Config, reason));
        }
        let mut connection = self.open(flags).map_err(failed)?;
        connection.busy_handler(Some(wait)).map_err(failed)?;
        self.use_log(&connection)?;
        let level = match self.synchronous {
            SqliteSynchronous::Full => "FULL",
            SqliteSynchronous::Normal => "NORMAL",
        };
        // On macOS, `fsync` alone leaves the data in the disk's cache.
        let fullfsync = self.synchronous == SqliteSynchronous::Full;
        for setting in [
            format!("synchronous = {level}"),
            format!("fullfsync = {fullfsync}"),
            format!("checkpoint_fullfsync = {fullfsync}"),
            format!("journal_size_limit = {LOG_LIMIT}"),
            "mmap_size = 0".to_owned(),
        ] {
            set(&connection, &setting).map_err(failed)?;
        }
        schema::prepare(&mut connection, self, creates_table)?;
        let there = identity(&self.path).unwrap_or_default();
        if *self.identity.get_or_init(|| there) != there {
            self.check_file()?;
        }
        warn_of_version();
        Ok(connection)
    }

    /// Opens a connection that reads, after the writer has opened the file. It never waits for a
    /// lock.
    pub(super) fn open_reader(&self) -> rusqlite::Result<Connection> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(Duration::ZERO)?;
        set(&connection, "query_only = TRUE")?;
        set(&connection, "mmap_size = 0")?;
        Ok(connection)
    }

    fn open(&self, access: OpenFlags) -> rusqlite::Result<Connection> {
        // Without the flag for URIs, the path is taken literally.
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&self.path, flags)
    }

    /// Switches the file to a write-ahead log (WAL), for good. An error if SQLite does not, as on a
    /// network file system.
    fn use_log(&self, connection: &Connection) -> Result<(), StoreError> {
        let started = Instant::now();
        let mode = loop {
            let set = connection.query_row("PRAGMA journal_mode = WAL", [], |row| {
                row.get::<_, String>(0)
            });
            match set {
                Ok(mode) => break mode,
                // SQLite does not call the busy handler here.
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && started.elapsed() < LOCK_TIMEOUT =>
                {
                    thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(explain(error, &self.name, Stage::Before)),
            }
        };
        if mode.eq_ignore_ascii_case("wal") {
            return Ok(());
        }
        let reason = format!(
            "{} cannot have a write-ahead log (SQLite keeps journal_mode = {mode}): a network file system cannot share it; use a \
             local disk",
            self.name
        );
        Err(StoreError::new(StoreErrorKind::Config, reason))
    }
}

/// Changes a setting. Some settings return a row, some do not.
fn set(connection: &Connection, setting: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA {setting}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn warn_of_version() {
    static WARNED: OnceLock<()> = OnceLock::new();
    // 3.50.7 and 3.44.6 have the correction too.
    let is_sound = match rusqlite::version_number() {
        3_050_007..=3_050_999 | 3_044_006..=3_044_999 => true,
        number => number >= SOUND_VERSION,
    };
    if !is_sound {
        WARNED.get_or_init(|| {
            warn(&format!(
                "SQLite {} may damage a file that several connections write to (its \"WAL-reset bug\"): use 3.51.3 or later, or \
                 the feature `sqlite`, which brings its own",
                rusqlite::version()
            ));
        });
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let there = std::fs::metadata(path).ok()?;
    Some((there.dev(), there.ino()))
}

/// On other systems, an open file can be neither deleted nor replaced.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<Identity> {
    Some((0, 0))
}

thread_local! {
    static WAITING_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The busy handler. It pauses, and returns `true` to try again, until [`LOCK_TIMEOUT`]. SQLite's
/// own handler pauses for up to 100 ms, and may starve one of several processes for seconds.
fn wait(tries: i32) -> bool {
    if tries == 0 {
        WAITING_SINCE.set(Some(Instant::now()));
    }
    let has_waited = WAITING_SINCE
        .get()
        .map_or(Duration::ZERO, |since| since.elapsed());
    if has_waited >= LOCK_TIMEOUT {
        return false;
    }
    let pause = if tries < 10 { 200 } else { 1000 };
    thread::sleep(Duration::from_micros(pause));
    true
}
