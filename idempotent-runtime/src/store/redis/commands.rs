//! Sends one command or one script, and reads the answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{Cmd, Value};

#[cfg(feature = "redis-cluster")]
use super::connection::target::Target;
use super::{
    Inner, RedisStore,
    connection::{liveness::Connection, per_runtime::Hub},
    error::Failure,
    scripts::{self, Answer, Argument, Script},
};
use crate::{
    StoreError,
    key::Key,
    record::Record,
    store::connection::{clock::Clock, shared_try::CONNECT_PATIENCE},
};

/// An answer, and in a cluster the clock of the node that gave it.
pub(super) type Noted = (Value, Option<Arc<Clock>>);

/// The server does not know the script.
pub(super) fn is_unknown<T>(result: &Result<T, Failure>) -> bool {
    matches!(result, Err(failure) if failure.code() == Some("NOSCRIPT"))
}

// Apart from the store's steps: how one command reaches its server.
impl RedisStore {
    /// Sends one command, once.
    pub(super) async fn send(&self, hub: &Arc<Hub>, command: &Cmd) -> Result<Value, Failure> {
        let (value, _) = self.send_noting(hub, command).await?;
        Ok(value)
    }

    /// As [`send`](Self::send), and returns in a cluster the clock of the node that answered.
    pub(super) async fn send_noting(
        &self,
        hub: &Arc<Hub>,
        command: &Cmd,
    ) -> Result<Noted, Failure> {
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = self.inner.connector.target {
            let sending = super::connection::route::send(hub, &self.inner.connector, command);
            // Boxed because other targets do not need it: keeps the common future small.
            let (value, clock) = Box::pin(sending).await?;
            return Ok((value, Some(clock)));
        }
        let connection = self.connection(hub, None).await.map_err(Failure::NotSent)?;
        Ok((connection.send(command).await?, None))
    }

    /// The connection for commands, if one serves all keys.
    pub(super) async fn connection(
        &self,
        hub: &Arc<Hub>,
        patience: Option<Duration>,
    ) -> Result<Arc<Connection>, StoreError> {
        let open = || {
            let Inner {
                connector, clock, ..
            } = &*self.inner;
            let (connector, clock) = (connector.clone(), clock.clone());
            async move { connector.commands(&clock).await }
        };
        hub.commands.connection(&hub.runtime, patience, open).await
    }

    /// Connects to every server that may hold records.
    pub(super) async fn connected(&self, hub: &Arc<Hub>) -> Result<(), StoreError> {
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = self.inner.connector.target {
            return hub.cluster.check(hub, &self.inner.connector).await;
        }
        self.connection(hub, None).await.map(drop)
    }

    /// The time of the server that has the key, µs since 1970, and the connection to it, if one
    /// serves all keys. It connects first, with bounded patience, so a claim without a connection
    /// fails as not sent.
    pub(super) async fn time(
        &self,
        hub: &Arc<Hub>,
        key: &Key,
    ) -> Result<(u64, Option<Arc<Connection>>), StoreError> {
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = self.inner.connector.target {
            return Ok((Box::pin(self.time_of_node(hub, key)).await?, None));
        }
        let _ = key;
        // The connection first: connecting learns the time.
        let connection = self.connection(hub, CONNECT_PATIENCE).await?;
        let now = match self.inner.clock.recent() {
            Some(now) => now,
            None => Box::pin(self.ask_time(hub)).await?,
        };
        Ok((now, Some(connection)))
    }

    async fn ask_time(&self, hub: &Arc<Hub>) -> Result<u64, StoreError> {
        let Inner {
            connector, clock, ..
        } = &*self.inner;
        let asked = Instant::now();
        let answer = self.send(hub, &redis::cmd("TIME")).await;
        let answer = answer.map_err(|failure| failure.explain("TIME", self.server_name()))?;
        connector.learn(answer, clock, asked)?;
        clock.now().ok_or_else(scripts::unexpected)
    }

    #[cfg(feature = "redis-cluster")]
    async fn time_of_node(&self, hub: &Arc<Hub>, key: &Key) -> Result<u64, StoreError> {
        let connector = &self.inner.connector;
        let slot = super::connection::slot_map::of_key(&scripts::name(key));
        let (node, connection) = hub
            .cluster
            .reach(hub, connector, Some(slot), CONNECT_PATIENCE)
            .await?;
        if node.clock.recent().is_none() {
            let asked = Instant::now();
            let answer = connection.send(&redis::cmd("TIME")).await;
            let answer = answer.map_err(|failure| failure.explain("TIME", self.server_name()))?;
            connector.learn(answer, &node.clock, asked)?;
        }
        node.clock.now().ok_or_else(scripts::unexpected)
    }

    /// The time of the server that has the key, if it was learned just now.
    pub(super) fn fresh_time(&self, hub: &Arc<Hub>, key: &Key) -> Option<u64> {
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = self.inner.connector.target {
            let slot = super::connection::slot_map::of_key(&scripts::name(key));
            return hub.cluster.known_owner(slot)?.clock.fresh();
        }
        let _ = (hub, key);
        self.inner.clock.fresh()
    }

    /// Runs a script on one key by its hash, or by its text if the server does not know the hash.
    pub(super) async fn run(
        &self,
        hub: &Arc<Hub>,
        script: &Script,
        key: &Key,
        arguments: &[Argument<'_>],
        doing: &str,
    ) -> Result<Answer, StoreError> {
        let asked = Instant::now();
        let size = arguments.iter().map(Argument::len).max().unwrap_or(0);
        if size > super::large::LARGE {
            // Boxed because rare.
            let sending = self.run_large(hub, script, key, arguments, doing);
            return self.take_in(Box::pin(sending).await?, asked);
        }
        let mut result = self.send_noting(hub, &script.by_hash(key, arguments)).await;
        if is_unknown(&result) {
            let command = script.by_code(key, arguments);
            result = Box::pin(self.send_noting(hub, &command)).await;
        }
        let noted = result.map_err(|failure| failure.explain(doing, self.server_name()))?;
        self.take_in(noted, asked)
    }

    /// Reads a script's answer, and learns the server's time from it.
    fn take_in(&self, (value, clock): Noted, asked: Instant) -> Result<Answer, StoreError> {
        let answer = Answer::parse(value)?;
        if answer.now != 0 {
            self.inner.clock.learn(answer.now, asked);
            if let Some(clock) = clock {
                clock.learn(answer.now, asked);
            }
        }
        Ok(answer)
    }

    /// Reads the current record.
    pub(super) async fn look(
        &self,
        hub: &Arc<Hub>,
        key: &Key,
    ) -> Result<Option<(Record, Duration)>, StoreError> {
        let answer = self.run(hub, &scripts::READ, key, &[], "reading").await?;
        answer.visible()
    }
}
