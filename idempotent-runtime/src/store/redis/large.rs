//! A script with a value that may be more than the server takes.

use std::sync::Arc;

use redis::Cmd;

#[cfg(feature = "redis-cluster")]
use super::target::Target;
use super::{
    RedisStore,
    calls::{Noted, is_unknown},
    failure::Failure,
    hub::Hub,
    limits::{self, Told},
    scripts::{Argument, Script},
};
use crate::{StoreError, StoreErrorKind, key::Key};

/// Values up to this size are sent without a look at the server's limits.
pub(super) const LARGE: usize = 64 * 1024;

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
        let told = self.told(hub, key).await?;
        connector.limits.check(told, size, self.place())?;
        let is_apart = told.goes_apart(size);
        let mut result = self
            .send_large(hub, &script.by_hash(key, arguments), is_apart)
            .await;
        if is_unknown(&result) {
            result = self
                .send_large(hub, &script.by_code(key, arguments), is_apart)
                .await;
        }
        result.map_err(|failure| self.explain_large(failure, arguments, doing, size))
    }

    /// What the server that has the key told of its limits when the connection to it was made.
    async fn told(&self, hub: &Arc<Hub>, key: &Key) -> Result<Told, StoreError> {
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = self.inner.connector.target {
            let connector = &self.inner.connector;
            let slot = super::slots::of_key(&super::scripts::name(key));
            let node = hub.cluster.owner(hub, connector, Some(slot), None).await?;
            return Ok(node.live(hub, connector, None).await?.told());
        }
        let _ = key;
        Ok(self.live(hub, None).await?.told())
    }

    /// Sends one command, once; apart: over a connection for it alone, so that nobody shares what may become of it.
    async fn send_large(
        &self,
        hub: &Arc<Hub>,
        command: &Cmd,
        is_apart: bool,
    ) -> Result<Noted, Failure> {
        if !is_apart {
            return self.send_noting(hub, command).await;
        }
        let connector = &self.inner.connector;
        #[cfg(feature = "redis-cluster")]
        if let Target::Cluster(_) = connector.target {
            let (value, clock) = super::route::send_apart(hub, connector, command).await?;
            return Ok((value, Some(clock)));
        }
        let own = connector.apart().await.map_err(Failure::NotSent)?;
        Ok((own.send(command).await?, None))
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
}
