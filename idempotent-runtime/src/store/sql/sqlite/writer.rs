//! The thread that owns the writing connection. Commands that wait together share a transaction,
//! and so its commit.
//!
//! ```text
//! take the queue → BEGIN IMMEDIATE → for each: read its row, let the protocol decide, write → COMMIT → answer all
//! ```
//!
//! Nobody is answered before the commit. If anything fails, the whole transaction is rolled back,
//! and each command is carried out again alone, so that it gets its own error.

use std::{
    iter,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Instant,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    connection::Database,
    error::{Failure, Stage},
    reader::Readers,
    statements::{self, Statements},
    sweep::Sweep,
    watch::{Watch, Watcher},
};
use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    store::{
        protocol::Step,
        sql::{
            command::{Command, Reply},
            table::row_key,
        },
    },
};

/// The most commands in one transaction. With more, the first of them would wait for longer than
/// the commit takes.
const BATCH: usize = 256;

/// A message to the thread.
#[expect(clippy::large_enum_variant, reason = "nearly every message is a job")]
pub(super) enum Message {
    Job(Job),
    /// Opens the file, if it is not open.
    Check(Answer<()>),
    /// Creates the table, even if the options say not to.
    Migrate(Answer<()>),
    /// Deletes all rows whose time is over, and answers how many.
    Sweep(Answer<u64>),
    /// Somebody waits for a key: check from now on what other processes write.
    Watch,
}

/// Where an answer is sent. The caller may have gone.
pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A command, and where its answer is sent.
pub(super) struct Job {
    pub(super) key: Key,
    pub(super) command: Command,
    pub(super) answer: Answer<Reply>,
}

/// What the threads of one store share.
pub(super) struct Shared {
    pub(super) database: Database,
    pub(super) statements: Statements,
    pub(super) readers: Readers,
    pub(super) watch: Watch,
}

impl Shared {
    /// Refuses every command in a forked process: SQLite's connections must not be used after a
    /// fork.
    pub(super) fn check_process(&self) -> Result<(), StoreError> {
        if self.database.is_own_process() {
            return Ok(());
        }
        let reason = format!(
            "{} was opened before this process was forked: open a store in the process that uses it",
            self.database.name
        );
        Err(StoreError::new(StoreErrorKind::Config, reason))
    }
}

/// Starts the thread. It ends when the sender is dropped and the queue is empty.
pub(super) fn start(shared: Arc<Shared>) -> Result<Sender<Message>, StoreError> {
    let (sender, receiver) = channel();
    let mut writer = Writer {
        sweep: Sweep::new(shared.database.sweeps),
        watcher: Watcher::new(),
        connection: None,
        receiver,
        shared,
    };
    let name = writer.shared.database.name.clone();
    let thread = thread::Builder::new().name("idempotent-sqlite".to_owned());
    match thread.spawn(move || writer.run()) {
        Ok(_) => Ok(sender),
        Err(error) => {
            let reason = format!("{name}: no thread could be started to write to it");
            Err(StoreError::new(StoreErrorKind::NotSent, reason).with_source(error))
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
    /// `None` before the first command, and after an error with which it may not be used again.
    connection: Option<Connection>,
    sweep: Sweep,
    watcher: Watcher,
}

impl Writer {
    fn run(&mut self) {
        while let Ok(message) = self.receive() {
            if let Some(message) = message {
                self.handle(message);
            }
            self.run_background_work();
        }
    }

    /// Waits for the next message. `Ok(None)` means that background work is due, and an error that
    /// the store was dropped.
    fn receive(&self) -> Result<Option<Message>, ()> {
        let due = self.connection.as_ref().and_then(|_| {
            let due = [self.sweep.due(), self.watcher.due(&self.shared.watch)];
            due.into_iter().flatten().min()
        });
        let Some(due) = due else {
            return self.receiver.recv().map(Some).map_err(drop);
        };
        let pause = due.saturating_duration_since(Instant::now());
        match self.receiver.recv_timeout(pause) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
    }

    /// Checks what other processes have written, and deletes old rows, each if it is due.
    fn run_background_work(&mut self) {
        let shared = &*self.shared;
        if let Some(connection) = &self.connection
            && shared.database.check_file().is_ok()
        {
            self.watcher
                .look_if_due(connection, &shared.statements, &shared.watch);
            self.sweep
                .step_if_due(connection, &shared.statements, &shared.database.name);
        }
    }

    /// Carries out `first`, together with the commands that have queued behind it.
    fn handle(&mut self, first: Message) {
        let queued = iter::from_fn(|| self.receiver.try_recv().ok()).take(BATCH - 1);
        let mut jobs = Vec::new();
        let mut others = Vec::new();
        for message in iter::once(first).chain(queued) {
            match message {
                // Not carried out, because its caller has gone.
                Message::Job(job) if job.answer.is_closed() => {}
                Message::Job(job) => jobs.push(job),
                other => others.push(other),
            }
        }
        if !jobs.is_empty() {
            self.carry_out(jobs);
        }
        for message in others {
            match message {
                Message::Job(_) | Message::Watch => {}
                Message::Check(answer) => {
                    let _ = answer.send(self.opened().map(drop));
                }
                Message::Migrate(answer) => {
                    let _ = answer.send(self.migrate());
                }
                Message::Sweep(answer) => match self.opened() {
                    Ok(_) => self.sweep.begin(answer),
                    Err(error) => {
                        let _ = answer.send(Err(error));
                    }
                },
            }
        }
    }

    fn migrate(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        self.connect(true)
    }

    fn connect(&mut self, creates_table: bool) -> Result<(), StoreError> {
        self.connection = Some(self.shared.database.open_writer(creates_table)?);
        self.watcher = Watcher::new();
        self.shared.readers.allow();
        Ok(())
    }

    /// The connection. Opens it if there is none; otherwise checks that the file is still the one
    /// that it has open.
    fn opened(&mut self) -> Result<&Connection, StoreError> {
        match self.connection {
            Some(_) => self.shared.database.check_file()?,
            None => self.connect(self.shared.database.creates_table)?,
        }
        let name = &self.shared.database.name;
        self.connection
            .as_ref()
            .ok_or_else(|| StoreError::new(StoreErrorKind::NotSent, format!("{name} is not open")))
    }

    fn carry_out(&mut self, jobs: Vec<Job>) {
        let shared = Arc::clone(&self.shared);
        let tried = self
            .opened()
            .map(|connection| transact(connection, &shared, &jobs));
        let answers = match tried {
            Ok(Ok(answers)) => answers,
            Ok(Err(failure)) => self.answers_after(failure, &jobs),
            Err(error) => vec![Err(error); jobs.len()],
        };
        // The lock was not acquired in time. The commands that have queued meanwhile would wait for
        // as long once more, so they are refused too.
        if let Some(Err(error)) = answers.first()
            && error.is_transient()
        {
            self.refuse_queued(error);
        }
        for (job, answer) in jobs.into_iter().zip(answers) {
            if job.command.wakes() {
                shared.watch.publish(&job.key);
            }
            let _ = job.answer.send(answer);
        }
    }

    fn refuse_queued(&self, error: &StoreError) {
        for message in self.receiver.try_iter() {
            let _ = match message {
                Message::Job(job) => job.answer.send(Err(error.clone())).is_ok(),
                Message::Check(answer) | Message::Migrate(answer) => {
                    answer.send(Err(error.clone())).is_ok()
                }
                Message::Sweep(answer) => answer.send(Err(error.clone())).is_ok(),
                Message::Watch => true,
            };
        }
    }

    /// The answers after a transaction has failed. If another command in it may have been the
    /// cause, each command is carried out again alone.
    fn answers_after(&mut self, failure: Failure, jobs: &[Job]) -> Vec<JobResult> {
        let (stage, error) = (failure.stage, failure.explain(&self.shared.database.name));
        // The disk has failed during the commit. The file is opened again, to see what is there.
        if error.is_ambiguous() {
            self.connection = None;
        }
        if jobs.len() == 1 || stage == Stage::Begin {
            return vec![Err(error); jobs.len()];
        }
        let mut locked = None;
        let answers = jobs.iter().map(|job| {
            // If one has waited for the lock in vain, the others need not wait for as long once
            // more.
            let answer = match &locked {
                Some(error) => Err(StoreError::clone(error)),
                None => self.run_alone(job),
            };
            locked = answer
                .as_ref()
                .err()
                .filter(|error| error.is_transient())
                .cloned();
            // If the first commit was ambiguous, it may be found after a restart, so a command's
            // own error is not certain either.
            answer.map_err(|again| {
                if error.is_ambiguous() {
                    again.of_kind(StoreErrorKind::Ambiguous)
                } else {
                    again
                }
            })
        });
        answers.collect()
    }

    fn run_alone(&mut self, job: &Job) -> JobResult {
        let shared = Arc::clone(&self.shared);
        let jobs = std::slice::from_ref(job);
        match transact(self.opened()?, &shared, jobs) {
            Ok(answers) => answers.into_iter().next().unwrap_or_else(|| {
                let reason = format!("{} gave no answer", shared.database.name);
                Err(StoreError::new(StoreErrorKind::Ambiguous, reason))
            }),
            Err(failure) => self.answers_after(failure, jobs).remove(0),
        }
    }
}

type JobResult = Result<Reply, StoreError>;

/// Carries out all `jobs` in one transaction, in their order, and returns their answers. If it
/// fails, it is rolled back.
fn transact(
    connection: &Connection,
    shared: &Shared,
    jobs: &[Job],
) -> Result<Vec<JobResult>, Failure> {
    execute(connection, "BEGIN IMMEDIATE").map_err(Failure::at(Stage::Begin))?;
    let carried_out = carry_out_each(connection, shared, jobs)
        .map_err(Failure::at(Stage::Before))
        .and_then(|answers| {
            execute(connection, "COMMIT").map_err(Failure::at(Stage::Commit))?;
            Ok(answers)
        });
    // Some errors have rolled it back already. If the rollback fails, the next BEGIN fails too.
    if carried_out.is_err() && !connection.is_autocommit() {
        let _ = execute(connection, "ROLLBACK");
    }
    carried_out
}

fn execute(connection: &Connection, text: &str) -> rusqlite::Result<usize> {
    connection.prepare_cached(text)?.execute([])
}

fn carry_out_each(
    connection: &Connection,
    shared: &Shared,
    jobs: &[Job],
) -> rusqlite::Result<Vec<JobResult>> {
    // The time is read under the lock. What others have written while this thread waited for it is
    // older.
    let now = statements::now();
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let key = row_key(&job.key);
        let stored = shared.statements.read(connection, &key)?;
        let row = stored.as_ref().map(|stored| stored.row.as_ref());
        let row = match row.transpose() {
            Ok(row) => row,
            Err(error) => {
                answers.push(Err(StoreError::from(*error)));
                continue;
            }
        };
        let Step { write, reply } = job.command.decide(row, now);
        if let Some(write) = write {
            shared
                .statements
                .write(connection, &key, stored.as_ref(), &write, now)?;
        }
        answers.push(Ok(reply));
    }
    Ok(answers)
}
