//! A Redis Cluster.

use std::ops::Range;

use crate::process::wait_until;
use crate::redis::RedisServer;

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;
// Milliseconds of silence before a node is held for dead; short, and longer than a busy test
// machine's hiccups.
const NODE_TIMEOUT: u32 = 2_000;

/// Masters that share the slots evenly, three as a rule, and one replica each if asked for.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three masters.
    #[must_use]
    pub fn start() -> Self {
        Self::with_masters(MASTERS)
    }

    /// So many masters, one at least.
    #[must_use]
    pub fn with_masters(count: usize) -> Self {
        Self::with_nodes(count, count)
    }

    /// Three masters (nodes 0 to 2) with a replica each (nodes 3 to 5, in the same order).
    #[must_use]
    pub fn start_with_replicas() -> Self {
        let cluster = Self::with_nodes(2 * MASTERS, MASTERS);
        for (master, replica) in cluster.nodes[..MASTERS]
            .iter()
            .zip(&cluster.nodes[MASTERS..])
        {
            replica.cli(&["CLUSTER", "REPLICATE", &master.cli(&["CLUSTER", "MYID"])]);
        }
        for replica in &cluster.nodes[MASTERS..] {
            wait_until("a replica is in step", || {
                field(&replica.info("replication"), "master_link_status") == "up"
            });
        }
        // A replica takes over only what the masters know to be its own.
        cluster.wait_on_all("every node knows three replicas", |node| {
            node.cli(&["CLUSTER", "NODES"])
                .lines()
                .filter(|line| line.contains("slave"))
                .count()
                == MASTERS
        });
        cluster
    }

    fn with_nodes(count: usize, masters: usize) -> Self {
        let builder = RedisServer::builder()
            .cluster()
            .arg("cluster-node-timeout", NODE_TIMEOUT);
        let nodes: Vec<_> = (0..count).map(|_| builder.clone().start()).collect();
        let first = &nodes[0];
        for (index, node) in nodes.iter().enumerate() {
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            if index < masters {
                let (from, to) = (index * SLOTS / masters, (index + 1) * SLOTS / masters - 1);
                node.cli(&[
                    "CLUSTER",
                    "ADDSLOTSRANGE",
                    &from.to_string(),
                    &to.to_string(),
                ]);
            }
            if index > 0 {
                first.cli(&[
                    "CLUSTER",
                    "MEET",
                    "127.0.0.1",
                    &node.port().to_string(),
                    &node.bus_port().to_string(),
                ]);
            }
        }
        let cluster = Self { nodes };
        cluster.wait_on_all("every node knows every other", |node| {
            field(&node.cli(&["CLUSTER", "INFO"]), "cluster_known_nodes") == count.to_string()
        });
        cluster.wait_until_ok();
        cluster
    }

    /// The nodes, masters first; killed ones keep their place.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Every node's URL.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// The node that now owns the slot of `key`.
    #[must_use]
    pub fn node_of(&self, key: &str) -> usize {
        let living = self
            .nodes
            .iter()
            .find(|node| node.is_running())
            .expect("a node is alive");
        let slot: usize = living
            .cli(&["CLUSTER", "KEYSLOT", key])
            .parse()
            .expect("a number");
        let owner = self.nodes.iter().position(|node| {
            node.is_running()
                && owned(&node.cli(&["CLUSTER", "NODES"]))
                    .any(|(from, to)| (from..=to).contains(&slot))
        });
        owner.unwrap_or_else(|| panic!("nobody owns slot {slot}"))
    }

    /// SIGKILL to one node.
    pub fn kill_node(&self, index: usize) {
        self.nodes[index].kill();
    }

    /// Blocks until every living node says `cluster_state:ok`.
    ///
    /// Right after a kill the others have not noticed yet: wait for [`node_of`](Self::node_of) to
    /// change first.
    pub fn wait_until_ok(&self) {
        self.wait_on_all("the cluster is ok", |node| {
            field(&node.cli(&["CLUSTER", "INFO"]), "cluster_state") == "ok"
        });
    }

    /// Kills the master of `key`, and blocks until its replica has taken over; returns the new
    /// owner.
    #[allow(clippy::must_use_candidate, reason = "the failover is the point")]
    pub fn fail_over(&self, key: &str) -> usize {
        let old = self.node_of(key);
        self.kill_node(old);
        let replica = &self.nodes[old + MASTERS];
        wait_until("the replica has taken over", || {
            field(&replica.info("replication"), "role") == "master"
        });
        self.wait_until_ok();
        self.node_of(key)
    }

    /// Moves slots and their keys from one node to another, as `redis-cli --cluster reshard` does.
    pub fn move_slots(&self, slots: Range<u16>, from: usize, to: usize) {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (from_id, to_id) = (
            source.cli(&["CLUSTER", "MYID"]),
            target.cli(&["CLUSTER", "MYID"]),
        );
        let set = |slot: &u16, how: &str, id: &str| {
            let words = ["CLUSTER", "SETSLOT", &slot.to_string(), how, id];
            words.map(str::to_owned).to_vec()
        };
        let slots: Vec<u16> = slots.collect();
        // A few at a time are between two nodes.
        for some in slots.chunks(50) {
            let each = |how: &str, id: &str| -> Vec<_> {
                some.iter().map(|slot| set(slot, how, id)).collect()
            };
            target.cli_all(&each("IMPORTING", &from_id));
            source.cli_all(&each("MIGRATING", &to_id));
            for slot in some {
                source.migrate(*slot, target.port());
            }
            target.cli_all(&each("NODE", &to_id));
            for node in self.nodes.iter().filter(|node| node.is_running()) {
                if node.cli(&["CLUSTER", "MYID"]) != to_id {
                    node.cli_all(&each("NODE", &to_id));
                }
            }
        }
    }

    fn wait_on_all(&self, what: &str, condition: impl Fn(&RedisServer) -> bool) {
        wait_until(what, || {
            self.nodes
                .iter()
                .filter(|node| node.is_running())
                .all(&condition)
        });
    }
}

impl RedisServer {
    /// Moves a slot's keys to the server at `port`.
    fn migrate(&self, slot: u16, port: u16) {
        let (slot, port) = (slot.to_string(), port.to_string());
        loop {
            let keys = self.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                return;
            }
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys.lines());
            self.cli(&words);
        }
    }
}

/// The slot ranges on the line of `CLUSTER NODES` that is about the node that answers.
pub(crate) fn owned(nodes: &str) -> impl Iterator<Item = (usize, usize)> {
    let myself = nodes
        .lines()
        .find(|line| line.contains("myself"))
        .unwrap_or_default();
    myself.split_whitespace().skip(8).filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some((from.parse().ok()?, to.parse().ok()?))
    })
}

/// The value of `name:value` in the text of an `INFO`.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_default()
        .trim_end()
}
