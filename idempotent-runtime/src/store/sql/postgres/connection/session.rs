//! One connection for statements.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::AbortHandle, time};
use tokio_postgres::{
    Client, Error, Row, Statement as Prepared,
    types::{ToSql, Type},
};

use super::super::{
    error::{Failure, Lost},
    parameter::Parameter,
    statements::{Statement, Statements},
};
use crate::store::connection::slot::Alive;

/// What drives a connection: reads and writes, until its end.
pub(in crate::store::sql::postgres) type Driving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection on which the statements of many tasks are under way.
pub(in crate::store::sql::postgres) struct Session {
    client: Client,
    /// The statements that are prepared on it; none where a pooler may be between.
    prepared: Vec<Prepared>,
    life: Arc<Life>,
    /// How many statements have no answer yet.
    busy: AtomicUsize,
    /// How many have had one.
    answered: AtomicUsize,
    /// The task that drives it, aborted with it.
    driver: AbortHandle,
}

impl Session {
    /// A connection that a task drives, without prepared statements.
    pub(super) fn new(client: Client, driving: Driving) -> Self {
        let life = Arc::new(Life {
            is_alive: AtomicBool::new(true),
            when_lost: Mutex::default(),
        });
        let end = End(life.clone());
        let driver = tokio::spawn(async move {
            driving.await;
            end.0.end();
            end.0.tell();
        });
        Self {
            client,
            prepared: Vec::new(),
            life,
            busy: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            driver: driver.abort_handle(),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Prepares the statements that are sent often, under names of this session.
    pub(super) async fn prepare(&mut self, statements: &Statements) -> Result<(), Error> {
        for statement in statements.prepared() {
            let preparing = self.client.prepare_typed(&statement.text, &statement.types);
            self.prepared.push(preparing.await?);
        }
        Ok(())
    }

    /// How many statements have no answer yet.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Counts a statement that is about to be sent, until its guard is dropped.
    pub(in crate::store::sql::postgres) fn begin(self: &Arc<Self>) -> UnderWay {
        self.busy.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Gives the connection up: the next caller makes another. Statements in progress keep this one.
    fn retire(&self) {
        self.life.end();
    }

    /// Calls `tell` once the connection is lost, not when it is dropped.
    pub(in crate::store::sql::postgres) fn when_lost(&self, tell: impl FnOnce() + Send + 'static) {
        *self.life.when_lost() = Some(Box::new(tell));
        if !self.is_alive() {
            self.life.tell();
        }
    }

    async fn query(
        &self,
        statement: &Statement,
        parameters: &[Parameter],
    ) -> Result<Vec<Row>, Error> {
        let named = statement
            .prepared
            .and_then(|place| self.prepared.get(place));
        let Some(named) = named else {
            let typed = parameters.iter().zip(&statement.types);
            let typed: Vec<(&(dyn ToSql + Sync), Type)> = typed
                .map(|(parameter, kind)| (parameter as _, kind.clone()))
                .collect();
            return self.client.query_typed(&statement.text, &typed).await;
        };
        let parameters: Vec<&(dyn ToSql + Sync)> =
            parameters.iter().map(|parameter| parameter as _).collect();
        self.client.query(named, &parameters).await
    }
}

impl Alive for Session {
    fn is_alive(&self) -> bool {
        self.life.is_alive.load(Ordering::Acquire) && !self.client.is_closed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Whether a connection is of use, and who is told of its loss.
struct Life {
    is_alive: AtomicBool,
    when_lost: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Life {
    fn when_lost(&self) -> MutexGuard<'_, Option<Box<dyn FnOnce() + Send>>> {
        self.when_lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.is_alive.store(false, Ordering::Release);
    }

    /// Tells of the loss, once.
    fn tell(&self) {
        let tell = self.when_lost().take();
        if let Some(tell) = tell {
            tell();
        }
    }
}

/// Dropped when the task that drives a connection ends, however it ends.
struct End(Arc<Life>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A statement in progress.
pub(in crate::store::sql::postgres) struct UnderWay(Arc<Session>);

impl UnderWay {
    /// Sends one statement, once, and waits for the whole answer. It must run in a task: an answer that nobody reads would
    /// hold up all others on its connection.
    pub(in crate::store::sql::postgres) async fn send(
        &self,
        statement: &Statement,
        parameters: &[Parameter],
        patience: Duration,
    ) -> Result<Vec<Row>, Failure> {
        let session = &self.0;
        let before = session.answered.load(Ordering::Relaxed);
        let answer = time::timeout(patience, session.query(statement, parameters)).await;
        let Ok(answer) = answer else {
            // A connection that answers others is only slow: to connect anew would make it slower.
            if session.answered.load(Ordering::Relaxed) == before {
                session.retire();
            }
            return Err(Failure::Unanswered(Lost::Late));
        };
        session.answered.fetch_add(1, Ordering::Relaxed);
        answer.map_err(|error| {
            let failure = Failure::from(error);
            if failure.ends_connection() {
                session.retire();
            }
            failure
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
