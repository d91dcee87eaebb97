//! Sends a script with a value that may be larger than the server takes.

use std::sync::Arc;

use redis::Cmd;

#[cfg(feature = "redis-cluster")]
use super::connection::target::Target;
use super::{
    RedisStore,
    commands::{Noted, is_unknown},
    connection::{
        limits::{self, Limits, ServerLimits},
        liveness::Connection,
        per_runtime::Hub,
    },
    error::Failure,
    scripts::{Argument, Script},
};
use crate::{StoreError, StoreErrorKind, key::Key};

/// Values up to this size are sent without checking the server's limits.
pub(super) const LARGE: usize = 64 * 1024;

// Apart from the store's steps: nearly no value is large.
impl RedisStore {
    /// As [`run`](Self::run), with a value above [`LARGE`].
    pub(super) async fn run_large(
        &self,
        hub: &Arc<Hub>,
        script: &Script,
        key: &Key,
        arguments: &[Argument<'_>],
        doing: &str,
    ) -> Result<Noted, StoreError> {
        let connector = &self.inner.connector;
        let size = arguments.iter().map(Argument::len).max().unwrap_or(0);
        let connection = self.connection_for(hub, key).await?;
        let mut limits = connection.limits();
        if limits.refuses(size) {
            // The known limits may be outdated: our refusal tells the operator to raise them, and a
            // result that is not recorded is gone.
            limits = self.ask_again(&connection).await?;
        }
        connector.limits.check(limits, size, self.server_name())?;
        let has_own_connection = limits.needs_own_connection(size);
        let mut result = self
            .send_large(hub, &script.by_hash(key, arguments), has_own_connection)
            .await;
        if is_unknown(&result) {
            result = self
                .send_large(hub, &script.by_code(key, arguments), has_own_connection)
                .await;
        }
        result.map_err(|failure| self.explain_large(failure, arguments, doing, size))
    }

    /// Asks the server for its limits as they are now. Nothing of the value has been sent.
    async fn ask_again(&self, connection: &Connection) -> Result<ServerLimits, StoreError> {
        match connection.send(&Limits::question()).await {
            Ok(answer) => {
                let limits = limits::parse(&answer);
                connection.set_limits(limits);
                Ok(limits)
            }
            // It may no longer be asked.
            Err(Failure::Refused(_)) => Ok(ServerLimits::default()),
            Err(failure) => {
                let error = failure.explain("asking for its limits", self.server_name());
                Err(StoreError::new(StoreErrorKind::NotSent, error.to_string()).with_source(error))
            }
        }
    }

    /// A connection to the server that has the key.
    async fn connection_for(
        &self,
        hub: &Arc<Hub>,
        key: &Key,
    ) -> Result<Arc<Connection>, StoreError> {
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = self.inner.connector.target {
            let connector = &self.inner.connector;
            let slot = super::connection::slot_map::of_key(&super::scripts::name(key));
            let node = hub.cluster.owner(hub, connector, Some(slot), None).await?;
            return node.connection(hub, connector, None).await;
        }
        let _ = key;
        self.connection(hub, None).await
    }

    /// Sends one command, once. With `apart` it uses a connection of its own, so that a hang-up
    /// affects no other call.
    async fn send_large(
        &self,
        hub: &Arc<Hub>,
        command: &Cmd,
        has_own_connection: bool,
    ) -> Result<Noted, Failure> {
        if !has_own_connection {
            return self.send_noting(hub, command).await;
        }
        let connector = &self.inner.connector;
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = connector.target {
            let (value, clock) =
                super::connection::route::send_on_own_connection(hub, connector, command).await?;
            return Ok((value, Some(clock)));
        }
        let own = connector.apart().await.map_err(Failure::NotSent)?;
        Ok((own.send(command).await?, None))
    }

    /// Distinguishes a value that is too large from a transient failure: the server says so, or
    /// hangs up a second time.
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
        let error = failure.explain(doing, self.server_name());
        if error.kind() == StoreErrorKind::TooLarge {
            limits.refuse(size);
        } else if hung_up
            && arguments
                .iter()
                .find_map(Argument::nonce)
                .is_some_and(|nonce| limits.note_lost_connection(nonce))
        {
            let why = format!("{} has hung up on it twice", self.server_name());
            return limits::too_large(size as u64, &why);
        }
        error
    }
}
