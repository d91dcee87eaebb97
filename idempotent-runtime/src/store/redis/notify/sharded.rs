//! Wake-ups in a cluster by `SSUBSCRIBE`: only the node that has a key's slot publishes its
//! messages.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::{Cmd, PushKind, Value};

use super::{ListenerSlot, explain};
use crate::{
    StoreError,
    key::Key,
    store::redis::{
        connection::{
            Connector, cluster::Node, liveness::Connection, per_runtime::Hub, slot_map,
            transport::Address,
        },
        error::Failure,
        scripts::{self, RedisKey},
    },
};

/// How often to follow a node's answer that the slot is elsewhere.
const ROUNDS: u32 = 7;
const PAUSE: Duration = Duration::from_millis(20);

/// A listening connection to each node with waiters.
#[derive(Default)]
pub(crate) struct Shards(Mutex<HashMap<Arc<Address>, ListenerSlot>>);

impl Shards {
    fn slot(&self, node: &Node) -> ListenerSlot {
        let mut ears = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ears.entry(node.address.clone()).or_default().clone()
    }

    /// Closes listening connections to nodes that have no slots any more.
    fn retain(&self, primaries: &[Arc<Address>]) {
        let mut ears = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ears.retain(|address, _| primaries.contains(address));
    }
}

/// Subscribes to `keys`, each at the node that has its slot.
pub(crate) async fn listen(
    hub: &Arc<Hub>,
    connector: &Arc<Connector>,
    keys: &[Key],
) -> Result<(), StoreError> {
    for key in keys {
        listen_to(hub, connector, key).await?;
    }
    if let Some(slots) = hub.cluster.map() {
        hub.subscriber.shards.retain(slots.primaries());
    }
    Ok(())
}

async fn listen_to(
    hub: &Arc<Hub>,
    connector: &Arc<Connector>,
    key: &Key,
) -> Result<(), StoreError> {
    let slot = slot_map::of_key(&scripts::name(key));
    let mut round = 0;
    loop {
        round += 1;
        let node = hub.cluster.owner(hub, connector, Some(slot), None).await?;
        let connection = match connection(hub, connector, &node).await {
            Ok(connection) => connection,
            Err(error) => {
                hub.cluster.refresh_map(hub, connector);
                return Err(error);
            }
        };
        let failure =
            match acknowledged(&connection, "SSUBSCRIBE", &PushKind::SSubscribe, key).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
        let moved = match &failure {
            Failure::Refused(error) if error.code() == "MOVED" && round < ROUNDS => error
                .details()
                .and_then(|details| slot_map::redirected(details, &node.address)),
            _ => None,
        };
        match moved {
            Some((slot, to)) => hub.cluster.moved(slot, &to),
            None => return Err(explain(failure, connector)),
        }
        if round > 1 {
            tokio::time::sleep(PAUSE * round).await;
        }
    }
}

/// The connection to `node`. A new one takes over the subscriptions of the one before.
async fn connection(
    hub: &Arc<Hub>,
    connector: &Arc<Connector>,
    node: &Node,
) -> Result<Arc<Connection>, StoreError> {
    let subscriber = &hub.subscriber;
    let slot = subscriber.shards.slot(node);
    let open = || {
        let (connector, node, slot) = (connector.clone(), node.clone(), slot.clone());
        let (cluster, notifier) = (hub.cluster.clone(), subscriber.notifier.clone());
        let listener = subscriber.listener();
        async move {
            let connection = connector.subscriber(Some(&node.address), listener).await?;
            for key in notifier.keys() {
                let owner = cluster.known_owner(slot_map::of_key(&scripts::name(&key)));
                if owner.is_some_and(|owner| owner.address == node.address) {
                    // A key whose slot has moved is handled by its own waiter, or when all are
                    // resumed.
                    let _ =
                        acknowledged(&connection, "SSUBSCRIBE", &PushKind::SSubscribe, &key).await;
                }
            }
            slot.note_connected(&notifier);
            Ok(connection)
        }
    };
    slot.connection.connection(&hub.runtime, None, open).await
}

/// Ends a subscription without waiters, at the node that has the slot now. A node that had the slot
/// before has ended it itself. If a new waiter came meanwhile, it subscribes again and wakes that
/// waiter.
pub(crate) async fn end_subscription(hub: &Hub, key: &Key) {
    let subscriber = &hub.subscriber;
    let Some(node) = hub
        .cluster
        .known_owner(slot_map::of_key(&scripts::name(key)))
    else {
        return;
    };
    let Some(connection) = subscriber.shards.slot(&node).connection.current() else {
        return;
    };
    let left = acknowledged(&connection, "SUNSUBSCRIBE", &PushKind::SUnsubscribe, key).await;
    if left.is_ok() && subscriber.notifier.waits_for(key.as_str()) {
        if acknowledged(&connection, "SSUBSCRIBE", &PushKind::SSubscribe, key)
            .await
            .is_err()
        {
            subscriber.note_lost();
        }
        subscriber.notifier.publish(key.as_str());
    }
}

/// Sends a command about one channel, and reads its acknowledgement. A node that has given a slot
/// away ends subscriptions with a message of the same form. If an acknowledgement for another
/// channel arrives, answers no longer match commands, and the connection is given up.
async fn acknowledged(
    connection: &Connection,
    name: &str,
    kind: &PushKind,
    key: &Key,
) -> Result<(), Failure> {
    let mut command = Cmd::new();
    command.arg(name).arg(RedisKey(key));
    match connection.send(&command).await? {
        Value::Push { kind: told, data } if told == *kind && is_about(&data, key) => Ok(()),
        _ => {
            connection.retire();
            let error = std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the answer belongs to another subscription",
            );
            Err(Failure::Unanswered(error.into()))
        }
    }
}

fn is_about(data: &[Value], key: &Key) -> bool {
    let name = scripts::name(key);
    matches!(data.first(), Some(Value::BulkString(channel)) if *channel == name)
}
