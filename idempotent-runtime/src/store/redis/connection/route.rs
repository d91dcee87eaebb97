//! Routes a command in a cluster, and follows redirections.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value};

use super::{Connector, per_runtime::Hub, slot_map};
use crate::store::{connection::clock::Clock, redis::error::Failure};

/// How often a command is sent before the caller gets the cluster's answer.
const ROUNDS: u32 = 7;
/// The first pause between two rounds; it doubles.
const PAUSE: Duration = Duration::from_millis(10);

/// A command's answer, and the clock of the node that gave it.
pub(crate) type Answered = (Value, Arc<Clock>);

/// Sends a command to the node of its key's slot, and follows that node's redirections.
pub(crate) async fn send(
    hub: &Hub,
    connector: &Arc<Connector>,
    command: &Cmd,
) -> Result<Answered, Failure> {
    let cluster = &hub.cluster;
    let slot = slot_map::of_command(command);
    let mut pause = PAUSE;
    let mut asked = None;
    let mut round = 0;
    loop {
        round += 1;
        let seen = cluster.map();
        let (reached, is_asking) = match asked.take() {
            Some(address) => {
                let node = cluster.node(&Arc::new(address));
                let connection = node.connection(hub, connector, None).await;
                (connection.map(|connection| (node, connection)), true)
            }
            None => (cluster.reach(hub, connector, slot, None).await, false),
        };
        let (node, connection) = reached.map_err(Failure::NotSent)?;
        let result = if is_asking {
            connection.send_asking(command).await
        } else {
            connection.send(command).await
        };
        let failure = match result {
            Ok(value) => return Ok((value, node.clock)),
            Err(failure) => failure,
        };
        let Failure::Refused(error) = &failure else {
            cluster.refresh_map(hub, connector);
            return Err(failure);
        };
        let redirection = error
            .details()
            .and_then(|details| slot_map::redirected(details, &node.address));
        match (error.code(), redirection) {
            _ if round >= ROUNDS => return Err(failure),
            ("MOVED", Some((slot, to))) => {
                cluster.moved(slot, &to);
                cluster.refresh_map(hub, connector);
            }
            ("ASK", Some((_, to))) => {
                asked = Some(to);
                continue;
            }
            // The slot is between two nodes.
            ("TRYAGAIN", _) => {}
            // It is a replica now, so the map is outdated.
            ("READONLY", _) => {
                if let Some(seen) = seen {
                    let _ = cluster.slots_after(hub, connector, &seen, None).await;
                }
            }
            ("CLUSTERDOWN" | "MASTERDOWN", _) => {
                cluster.refresh_map(hub, connector);
                return Err(failure);
            }
            _ => return Err(failure),
        }
        if round > 1 {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// As [`send`], with a connection of its own each time.
pub(crate) async fn send_on_own_connection(
    hub: &Hub,
    connector: &Arc<Connector>,
    command: &Cmd,
) -> Result<Answered, Failure> {
    let slot = slot_map::of_command(command);
    let mut asked = None;
    let mut round = 0;
    loop {
        round += 1;
        let (node, is_asking) = if let Some(address) = asked.take() {
            (hub.cluster.node(&Arc::new(address)), true)
        } else {
            let owner = hub.cluster.owner(hub, connector, slot, None).await;
            (owner.map_err(Failure::NotSent)?, false)
        };
        let own = connector.visit(&node.address).await;
        let own = own.map_err(Failure::NotSent)?;
        let result = if is_asking {
            own.send_asking(command).await
        } else {
            own.send(command).await
        };
        let failure = match result {
            Ok(value) => return Ok((value, node.clock)),
            Err(failure) => failure,
        };
        let redirection = match &failure {
            Failure::Refused(error) if round < ROUNDS => error
                .details()
                .and_then(|details| slot_map::redirected(details, &node.address)),
            _ => None,
        };
        match (failure.code(), redirection) {
            (Some("MOVED"), Some((slot, to))) => hub.cluster.moved(slot, &to),
            (Some("ASK"), Some((_, to))) => asked = Some(to),
            _ => return Err(failure),
        }
    }
}
