//! One command, or one script, and what came of it.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value};

use super::{
    Inner, RedisStore,
    failure::Failure,
    hub::Hub,
    limits,
    scripts::{self, Answer, Argument, Script},
};
use crate::{StoreError, StoreErrorKind, key::Key, record::Record};

/// Values up to this size are sent without a look at the server's limits.
const LARGE: usize = 64 * 1024;

fn is_unknown(result: &Result<Value, Failure>) -> bool {
    matches!(result, Err(failure) if failure.code() == Some("NOSCRIPT"))
}

impl RedisStore {
    /// Sends one command, once.
    pub(super) async fn send(&self, hub: &Arc<Hub>, command: &Cmd) -> Result<Value, Failure> {
        let Inner {
            connector, clock, ..
        } = &*self.inner;
        let live = hub
            .commands
            .live(|| connector.commands(clock))
            .await
            .map_err(Failure::NotSent)?;
        live.send(command).await
    }

    /// The server's time, µs since 1970.
    pub(super) async fn time(&self, hub: &Arc<Hub>) -> Result<u64, StoreError> {
        let Inner {
            connector, clock, ..
        } = &*self.inner;
        // The connection first: making it teaches the time.
        hub.commands.live(|| connector.commands(clock)).await?;
        match clock.now() {
            Some(now) => Ok(now),
            None => Box::pin(self.ask_time(hub)).await,
        }
    }

    async fn ask_time(&self, hub: &Arc<Hub>) -> Result<u64, StoreError> {
        let Inner {
            connector, clock, ..
        } = &*self.inner;
        let answer = self.send(hub, &redis::cmd("TIME")).await;
        let answer = answer.map_err(|failure| failure.explain("TIME", self.place()))?;
        connector.learn(answer, clock)?;
        clock.now().ok_or_else(scripts::unexpected)
    }

    /// Runs a script on one key, bringing it along where the server does not know it.
    pub(super) async fn run(
        &self,
        hub: &Arc<Hub>,
        script: &Script,
        key: &Key,
        arguments: &[Argument<'_>],
        doing: &str,
    ) -> Result<Answer, StoreError> {
        let size = arguments.iter().map(Argument::len).max().unwrap_or(0);
        let result = if size > LARGE {
            // In a box, as all that is rare.
            Box::pin(self.run_large(hub, script, key, arguments, doing, size)).await?
        } else {
            let mut result = self.send(hub, &script.by_hash(key, arguments)).await;
            if is_unknown(&result) {
                let command = script.by_code(key, arguments);
                result = Box::pin(self.send(hub, &command)).await;
            }
            result.map_err(|failure| failure.explain(doing, self.place()))?
        };
        let answer = Answer::parse(result)?;
        if answer.now != 0 {
            self.inner.clock.learn(answer.now);
        }
        Ok(answer)
    }

    /// As [`run`](Self::run), with a value that may be more than the server takes.
    async fn run_large(
        &self,
        hub: &Arc<Hub>,
        script: &Script,
        key: &Key,
        arguments: &[Argument<'_>],
        doing: &str,
        size: usize,
    ) -> Result<Value, StoreError> {
        let connector = &self.inner.connector;
        let limits = &connector.limits;
        // The connection first: making it teaches the limits.
        hub.commands
            .live(|| connector.commands(&self.inner.clock))
            .await?;
        limits.check(size, self.place())?;
        let own = if limits.goes_apart(size) {
            Some(connector.apart().await?)
        } else {
            None
        };
        let send = async |command: Cmd| match &own {
            Some(own) => own.send(&command).await,
            None => self.send(hub, &command).await,
        };
        let mut result = send(script.by_hash(key, arguments)).await;
        if is_unknown(&result) {
            result = send(script.by_code(key, arguments)).await;
        }
        result.map_err(|failure| self.explain_large(failure, arguments, doing, size))
    }

    /// Tells a value that is too large from a failure that passes: the server says so, or hangs up a second time.
    fn explain_large(
        &self,
        failure: Failure,
        arguments: &[Argument<'_>],
        doing: &str,
        size: usize,
    ) -> StoreError {
        let limits = &self.inner.connector.limits;
        let hung_up =
            matches!(&failure, Failure::Unanswered(error) if error.is_connection_dropped());
        let error = failure.explain(doing, self.place());
        if error.kind() == StoreErrorKind::TooLarge {
            limits.refuse(size);
        } else if hung_up
            && arguments
                .iter()
                .find_map(Argument::nonce)
                .is_some_and(|nonce| limits.lose(nonce))
        {
            let why = format!("{} has hung up on it twice", self.place());
            return limits::too_large(size as u64, &why);
        }
        error
    }

    /// The record as it stands.
    pub(super) async fn look(
        &self,
        hub: &Arc<Hub>,
        key: &Key,
    ) -> Result<Option<(Record, Duration)>, StoreError> {
        let answer = self.run(hub, &scripts::READ, key, &[], "reading").await?;
        match answer.verdict {
            b'A' => Ok(None),
            b'R' => Ok(Some((answer.record()?, answer.lease_left))),
            _ => Err(scripts::unexpected()),
        }
    }
}
