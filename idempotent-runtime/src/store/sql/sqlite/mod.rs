//! Records in an SQLite file: for one or several processes on one machine. They survive restarts.
//!
//! A command that changes nothing is answered by `reader` in the caller's thread. Any other is sent
//! to the thread of `writer`. `watch` wakes waiters, `sweep` deletes old rows, and `connection`
//! opens the file.

mod connection;
mod error;
mod list;
mod options;
mod reader;
mod schema;
mod statements;
mod sweep;
mod url;
mod watch;
mod writer;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc::Sender},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use self::{
    connection::Database,
    reader::Readers,
    statements::Statements,
    watch::Watch,
    writer::{Answer, Job, Message, Shared},
};
use super::{
    command::{self, Command, Reply},
    table::{Row, TableName, row_key},
};
use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    record::Record,
    store::{
        ClaimReply, ClaimRequest, Cursor, Filter, Found, Page, Settled, Store, Subscription,
        protocol::Step,
    },
};

pub use options::{SqliteOptions, SqliteSynchronous};
pub use schema::SQLITE_SCHEMA;

/// Keeps records in an SQLite file, where they survive a restart. Features: `sqlite` (brings its
/// own SQLite) or `sqlite-system` (uses the system's, 3.37 or later).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use idempotent_fn::{install, store::SqliteStore};
///
/// install(SqliteStore::connect("records.db").await?)?; // first thing in `main`
/// # Ok(()) }
/// ```
///
/// Cloning is cheap, and clones are one store. Any number of Tokio runtimes, stores and processes
/// of one machine may use one file, which may have other tables too. It must be on a local disk:
/// SQLite cannot share a file over a network.
///
/// # Threads
/// A replay, and every other answer that changes nothing, is read in the caller's own thread. It
/// takes some microseconds, and more if the disk has to be read or a result is large. All writes go
/// to one thread of the store. It carries out the commands that have queued up (at most 256) in one
/// transaction, and answers after the commit, so many calls share one `fsync`. A dropped future
/// affects no other command.
///
/// # What it costs
/// A first call takes two commits. Alone, each takes from some hundred microseconds to some
/// milliseconds, depending on the disk. A replay takes some microseconds. By default `synchronous`
/// is [`Full`](SqliteSynchronous::Full): an acknowledged write survives a power cut, if the disk
/// keeps what it says it has written.
///
/// # What it does to the file
/// The store switches the file to a write-ahead log (`journal_mode = WAL`), for all programs that
/// open it. Beside `a.db` there are then `a.db-wal` and `a.db-shm`, and **the three belong
/// together**: copy them together, or by `VACUUM INTO`.
///
/// All processes open the file by one path; a symbolic link to it will do. Two that open it by two
/// **hard links** have two logs. If somebody deletes `-wal` or `-shm` while a program has the file
/// open, programs that open it afterwards have another log. In both cases they do not see each
/// other's records, so **a body can run in both**, and the file can be damaged. The store does not
/// notice.
///
/// The store creates a table, `idempotent_records`, and a view for people,
/// `idempotent_records_view` ([`SQLITE_SCHEMA`]). It does not use a table of that name that another
/// program has created. Records whose time is over are deleted in small steps. SQLite uses their
/// room again, and the file does not shrink.
///
/// # When it fails
/// | it happened | error |
/// |---|---|
/// | another program holds the lock for writing for 8 seconds (a transaction left open, a backup) | [`Refused`](StoreErrorKind::Refused), and [transient](StoreError::is_transient) |
/// | the disk is full | `Refused`; replays go on |
/// | the disk fails during a commit | [`Ambiguous`](StoreErrorKind::Ambiguous) |
/// | the file is read-only, damaged, no database or a directory; it was deleted or replaced while it was open | [`Config`](StoreErrorKind::Config) |
/// | the table is another program's, of another version or missing | `Config` |
/// | the process was forked after the store was made | `Config`: make the store in the child |
///
/// If the process dies, even in the middle of a transaction, no acknowledged write is lost.
///
/// # The clock
/// The store uses this machine's clock. If it is set back, leases last longer by as much. If it is
/// set forward, they lapse earlier by as much.
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// The queue of the thread that writes, once that is started.
    writer: Mutex<Option<Sender<Message>>>,
}

impl SqliteStore {
    /// A store in the file at `path`, with the default [`SqliteOptions`]. The first use opens the
    /// file, and creates it if it is missing.
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) if the path is not valid.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        SqliteOptions::new().open(path)
    }

    /// As [`new`](Self::new), but opens the file at once. It creates the file and its table if they
    /// are missing, and checks that records can be kept there.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn connect(path: impl AsRef<Path> + Send) -> Result<Self, StoreError> {
        let store = Self::new(path)?;
        store.check().await?;
        Ok(store)
    }

    /// Opens the file if it is not open yet, and checks it.
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) if the file or its table is not suitable,
    /// [`Refused`](StoreErrorKind::Refused) if the file is locked or the disk is full. The text
    /// says what to do.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.request(Message::Check).await
    }

    /// Creates the table and the view if they are missing. It is only needed if the store does not
    /// [create them itself](SqliteOptions::with_table_creation).
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.request(Message::Migrate).await
    }

    /// Deletes the records whose time is over, and returns how many. By default the store does it
    /// by itself ([`with_sweep`](SqliteOptions::with_sweep)). Other calls go on meanwhile.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        self.request(Message::Sweep).await
    }

    /// The store that `sqlite:path` or `sqlite://path` names.
    pub(crate) fn from_url(url: &str) -> Result<Self, StoreError> {
        Self::new(url::path(url)?)
    }

    fn assemble(
        path: &Path,
        table: TableName,
        options: &SqliteOptions,
    ) -> Result<Self, StoreError> {
        let shared = Shared {
            statements: Statements::new(&table),
            database: Database::new(path, table, options)?,
            readers: Readers::new(),
            watch: Watch::new(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                shared: Arc::new(shared),
                writer: Mutex::default(),
            }),
        })
    }

    /// Sends a message to the thread, and starts the thread if there is none.
    fn send(&self, message: Message) -> Result<(), StoreError> {
        let shared = &self.inner.shared;
        shared.check_process()?;
        let mut writer = self
            .inner
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let unsent = match &*writer {
            Some(sender) => match sender.send(message) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => message,
        };
        let sender = writer::start(Arc::clone(shared))?;
        let sent = sender.send(unsent);
        *writer = Some(sender);
        sent.map_err(|_| {
            let reason = format!(
                "{} is not served: its thread has ended",
                shared.database.name
            );
            StoreError::new(StoreErrorKind::NotSent, reason)
        })
    }

    /// Sends a message, and waits for its answer.
    async fn request<T>(
        &self,
        message: impl FnOnce(Answer<T>) -> Message,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(message(answer))?;
        answered.await.unwrap_or_else(|_| {
            let name = &self.inner.shared.database.name;
            let reason = format!("{name} gave no answer; it may have been carried out");
            Err(StoreError::new(StoreErrorKind::Ambiguous, reason))
        })
    }

    async fn run(&self, key: &Key, command: Command) -> Result<Reply, StoreError> {
        let key = key.clone();
        let job = |answer| {
            Message::Job(Job {
                key,
                command,
                answer,
            })
        };
        self.request(job).await
    }

    async fn settle(&self, key: &Key, command: Command) -> Result<Settled, StoreError> {
        match self.run(key, command).await? {
            Reply::Settled(settled) => Ok(settled),
            Reply::Claim(_) | Reply::Read(_) => Err(self.wrong_reply()),
        }
    }

    /// Lets `decide` answer from the row, read in this thread. `None` if the row could not be read
    /// here, or if the decision is to write: then the thread has to carry out the command.
    fn answer_by_reading<R>(
        &self,
        key: &Key,
        decide: impl FnOnce(Option<&Row>, u64) -> Step<R>,
    ) -> Result<Option<R>, StoreError> {
        let shared = &self.inner.shared;
        shared.check_process()?;
        let read = |connection: &_| shared.statements.read(connection, &row_key(key));
        let Some(stored) = shared.readers.with_connection(&shared.database, read) else {
            return Ok(None);
        };
        let row = stored.map(|stored| stored.row).transpose()?;
        let Step { write, reply } = decide(row.as_ref(), statements::now());
        Ok(write.is_none().then_some(reply))
    }

    fn wrong_reply(&self) -> StoreError {
        let name = &self.inner.shared.database.name;
        let reason = format!("{name} answered another question; it may have been carried out");
        StoreError::new(StoreErrorKind::Ambiguous, reason)
    }
}

impl Store for SqliteStore {
    async fn claim(&self, key: &Key, request: &ClaimRequest) -> Result<ClaimReply, StoreError> {
        if let Some(reply) =
            self.answer_by_reading(key, |row, now| command::claim(row, request, now))?
        {
            return Ok(reply);
        }
        match self.run(key, Command::Claim(request.clone())).await? {
            Reply::Claim(reply) => Ok(reply),
            Reply::Settled(_) | Reply::Read(_) => Err(self.wrong_reply()),
        }
    }

    async fn renew(&self, key: &Key, owned: &Record) -> Result<Settled, StoreError> {
        self.settle(key, Command::Renew(owned.clone())).await
    }

    async fn finish(&self, key: &Key, target: &Record) -> Result<Settled, StoreError> {
        self.settle(key, Command::Finish(target.clone())).await
    }

    async fn read(&self, key: &Key) -> Result<Option<(Record, Duration)>, StoreError> {
        if let Some(found) = self.answer_by_reading(key, command::read)? {
            return Ok(found);
        }
        match self.run(key, Command::Read).await? {
            Reply::Read(found) => Ok(found),
            Reply::Claim(_) | Reply::Settled(_) => Err(self.wrong_reply()),
        }
    }

    async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let command = Command::Overrule {
            seen: seen.cloned(),
            replacement: replacement.clone(),
        };
        self.settle(key, command).await
    }

    async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        let shared = &self.inner.shared;
        shared.check_process()?;
        let stamp = || {
            let stamp = |connection: &_| watch::stamp(connection, &shared.statements, key);
            shared.readers.with_connection(&shared.database, stamp)
        };
        let (subscription, is_first) = shared.watch.subscribe(key, stamp);
        if is_first {
            self.send(Message::Watch)?;
        }
        Ok(subscription)
    }

    /// Reads the page in a thread of its own, because it may be some megabytes from the disk.
    async fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        self.inner.shared.check_process()?;
        if !self.inner.shared.readers.are_allowed() {
            self.check().await?;
        }
        let (answer, answered) = oneshot::channel();
        let (filter, cursor) = (filter.clone(), cursor.cloned());
        let shared = Arc::clone(&self.inner.shared);
        let not_read = |name: &str| {
            let reason = format!("{name} could not be listed");
            StoreError::new(StoreErrorKind::NotSent, reason)
        };
        let name = shared.database.name.clone();
        let list = move || {
            let page = shared
                .readers
                .with_connection(&shared.database, |connection| {
                    list::page(connection, &shared.statements, &filter, cursor.as_ref())
                });
            let _ = answer.send(page);
        };
        let thread = thread::Builder::new().spawn(list);
        thread.map_err(|error| not_read(&name).with_source(error))?;
        match answered.await.ok().flatten() {
            Some(page) => Ok(page),
            // The check returns the reason, if it finds one.
            None => Err(self.check().await.err().unwrap_or_else(|| not_read(&name))),
        }
    }

    fn clock(&self) -> Option<u64> {
        Some(statements::now())
    }

    fn describe(&self) -> String {
        self.inner.shared.database.name.clone()
    }
}

/// Shows the file's path.
impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStore")
            .field(&self.describe())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Nonce;

    fn key(part: &str) -> Key {
        Key::new("payments.charge", &[&part]).expect("a key")
    }

    /// A fork has the connections of its parent, whose locks it does not have.
    #[tokio::test]
    async fn a_store_of_another_process_is_refused_before_anything_is_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("records.db");
        let mut store = SqliteStore::new(&path).expect("a path");
        let inner = Arc::get_mut(&mut store.inner).expect("one handle");
        let shared = Arc::get_mut(&mut inner.shared).expect("no thread yet");
        shared.database.process += 1;
        let request = ClaimRequest::new(Nonce::from_bytes([1; 16]));
        let owned = request.record();
        for error in [
            store.check().await.expect_err("another process"),
            store
                .claim(&key("1"), &request)
                .await
                .expect_err("another process"),
            store
                .finish(&key("1"), &owned)
                .await
                .expect_err("another process"),
            store
                .subscribe(&key("1"))
                .await
                .expect_err("another process"),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Config);
            assert!(error.to_string().contains("forked"), "{error}");
        }
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn subscriptions_that_are_dropped_leave_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::connect(folder.path().join("records.db"));
        let store = store.await.expect("a file");
        let watch = &store.inner.shared.watch;
        let mut subscriptions = Vec::new();
        for number in 0..20 {
            let key = key(&(number % 10).to_string());
            subscriptions.push(store.subscribe(&key).await.expect("subscribed"));
        }
        assert_eq!((watch.len(), watch.stamps()), (10, 10));
        subscriptions.truncate(10);
        assert_eq!((watch.len(), watch.stamps()), (10, 10));
        drop(subscriptions);
        assert_eq!((watch.len(), watch.stamps()), (0, 0));
    }
}
