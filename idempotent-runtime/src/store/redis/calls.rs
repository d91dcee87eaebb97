//! One command, or one script, and what came of it.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value};

use super::{
    Inner, RedisStore,
    failure::Failure,
    hub::Hub,
    scripts::{self, Answer, Argument, Script},
};
use crate::{StoreError, key::Key, record::Record};

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
        let mut result = self.send(hub, &script.by_hash(key, arguments)).await;
        if let Err(failure) = &result
            && failure.code() == Some("NOSCRIPT")
        {
            let command = script.by_code(key, arguments);
            result = Box::pin(self.send(hub, &command)).await;
        }
        let answer =
            Answer::parse(result.map_err(|failure| failure.explain(doing, self.place()))?)?;
        if answer.now != 0 {
            self.inner.clock.learn(answer.now);
        }
        Ok(answer)
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
