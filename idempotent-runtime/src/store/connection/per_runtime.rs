//! The connections that belong to one tokio runtime.

use std::{
    ops::Deref,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::{
    runtime::{Handle, Id},
    task::AbortHandle,
};

use crate::{StoreError, StoreErrorKind};

/// One runtime's connections to one store, `C`. A task drives each, and a task ends with its
/// runtime. With connections of its own, no runtime waits for another, and the end of one (of a
/// test, say) affects no other.
pub(crate) struct Hub<C> {
    /// The runtime that makes and drives the connections.
    pub(crate) runtime: Handle,
    /// A task that does nothing and ends with the runtime: a later runtime may reuse its id.
    tether: AbortHandle,
    connections: C,
}

impl<C> Hub<C> {
    fn new(runtime: &Handle, connections: C) -> Self {
        let tether = runtime.spawn(std::future::pending::<()>()).abort_handle();
        Self {
            runtime: runtime.clone(),
            tether,
            connections,
        }
    }

    fn is_of(&self, runtime: Id) -> bool {
        self.runtime.id() == runtime && !self.tether.is_finished()
    }
}

impl<C> Deref for Hub<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connections
    }
}

impl<C> Drop for Hub<C> {
    fn drop(&mut self) {
        self.tether.abort();
    }
}

/// A store's hubs, usually one.
pub(crate) struct Hubs<C>(RwLock<Vec<Arc<Hub<C>>>>);

impl<C> Default for Hubs<C> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<C> Hubs<C> {
    /// The hub of the current runtime; `make` makes the connections of a new one, not yet open.
    pub(crate) fn here(&self, make: impl FnOnce() -> C) -> Result<Arc<Hub<C>>, StoreError> {
        let runtime = Handle::try_current().map_err(|_| {
            StoreError::new(
                StoreErrorKind::Config,
                "a store behind a network needs a tokio runtime",
            )
        })?;
        let id = runtime.id();
        let find = |hubs: &[Arc<Hub<C>>]| hubs.iter().find(|hub| hub.is_of(id)).cloned();
        if let Some(hub) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(hub);
        }
        let mut hubs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = find(&hubs) {
            return Ok(hub);
        }
        hubs.retain(|hub| !hub.tether.is_finished());
        let hub = Arc::new(Hub::new(&runtime, make()));
        hubs.push(hub.clone());
        Ok(hub)
    }
}
