//! One connection that is made when it is needed and made again when it is gone.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use redis::{Cmd, PushInfo, PushKind, Value, aio::MultiplexedConnection};

use super::failure::Failure;
use crate::StoreError;

/// A connection's way to the server.
#[derive(Clone)]
pub(super) enum Wire {
    One(MultiplexedConnection),
    #[cfg(feature = "redis-cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Wire {
    /// Sends one command, once.
    async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let value = match self {
            Self::One(connection) => connection.clone().send_packed_command(command).await?,
            // In a box: who has no cluster keeps no room for it.
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(connection) => {
                Box::pin(super::cluster::send(connection.clone(), command)).await?
            }
        };
        match value {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(value),
        }
    }
}

/// A connection and what became of it.
pub(super) struct Live {
    pub(super) wire: Wire,
    alive: Arc<AtomicBool>,
}

impl Live {
    pub(super) fn new(wire: Wire, watch: &Watched) -> Self {
        Self {
            wire,
            alive: watch.0.clone(),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Sends one command, once.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let result = self.wire.send(command).await;
        if let Err(failure) = &result {
            self.judge(failure);
        }
        result
    }

    /// Whether the connection is to be used again.
    ///
    /// A late answer means that the way there may be broken without anybody having said so, and a replica that is not
    /// the primary any more stays one: both are replaced. A cluster's connection mends itself node by node.
    fn judge(&self, failure: &Failure) {
        let spent = match &self.wire {
            Wire::One(_) => {
                matches!(failure, Failure::Unanswered(_)) || failure.code() == Some("READONLY")
            }
            #[cfg(feature = "redis-cluster")]
            Wire::Cluster(_) => false,
        };
        if spent {
            self.retire();
        }
    }

    /// Gives the connection up: whoever comes next makes another.
    pub(super) fn retire(&self) {
        self.alive.store(false, Ordering::Release);
    }
}

/// Sees pushes, and the end of a connection: the library drops it with the task that drives the connection, which ends
/// when the server hangs up, or with its runtime.
pub(super) struct Watch {
    alive: Arc<AtomicBool>,
    listener: Option<Box<dyn Listen>>,
}

/// What a [`Watch`] leaves behind for the connection it watches.
pub(super) struct Watched(Arc<AtomicBool>);

impl Watched {
    /// Nobody watches this connection: it is alive until a command finds out otherwise.
    pub(super) fn revive(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What a subscriber wants to hear.
pub(super) trait Listen: Send + Sync + 'static {
    fn heard(&self, push: PushInfo);
    fn lost(&self);
}

impl Watch {
    pub(super) fn new(listener: Option<Box<dyn Listen>>) -> (Self, Watched) {
        let alive = Arc::new(AtomicBool::new(true));
        (
            Self {
                alive: alive.clone(),
                listener,
            },
            Watched(alive),
        )
    }

    /// `ends`: a disconnection is the end of this connection, and not of one node's among many.
    pub(super) fn push(&self, push: PushInfo, ends: bool) {
        if push.kind == PushKind::Disconnection && ends {
            self.alive.store(false, Ordering::Release);
        }
        if let Some(listener) = &self.listener {
            if push.kind == PushKind::Disconnection {
                listener.lost();
            } else {
                listener.heard(push);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let was_alive = self.alive.swap(false, Ordering::AcqRel);
        if let Some(listener) = self.listener.as_ref().filter(|_| was_alive) {
            listener.lost();
        }
    }
}

/// The place of one connection.
#[derive(Default)]
pub(super) struct Link {
    slot: RwLock<Option<Arc<Live>>>,
    failures: AtomicU64,
    /// Held by whoever connects, with the latest failure.
    gate: tokio::sync::Mutex<Option<StoreError>>,
}

impl Link {
    pub(super) fn current(&self) -> Option<Arc<Live>> {
        self.slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .filter(|live| live.is_alive())
            .cloned()
    }

    /// The connection, made with `open` where there is none. Whoever comes while it is being made waits for it, and
    /// shares its failure.
    pub(super) async fn live<F>(&self, open: impl FnOnce() -> F) -> Result<Arc<Live>, StoreError>
    where
        F: Future<Output = Result<Live, StoreError>>,
    {
        if let Some(live) = self.current() {
            return Ok(live);
        }
        // In a box: a call that finds the connection made, as nearly all do, keeps no room for making it.
        Box::pin(self.make(open)).await
    }

    async fn make<F>(&self, open: impl FnOnce() -> F) -> Result<Arc<Live>, StoreError>
    where
        F: Future<Output = Result<Live, StoreError>>,
    {
        let before = self.failures.load(Ordering::Acquire);
        let mut latest = self.gate.lock().await;
        if let Some(live) = self.current() {
            return Ok(live);
        }
        if let Some(error) = latest
            .as_ref()
            .filter(|_| self.failures.load(Ordering::Acquire) != before)
        {
            return Err(error.clone());
        }
        match open().await {
            Ok(live) => {
                let live = Arc::new(live);
                *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Some(live.clone());
                Ok(live)
            }
            Err(error) => {
                *latest = Some(error.clone());
                self.failures.fetch_add(1, Ordering::AcqRel);
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("connected", &self.current().is_some())
            .finish()
    }
}
