//! Sends one statement, and carries out what is decided about a row.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time;
use tokio_postgres::Row as Answer;

use super::{
    PostgresStore,
    connection::{Hub, Session, least_busy},
    error::{Failure, Lost},
    parameter::Parameter::{self, Bytes, Number, Text},
    statements::{Statement, Statements},
};
use crate::{
    StoreError, StoreErrorKind,
    backoff::Backoff,
    store::{
        connection::shared_try::CONNECT_PATIENCE,
        protocol::{Step, Write},
        sql::{
            command::{Command, Reply},
            table::{Row, signed},
        },
    },
};

/// How often a step is tried that other steps got in between each time.
pub(super) const ROUNDS: u32 = 32;
/// How often a statement is sent whose transaction the server gave up in favour of another.
const TRIES: u32 = 5;
const PAUSES: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(20));

/// For how long a look at a key without a row counts, in µs: less than the shortest grace, in which the row of whoever
/// came in between is still there.
const LOOK: u64 = 20_000_000;

/// Which statement to send.
pub(super) type Chosen = fn(&Statements) -> &Statement;

/// A row's answer: the row, if there is one, and the server's time.
pub(super) struct Seen {
    pub(super) row: Option<Stored>,
    pub(super) now: u64,
}

/// A row, and by what a swap knows it again.
pub(super) struct Stored {
    pub(super) row: Row,
    head: Vec<u8>,
}

impl PostgresStore {
    /// Sends one statement, and reads the first row of its answer.
    pub(super) async fn ask(
        &self,
        statement: Chosen,
        parameters: &(dyn Fn() -> Vec<Parameter> + Sync),
        doing: &str,
    ) -> Result<Option<Seen>, StoreError> {
        let asked = Instant::now();
        let rows = self.send(statement, parameters, doing).await?;
        let Some(answer) = rows.first() else {
            return Ok(None);
        };
        let seen = seen(answer).unwrap_or_else(|_| Err(self.unexpected(doing)))?;
        self.inner.connector.clock.learn(seen.now, asked);
        Ok(Some(seen))
    }

    /// Sends one statement. One that another transaction got in the way of is sent again; it has changed nothing.
    pub(super) async fn send(
        &self,
        statement: Chosen,
        parameters: &(dyn Fn() -> Vec<Parameter> + Sync),
        doing: &str,
    ) -> Result<Vec<Answer>, StoreError> {
        let hub = self.hub()?;
        let mut pauses = PAUSES;
        for tried in 1.. {
            let session = self.session(&hub, CONNECT_PATIENCE).await?;
            let failure = match self.send_on(&hub, session, statement, parameters()).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            // Prepared by us, and not there: a pooler lends sessions, and has not said so.
            if failure.is_of_a_shared_session() && !self.inner.connector.is_pooled() {
                self.inner.connector.turn_pooled();
                continue;
            }
            if !failure.is_conflict() || tried >= TRIES {
                return Err(self.explain(failure, doing));
            }
            time::sleep(pauses.pause()).await;
        }
        Err(self.unexpected(doing))
    }

    /// In a task: whoever waits for the answer may stop polling, and others' answers come on the same connection.
    async fn send_on(
        &self,
        hub: &Hub,
        session: Arc<Session>,
        statement: Chosen,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<Answer>, Failure> {
        let connector = self.inner.connector.clone();
        let under_way = session.begin();
        let sending = hub.runtime.spawn(async move {
            let statement = statement(&connector.statements);
            let patience = connector.options.response_timeout;
            under_way.send(statement, &parameters, patience).await
        });
        let sent = sending.await;
        sent.unwrap_or(Err(Failure::Unanswered(Lost::Connection(None))))
    }

    /// A connection for statements.
    pub(super) async fn session(
        &self,
        hub: &Arc<Hub>,
        patience: Option<Duration>,
    ) -> Result<Arc<Session>, StoreError> {
        let session = least_busy(hub, &self.inner.connector, patience).await?;
        if self.inner.connector.options.sweeps {
            self.inner.sweeper.start(hub, &self.inner);
        }
        Ok(session)
    }

    pub(super) fn explain(&self, failure: Failure, doing: &str) -> StoreError {
        let connector = &self.inner.connector;
        failure.explain(doing, &connector.server_name, &connector.table)
    }

    pub(super) fn unexpected(&self, doing: &str) -> StoreError {
        let name = &self.inner.connector.server_name;
        let reason = format!(
            "{name} gave an answer of an unexpected shape to {doing}; it may have been carried out"
        );
        StoreError::new(StoreErrorKind::Ambiguous, reason)
    }

    /// The row as it is now.
    pub(super) async fn look(&self, key: &str, doing: &str) -> Result<Seen, StoreError> {
        let parameters = || vec![Text(key.to_owned())];
        let seen = self.ask(|all| &all.read, &parameters, doing).await?;
        seen.ok_or_else(|| self.unexpected(doing))
    }

    /// Carries out a command on what was `seen`, or on what is there now: decides, and writes on the condition that the row
    /// is still the same; otherwise looks again.
    pub(super) async fn carry_out(
        &self,
        key: &str,
        command: &Command,
        mut seen: Option<Seen>,
        doing: &str,
    ) -> Result<Reply, StoreError> {
        for _ in 0..ROUNDS {
            let there = match seen.take() {
                Some(seen) => seen,
                None => self.look(key, doing).await?,
            };
            let row = there.row.as_ref();
            let Step { write, reply } = command.decide(row.map(|stored| &stored.row), there.now);
            let Some(write) = write else {
                return Ok(reply);
            };
            let written = match row {
                Some(stored) => self.swap(key, stored, &write, doing).await?,
                None => self.put(key, &write, there.now, doing).await?,
            };
            if written {
                return Ok(reply);
            }
        }
        Err(self.contended(doing))
    }

    pub(super) fn contended(&self, doing: &str) -> StoreError {
        let name = &self.inner.connector.server_name;
        let reason = format!("{name}: others changed the record each time during {doing}");
        StoreError::new(StoreErrorKind::Refused, reason).transient()
    }

    async fn swap(
        &self,
        key: &str,
        stored: &Stored,
        write: &Write,
        doing: &str,
    ) -> Result<bool, StoreError> {
        let record = write.bytes();
        let parameters = || {
            vec![
                Text(key.to_owned()),
                Bytes(record.clone()),
                micros(write.shown()),
                micros(write.keep),
                Bytes(stored.head.clone()),
                Number(stored.row.renewed),
                Number(stored.row.expires),
            ]
        };
        let swapped = self.ask(|all| &all.swap, &parameters, doing).await?;
        Ok(swapped.is_some())
    }

    async fn put(
        &self,
        key: &str,
        write: &Write,
        now: u64,
        doing: &str,
    ) -> Result<bool, StoreError> {
        let record = write.bytes();
        let parameters = || {
            vec![
                Text(key.to_owned()),
                Bytes(record.clone()),
                micros(write.shown()),
                micros(write.keep),
                Number(signed(now.saturating_add(LOOK))),
            ]
        };
        let put = self.ask(|all| &all.put, &parameters, doing).await?;
        Ok(put.is_some())
    }
}

pub(super) fn micros(time: Duration) -> Parameter {
    Number(signed(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
}

/// The columns of a row's answer. The inner error is that of bytes which are no record.
fn seen(answer: &Answer) -> Result<Result<Seen, StoreError>, tokio_postgres::Error> {
    let now = u64::try_from(answer.try_get::<_, i64>(3)?).unwrap_or(0);
    let Some(record) = answer.try_get::<_, Option<&[u8]>>(0)? else {
        return Ok(Ok(Seen { row: None, now }));
    };
    let row = Row::read(record, answer.try_get(1)?, answer.try_get(2)?);
    let head = record.get(..18).unwrap_or_default().to_vec();
    let seen = row.map(|row| Seen {
        row: Some(Stored { row, head }),
        now,
    });
    Ok(seen.map_err(StoreError::from))
}
