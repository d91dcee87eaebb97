//! Deletes records that are past their time: a thousand rows a step, between the commands.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{
    error::{Stage, explain},
    statements::{self, Statements},
    writer::Answer,
};
use crate::{StoreError, backoff::Backoff, store::sql::table::signed};

/// Rows that a step looks at.
const ROWS: i64 = 1000;
/// Between two rounds: a half of it to the whole, so that several processes take turns.
const PAUSE: Duration = Duration::from_secs(15);
/// Rounds take at most this part of the thread's time.
const SHARE: u32 = 50;

/// Where the sweeping stands.
pub(super) struct Sweep {
    /// Whether rounds begin by themselves.
    is_on: bool,
    /// When the next step is due.
    next: Instant,
    /// The last row that was looked at in this round; 0 before the first.
    at: i64,
    /// How long this round has taken so far.
    took: Duration,
    deleted: u64,
    /// Who has asked for this round.
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

    /// Begins a round now, and answers at its end.
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
            // The next command that fails says so to its caller.
            Err(error) => self.end(&Err(explain(error, name, Stage::Before))),
        }
    }

    fn end(&mut self, result: &Result<u64, StoreError>) {
        for answer in self.waiting.drain(..) {
            // Whoever asked may have left.
            let _ = answer.send(result.clone());
        }
        self.next = Instant::now() + pause().max(self.took * SHARE);
        (self.at, self.deleted, self.took) = (0, 0, Duration::ZERO);
    }
}

fn pause() -> Duration {
    Backoff::new(PAUSE, PAUSE).pause()
}

/// The last row of those after `from` that were looked at, and how many were deleted; `None` at the
/// end of the table. It writes only where there is something to delete.
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
