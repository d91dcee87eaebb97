//! The connections that belong to one tokio runtime.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::runtime::{Handle, Id};

use super::{link::Link, subscriber::Subscriber};
use crate::{StoreError, StoreErrorKind};

/// One runtime's connections. A task drives each, and a task ends with its runtime: with connections of its own, no
/// runtime waits for another, and the end of one (of a test, say) is nobody else's business.
pub(super) struct Hub {
    runtime: Id,
    pub(super) commands: Link,
    pub(super) subscriber: Subscriber,
}

/// A store's hubs: mostly one.
#[derive(Default)]
pub(super) struct Hubs(RwLock<Vec<Arc<Hub>>>);

impl Hubs {
    /// The running runtime's.
    pub(super) fn here(&self) -> Result<Arc<Hub>, StoreError> {
        let runtime = Handle::try_current()
            .map_err(|_| StoreError::new(StoreErrorKind::Config, "the Redis store needs a tokio runtime"))?
            .id();
        let find = |hubs: &[Arc<Hub>]| hubs.iter().find(|hub| hub.runtime == runtime).cloned();
        if let Some(hub) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(hub);
        }
        let mut hubs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = find(&hubs) {
            return Ok(hub);
        }
        // Nobody uses them and nothing is connected: their runtimes are gone, or may connect anew.
        hubs.retain(|hub| Arc::strong_count(hub) > 1 || hub.commands.current().is_some());
        let hub = Arc::new(Hub { runtime, commands: Link::default(), subscriber: Subscriber::default() });
        hubs.push(hub.clone());
        Ok(hub)
    }
}
