//! One connection, and whether it is of use.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Pipeline, PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection};
use tokio::task::AbortHandle;

use super::{limits::ServerLimits, transport::Activity};
use crate::store::{
    connection::slot::{self, Alive},
    redis::error::Failure,
};

/// A caller that gives up after at least this fraction of the response timeout, on a connection
/// that was silent meanwhile, gives up the connection too.
const SILENCE_FRACTION: u32 = 4;
/// Or after this time, however long the response timeout is: callers give up after some seconds.
const MAX_SILENCE: Duration = Duration::from_secs(2);

/// A connection and its liveness.
pub(crate) struct Connection {
    pub(crate) multiplexed: MultiplexedConnection,
    liveness: Arc<Liveness>,
    activity: Arc<Activity>,
    response_timeout: Duration,
    /// The limits that its server told last.
    limits: Mutex<ServerLimits>,
    /// The task that drives the connection, aborted with it.
    driver: AbortHandle,
}

impl Connection {
    /// A connection driven by `driving`, in a task.
    pub(crate) fn new(
        multiplexed: MultiplexedConnection,
        driving: impl Future<Output = ()> + Send + 'static,
        liveness: Arc<Liveness>,
        activity: Arc<Activity>,
        response_timeout: Duration,
    ) -> Self {
        let end = EndGuard(liveness.clone());
        let driver = tokio::spawn(async move {
            let _end = end;
            driving.await;
        });
        Self {
            multiplexed,
            liveness,
            activity,
            response_timeout,
            limits: Mutex::default(),
            driver: driver.abort_handle(),
        }
    }

    /// Stores the limits that the server told.
    pub(crate) fn set_limits(&self, limits: ServerLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    pub(crate) fn limits(&self) -> ServerLimits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one command, once.
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let sent = CommandGuard::new(self);
        let result = self.multiplexed.clone().send_packed_command(command).await;
        sent.answered(result)
    }

    /// Sends `ASKING` and one command, once: to a node that is importing the key's slot.
    #[cfg(feature = "redis-cluster")]
    pub(crate) async fn send_asking(&self, command: &Cmd) -> Result<Value, Failure> {
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let sent = CommandGuard::new(self);
        let mut connection = self.multiplexed.clone();
        let result = connection.send_packed_commands(&both, 1, 1).await;
        sent.answered(result.map(|answers| answers.into_iter().next().unwrap_or(Value::Nil)))
    }

    /// Sends several commands in one pipeline, once. Each has an answer of its own, which may be an
    /// error.
    pub(crate) async fn send_all(
        &self,
        commands: &Pipeline,
        count: usize,
    ) -> Result<Vec<Value>, Failure> {
        let sent = CommandGuard::new(self);
        let mut connection = self.multiplexed.clone();
        let result = connection.send_packed_commands(commands, 0, count).await;
        let answered = sent.answered(result.map(Value::Array))?;
        match answered {
            Value::Array(answers) => Ok(answers),
            _ => Ok(Vec::new()),
        }
    }

    /// Gives the connection up: the next caller makes another. Commands in progress keep this one.
    pub(crate) fn retire(&self) {
        self.liveness.retire();
    }
}

impl Alive for Connection {
    /// A connection that was silent for longer than any answer may take is given up here, because
    /// the callers who sent those commands may have gone.
    fn is_alive(&self) -> bool {
        if self.liveness.is_alive() && self.activity.is_silent_for(self.response_timeout) {
            self.retire();
        }
        self.liveness.is_alive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A command in progress. Its caller may give up and drop it.
struct CommandGuard<'a> {
    connection: &'a Connection,
    at: u64,
    is_answered: bool,
}

impl<'a> CommandGuard<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            at: connection.activity.now(),
            is_answered: false,
        }
    }

    /// Replaces the connection after three kinds of failure. A late answer may mean a silently
    /// broken link. A demoted primary stays a replica. A user who must log in again does so on a
    /// new connection.
    fn answered(mut self, result: Result<Value, RedisError>) -> Result<Value, Failure> {
        self.is_answered = true;
        let failure = match result {
            Ok(Value::ServerError(error)) => Failure::from(error),
            Ok(value) => return Ok(value),
            Err(error) => Failure::from(error),
        };
        if matches!(failure, Failure::Unanswered(_))
            || matches!(failure.code(), Some("READONLY" | "NOAUTH"))
        {
            self.connection.retire();
        }
        Err(failure)
    }
}

impl Drop for CommandGuard<'_> {
    fn drop(&mut self) {
        let limit = MAX_SILENCE.min(self.connection.response_timeout / SILENCE_FRACTION);
        if !self.is_answered && self.connection.activity.is_silent_since(self.at, limit) {
            self.connection.retire();
        }
    }
}

/// Receives pushes, and notices the end of a connection: when the server hangs up, or with its
/// runtime.
pub(crate) struct Liveness {
    alive: AtomicBool,
    listener: Option<Box<dyn PushListener>>,
}

/// Receives pushes and the loss of a connection, for a subscriber.
pub(crate) trait PushListener: Send + Sync + 'static {
    fn on_push(&self, push: PushInfo);
    fn on_lost(&self);
}

impl Liveness {
    pub(crate) fn new(listener: Option<Box<dyn PushListener>>) -> Self {
        Self {
            alive: AtomicBool::new(true),
            listener,
        }
    }

    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    fn retire(&self) {
        self.alive.store(false, Ordering::Release);
    }

    pub(crate) fn push(&self, push: PushInfo) {
        if push.kind == PushKind::Disconnection {
            self.end();
        } else if let Some(listener) = &self.listener {
            listener.on_push(push);
        }
    }

    fn end(&self) {
        let was_alive = self.alive.swap(false, Ordering::AcqRel);
        if let Some(listener) = self.listener.as_ref().filter(|_| was_alive) {
            listener.on_lost();
        }
    }
}

/// Dropped when the task that drives a connection ends, however it ends.
struct EndGuard(Arc<Liveness>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The slot of one connection.
pub(crate) type ConnectionSlot = slot::ConnectionSlot<Connection>;
