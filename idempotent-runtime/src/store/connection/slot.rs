//! One connection, made when needed and made again when lost.

use std::{
    fmt,
    future::Future,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::runtime::Handle;

use super::shared_try::SharedTry;
use crate::StoreError;

/// A connection that knows whether it is of use.
pub(crate) trait Alive: Send + Sync + 'static {
    /// Whether commands may be sent on it.
    fn is_alive(&self) -> bool;
}

/// The slot of one connection.
pub(crate) struct ConnectionSlot<C> {
    slot: Arc<RwLock<Option<Arc<C>>>>,
    connecting: SharedTry<Arc<C>>,
}

impl<C: Alive> ConnectionSlot<C> {
    pub(crate) fn current(&self) -> Option<Arc<C>> {
        self.slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .filter(|connection| connection.is_alive())
            .cloned()
    }

    /// The connection. If there is none, `open` makes it in a task on `runtime`. A caller that
    /// comes meanwhile waits for it, and shares its failure.
    pub(crate) async fn connection<F>(
        &self,
        runtime: &Handle,
        patience: Option<Duration>,
        open: impl FnOnce() -> F,
    ) -> Result<Arc<C>, StoreError>
    where
        F: Future<Output = Result<C, StoreError>> + Send + 'static,
    {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        // Boxed because rare: nearly every call finds the connection made.
        Box::pin(
            self.connecting
                .join(runtime, patience, || self.current(), || self.making(open())),
        )
        .await
    }

    /// As [`connection`](Self::connection), without waiting for it.
    #[cfg(feature = "postgres")]
    pub(crate) fn kick<F>(&self, runtime: &Handle, open: impl FnOnce() -> F)
    where
        F: Future<Output = Result<C, StoreError>> + Send + 'static,
    {
        let current = || self.current();
        self.connecting
            .kick(runtime, current, || self.making(open()));
    }

    fn making(
        &self,
        opening: impl Future<Output = Result<C, StoreError>> + Send + 'static,
    ) -> impl Future<Output = Result<Arc<C>, StoreError>> + Send + 'static {
        let slot = self.slot.clone();
        async move {
            let connection = Arc::new(opening.await?);
            *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
            Ok(connection)
        }
    }
}

impl<C> Clone for ConnectionSlot<C> {
    fn clone(&self) -> Self {
        Self {
            slot: self.slot.clone(),
            connecting: self.connecting.clone(),
        }
    }
}

impl<C> Default for ConnectionSlot<C> {
    fn default() -> Self {
        Self {
            slot: Arc::default(),
            connecting: SharedTry::default(),
        }
    }
}

impl<C: Alive> fmt::Debug for ConnectionSlot<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSlot")
            .field("connected", &self.current().is_some())
            .finish()
    }
}
