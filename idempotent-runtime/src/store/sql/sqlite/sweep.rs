//! Deletes rows whose time is over. It goes through the table in rounds, a thousand rows at a step,
//! between the commands.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{
    error::{Stage, explain},
    statements::{self, Statements},
    writer::Answer,
};
use crate::{StoreError, backoff::Backoff, store::sql::table::signed};

/// The number of rows that a step examines.
const ROWS: i64 = 1000;
/// The longest pause between two rounds. Each is random, from half of it on, so that several
/// processes take turns.
const PAUSE: Duration = Duration::from_secs(15);
/// Rounds take at most one part in this many of the thread's time.
const SHARE: u32 = 50;

/// The state of the sweep.
pub(super) struct Sweep {
    /// Whether rounds begin by themselves.
    is_on: bool,
    /// When the next step is due.
    next: Instant,
    /// The last row that was examined in this round; 0 before the first.
    at: i64,
    /// How long this round has taken so far.
    took: Duration,
    deleted: u64,
    /// Where the result of this round is sent.
    waiting: Vec<Answer<u64>>,
}

impl Sweep {
    pub(super) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            next: Instant::now() + pause(),
            at: 0,
            took: Duration::ZERO,
            deleted: 0,
            waiting: Vec::new(),
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        (self.is_on || !self.waiting.is_empty()).then_some(self.next)
    }

    /// Begins a new round now, and sends the number of deleted rows at its end.
    pub(super) fn begin(&mut self, answer: Answer<u64>) {
        self.waiting.push(answer);
        (self.at, self.deleted, self.next) = (0, 0, Instant::now());
    }

    pub(super) fn step_if_due(
        &mut self,
        connection: &Connection,
        statements: &Statements,
        name: &str,
    ) {
        let started = Instant::now();
        if self.due().is_none_or(|due| due > started) {
            return;
        }
        let stepped = step(connection, statements, self.at);
        self.took += started.elapsed();
        match stepped {
            Ok(Some((last, deleted))) => {
                self.at = last;
                self.deleted += deleted;
            }
            Ok(None) => {
                let deleted = self.deleted;
                self.end(&Ok(deleted));
            }
            // If nobody waits for the result, the next command that fails reports its error.
            Err(error) => self.end(&Err(explain(error, name, Stage::Before))),
        }
    }

    fn end(&mut self, result: &Result<u64, StoreError>) {
        for answer in self.waiting.drain(..) {
            // The caller may have gone.
            let _ = answer.send(result.clone());
        }
        self.next = Instant::now() + pause().max(self.took * SHARE);
        (self.at, self.deleted, self.took) = (0, 0, Duration::ZERO);
    }
}

fn pause() -> Duration {
    Backoff::new(PAUSE, PAUSE).pause()
}

/// Examines the next rows after `from`, and deletes those whose time is over. Returns the last row
/// examined and the number deleted; `None` at the end of the table. It writes only if there is
/// something to delete.
fn step(
    connection: &Connection,
    statements: &Statements,
    from: i64,
) -> rusqlite::Result<Option<(i64, u64)>> {
    let now = signed(statements::now());
    let mut window = connection.prepare_cached(&statements.sweep_window)?;
    let (last, first_end): (Option<i64>, Option<i64>) =
        window.query_row([from, ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(last), Some(first_end)) = (last, first_end) else {
        return Ok(None);
    };
    if first_end > now {
        return Ok(Some((last, 0)));
    }
    let mut delete = connection.prepare_cached(&statements.sweep)?;
    let deleted = delete.execute([from, last, now])?;
    Ok(Some((last, u64::try_from(deleted).unwrap_or(u64::MAX))))
}
