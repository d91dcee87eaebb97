//! A cluster: its nodes, and which of them has which slots.
//!
//! Each node has a connection of its own, as a single server has: made in a task, given up if it is
//! late, and made again by the next caller. Only a node's definite answer that a slot is elsewhere
//! is followed here. A command whose answer was lost is not sent again behind the caller's back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    Connector,
    liveness::{Connection, ConnectionSlot},
    per_runtime::Hub,
    slot_map::Slots,
    target::Target,
    transport::Address,
};
use crate::{
    StoreError, StoreErrorKind,
    store::{
        connection::{clock::Clock, shared_try::SharedTry},
        redis::error::Failure,
    },
};

/// How often moved slots cause the map to be read again, at most: each move already tells its
/// target.
const MAP_REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// How many nodes are asked for the map at a time.
const NODES_ASKED: usize = 3;

/// One node of the cluster.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) address: Arc<Address>,
    connection: ConnectionSlot,
    /// The node's own clock: nodes need not agree.
    pub(crate) clock: Arc<Clock>,
}

impl Node {
    pub(crate) async fn connection(
        &self,
        hub: &Hub,
        connector: &Arc<Connector>,
        patience: Option<Duration>,
    ) -> Result<Arc<Connection>, StoreError> {
        let open = || {
            let (connector, node) = (connector.clone(), self.clone());
            let slots = hub.cluster.map();
            async move {
                let tag = slots.and_then(|slots| slots.tag(&node.address));
                connector.node(&node.address, tag, &node.clock).await
            }
        };
        self.connection
            .connection(&hub.runtime, patience, open)
            .await
    }
}

/// The known state of the cluster.
#[derive(Clone, Default)]
pub(crate) struct Cluster {
    map: Arc<RwLock<Option<Arc<Slots>>>>,
    reading: SharedTry<Arc<Slots>>,
    nodes: Arc<Mutex<HashMap<Arc<Address>, Node>>>,
}

impl Cluster {
    pub(crate) fn map(&self) -> Option<Arc<Slots>> {
        self.map
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_map(&self, slots: Arc<Slots>) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Some(slots);
    }

    pub(crate) fn node(&self, address: &Arc<Address>) -> Node {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let node = nodes.entry(address.clone()).or_insert_with(|| Node {
            address: address.clone(),
            connection: ConnectionSlot::default(),
            clock: Arc::new(Clock::new()),
        });
        node.clone()
    }

    /// The map, which is read if there is none yet.
    async fn slots(
        &self,
        hub: &Hub,
        connector: &Arc<Connector>,
        patience: Option<Duration>,
    ) -> Result<Arc<Slots>, StoreError> {
        if let Some(slots) = self.map() {
            return Ok(slots);
        }
        let read = || self.read(connector);
        Box::pin(
            self.reading
                .join(&hub.runtime, patience, || self.map(), read),
        )
        .await
    }

    /// The map, which is read again unless it is newer than `seen`.
    pub(crate) async fn slots_after(
        &self,
        hub: &Hub,
        connector: &Arc<Connector>,
        seen: &Arc<Slots>,
        patience: Option<Duration>,
    ) -> Result<Arc<Slots>, StoreError> {
        let newer = || self.map().filter(|slots| slots.read > seen.read);
        let reading = self
            .reading
            .join(&hub.runtime, patience, newer, || self.read(connector));
        Box::pin(reading).await
    }

    /// The map, as the cluster has it now.
    pub(crate) async fn slots_now(
        &self,
        hub: &Hub,
        connector: &Arc<Connector>,
    ) -> Result<Arc<Slots>, StoreError> {
        match self.map() {
            Some(seen) => self.slots_after(hub, connector, &seen, None).await,
            None => self.slots(hub, connector, None).await,
        }
    }

    /// Starts reading the map again: it may have changed.
    pub(crate) fn refresh_map(&self, hub: &Hub, connector: &Arc<Connector>) {
        if self
            .map()
            .is_some_and(|slots| slots.read.elapsed() > MAP_REFRESH_PAUSE)
        {
            self.reading
                .kick(&hub.runtime, || None, || self.read(connector));
        }
    }

    /// The node that has the slot, or any node if the command has no slot.
    pub(crate) async fn owner(
        &self,
        hub: &Hub,
        connector: &Arc<Connector>,
        slot: Option<u16>,
        patience: Option<Duration>,
    ) -> Result<Node, StoreError> {
        let mut slots = self.slots(hub, connector, patience).await?;
        let find = |slots: &Slots| match slot {
            Some(slot) => slots.owner(slot).cloned(),
            None => slots.primaries().first().cloned(),
        };
        if find(&slots).is_none() {
            slots = self.slots_after(hub, connector, &slots, patience).await?;
        }
        match find(&slots) {
            Some(address) => Ok(self.node(&address)),
            None => Err(StoreError::new(
                StoreErrorKind::NotSent,
                format!(
                    "no node of {} serves this key's slot; see `CLUSTER INFO`",
                    connector.server_name
                ),
            )
            .transient()),
        }
    }

    /// The node that has the slot, and a connection to it. If it cannot connect, it reads the map
    /// again: another node may have the slot by now.
    pub(crate) async fn reach(
        &self,
        hub: &Hub,
        connector: &Arc<Connector>,
        slot: Option<u16>,
        patience: Option<Duration>,
    ) -> Result<(Node, Arc<Connection>), StoreError> {
        let node = self.owner(hub, connector, slot, patience).await?;
        let seen = self.map();
        let error = match node.connection(hub, connector, patience).await {
            Ok(connection) => return Ok((node, connection)),
            Err(error) => error,
        };
        let Some(seen) = seen else { return Err(error) };
        if self
            .slots_after(hub, connector, &seen, patience)
            .await
            .is_err()
        {
            return Err(error);
        }
        let next = self.owner(hub, connector, slot, patience).await?;
        if next.address == node.address {
            return Err(error);
        }
        let connection = next.connection(hub, connector, patience).await?;
        Ok((next, connection))
    }

    /// The node that has the slot, as far as is known.
    pub(crate) fn known_owner(&self, slot: u16) -> Option<Node> {
        let slots = self.map()?;
        slots.owner(slot).map(|address| self.node(address))
    }

    /// Connects to all primaries.
    pub(crate) async fn check(
        &self,
        hub: &Hub,
        connector: &Arc<Connector>,
    ) -> Result<(), StoreError> {
        let slots = self.slots(hub, connector, None).await?;
        for address in slots.primaries() {
            self.node(address).connection(hub, connector, None).await?;
        }
        Ok(())
    }

    /// Records that a slot has moved.
    pub(crate) fn moved(&self, slot: u16, to: &Address) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let known = map.as_ref().and_then(|slots| slots.owner(slot));
        if known.is_none_or(|known| **known != *to)
            && let Some(slots) = map.as_ref().and_then(|slots| slots.moved(slot, to))
        {
            *map = Some(Arc::new(slots));
        }
    }

    /// Asks nodes for the map, a few at a time: those that are connected first, then the others,
    /// then those that the URLs name.
    fn read(
        &self,
        connector: &Arc<Connector>,
    ) -> impl Future<Output = Result<Arc<Slots>, StoreError>> + Send + use<> {
        let (cluster, connector) = (self.clone(), connector.clone());
        async move {
            let mut failure = None;
            for some in cluster.candidates(&connector).chunks(NODES_ASKED) {
                let mut asked = JoinSet::new();
                for node in some {
                    asked.spawn(ask(node.clone(), connector.clone()));
                }
                while let Some(answer) = asked.join_next().await {
                    match answer {
                        Ok(Ok(slots)) => {
                            let slots = Arc::new(slots);
                            cluster.adopt_map(&slots);
                            return Ok(slots);
                        }
                        Ok(Err(error)) => {
                            failure.get_or_insert(error);
                        }
                        Err(_) => {}
                    }
                }
            }
            Err(failure.unwrap_or_else(|| {
                StoreError::new(
                    StoreErrorKind::NotSent,
                    format!("no node of {} answered", connector.server_name),
                )
            }))
        }
    }

    fn candidates(&self, connector: &Connector) -> Vec<Node> {
        let known = self.map().map(|slots| slots.primaries().to_vec());
        let mut all: Vec<_> = known.unwrap_or_default();
        if let Target::Cluster(seeds) = &connector.target {
            all.extend(seeds.iter().map(|seed| Arc::new(seed.address.clone())));
        }
        let mut seen = std::collections::HashSet::new();
        all.retain(|address| seen.insert(address.clone()));
        let mut nodes: Vec<_> = all.iter().map(|address| self.node(address)).collect();
        nodes.sort_by_key(|node| node.connection.current().is_none());
        nodes
    }

    /// Adopts a new map. Connections to nodes without slots are closed once their commands are
    /// answered.
    fn adopt_map(&self, slots: &Arc<Slots>) {
        self.set_map(slots.clone());
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|address, _| slots.primaries().contains(address));
    }
}

/// Asks one node for its map, on its connection, or on a new one for this question.
async fn ask(node: Node, connector: Arc<Connector>) -> Result<Slots, StoreError> {
    let connection = match node.connection.current() {
        Some(connection) => connection,
        None => Arc::new(connector.visit(&node.address).await?),
    };
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let answer = connection.send(&command).await;
    let answer = answer.map_err(|failure| not_asked(failure, &connector.server_name))?;
    Slots::parse(answer, &node.address).ok_or_else(|| {
        StoreError::new(
            StoreErrorKind::NotSent,
            format!(
                "{} has no slots yet, or is no cluster",
                connector.server_name
            ),
        )
    })
}

/// An error while reading the map: the command itself was not sent.
fn not_asked(failure: Failure, server_name: &str) -> StoreError {
    let error = failure.explain("`CLUSTER SLOTS`", server_name);
    match error.kind() {
        StoreErrorKind::Ambiguous => {
            StoreError::new(StoreErrorKind::NotSent, error.to_string()).with_source(error)
        }
        _ => error,
    }
}
