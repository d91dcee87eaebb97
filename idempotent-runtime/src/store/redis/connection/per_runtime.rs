//! The connections that belong to one tokio runtime.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::{
    runtime::{Handle, Id},
    task::AbortHandle,
};

use super::slot::ConnectionSlot;
use crate::{StoreError, StoreErrorKind, store::redis::notify::Subscriber};

/// One runtime's connections. A task drives each, and a task ends with its runtime. With
/// connections of its own, no runtime waits for another, and the end of one (of a test, say)
/// affects no other.
pub(crate) struct Hub {
    /// The runtime that makes and drives the connections.
    pub(crate) runtime: Handle,
    /// A task that does nothing and ends with the runtime: a later runtime may reuse its id.
    tether: AbortHandle,
    pub(crate) commands: ConnectionSlot,
    pub(crate) subscriber: Subscriber,
    #[cfg(feature = "redis-cluster")]
    pub(crate) cluster: super::cluster::Cluster,
}

impl Hub {
    fn new(runtime: &Handle) -> Self {
        let tether = runtime.spawn(std::future::pending::<()>()).abort_handle();
        Self {
            runtime: runtime.clone(),
            tether,
            commands: ConnectionSlot::default(),
            subscriber: Subscriber::default(),
            #[cfg(feature = "redis-cluster")]
            cluster: super::cluster::Cluster::default(),
        }
    }

    fn is_of(&self, runtime: Id) -> bool {
        self.runtime.id() == runtime && !self.tether.is_finished()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.tether.abort();
    }
}

/// A store's hubs, usually one.
#[derive(Default)]
pub(crate) struct Hubs(RwLock<Vec<Arc<Hub>>>);

impl Hubs {
    /// The hub of the current runtime.
    pub(crate) fn here(&self) -> Result<Arc<Hub>, StoreError> {
        let runtime = Handle::try_current().map_err(|_| {
            StoreError::new(
                StoreErrorKind::Config,
                "the Redis store needs a tokio runtime",
            )
        })?;
        let id = runtime.id();
        let find = |hubs: &[Arc<Hub>]| hubs.iter().find(|hub| hub.is_of(id)).cloned();
        if let Some(hub) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(hub);
        }
        let mut hubs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = find(&hubs) {
            return Ok(hub);
        }
        hubs.retain(|hub| !hub.tether.is_finished());
        let hub = Arc::new(Hub::new(&runtime));
        hubs.push(hub.clone());
        Ok(hub)
    }
}
