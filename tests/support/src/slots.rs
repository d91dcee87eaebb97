//! Moves slots of a Redis Cluster that is in use.

use crate::cluster::{RedisCluster, owned};
use crate::redis::RedisServer;

/// Keys moved by one `MIGRATE`, as `redis-cli --cluster reshard` does it.
const KEYS: &str = "10";
/// How long one `MIGRATE` may take, in milliseconds.
const PATIENCE: &str = "5000";

impl RedisCluster {
    /// The slots that a node says it owns.
    #[must_use]
    pub fn slots_of(&self, node: usize) -> Vec<usize> {
        let nodes = self.nodes()[node].cli(&["CLUSTER", "NODES"]);
        owned(&nodes).flat_map(|(from, to)| from..=to).collect()
    }

    /// Moves any slots with all their keys from one master to another, one after another, while
    /// clients go on and anything may fail.
    ///
    /// # Errors
    /// What a node refused. The slot it was about may be left open:
    /// [`close_slots`](Self::close_slots) mends that.
    pub fn reshard(&self, from: usize, to: usize, slots: &[usize]) -> Result<(), String> {
        let (source, target) = (&self.nodes()[from], &self.nodes()[to]);
        // The target first: nobody is sent to a node that does not know yet that the slot is its
        // own.
        let mut told = vec![target, source];
        told.extend(self.nodes().iter().filter(|node| {
            let other = node.port() != source.port() && node.port() != target.port();
            // Replicas are told by their masters.
            other && node.is_running() && node.info("replication").contains("role:master")
        }));
        let ids = [source, target].map(|node| node.cli(&["CLUSTER", "MYID"]));
        for slot in slots {
            let slot = &slot.to_string();
            target.try_cli(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &ids[0]])?;
            source.try_cli(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &ids[1]])?;
            move_keys(source, target, slot)?;
            for node in &told {
                node.try_cli(&["CLUSTER", "SETSLOT", slot, "NODE", &ids[1]])?;
            }
        }
        Ok(())
    }

    /// Closes slots that a move was interrupted in.
    pub fn close_slots(&self, slots: &[usize]) {
        for node in self.nodes().iter().filter(|node| node.is_running()) {
            for slot in slots {
                let _a_replica_refuses =
                    node.try_cli(&["CLUSTER", "SETSLOT", &slot.to_string(), "STABLE"]);
            }
        }
    }
}

fn move_keys(source: &RedisServer, target: &RedisServer, slot: &str) -> Result<(), String> {
    let port = target.port().to_string();
    loop {
        let keys = source.try_cli(&["CLUSTER", "GETKEYSINSLOT", slot, KEYS])?;
        if keys.is_empty() {
            return Ok(());
        }
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", PATIENCE, "KEYS"];
        words.extend(keys.lines());
        source.try_cli(&words)?;
    }
}
