//! A primary, its replicas, and the sentinels that watch them.

use crate::cluster::field;
use crate::process::wait_until;
use crate::redis::RedisServer;

const COUNT: usize = 3;
const QUORUM: usize = 2;
const MASTER_NAME: &str = "main";

/// One master, two replicas and three sentinels.
#[derive(Debug)]
pub struct Sentinel {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinel {
    /// Starts all six, and waits until every sentinel knows all the others.
    #[must_use]
    pub fn start() -> Self {
        let master = RedisServer::start();
        let replica_of = format!("127.0.0.1 {}", master.port());
        let replica = RedisServer::builder().arg("replicaof", &replica_of);
        let servers = vec![master, replica.clone().start(), replica.start()];
        for replica in &servers[1..] {
            wait_until("a replica is in step", || {
                field(&replica.info("replication"), "master_link_status") == "up"
            });
        }
        // Longer than a busy test machine's hiccups, or a failover nobody asked for follows.
        let sentinel = RedisServer::builder()
            .sentinel()
            .arg(
                "sentinel",
                format!("monitor {MASTER_NAME} {replica_of} {QUORUM}"),
            )
            .arg(
                "sentinel",
                format!("down-after-milliseconds {MASTER_NAME} 1500"),
            )
            .arg("sentinel", format!("failover-timeout {MASTER_NAME} 5000"));
        let sentinels = (0..COUNT).map(|_| sentinel.clone().start()).collect();
        let all = Self { servers, sentinels };
        all.wait_on_sentinels("every sentinel knows the others", |master| {
            entry(master, "num-slaves") == "2" && entry(master, "num-other-sentinels") == "2"
        });
        all
    }

    /// The name by which clients ask for the master.
    #[must_use]
    pub fn master_name(&self) -> &'static str {
        MASTER_NAME
    }

    /// Every sentinel's URL.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    /// The master and the replicas as they were at the start; killed ones keep their place.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The server that the first sentinel now names.
    #[must_use]
    pub fn master(&self) -> &RedisServer {
        let port = master_port(&self.sentinels[0]);
        self.servers
            .iter()
            .find(|server| server.port() == port)
            .expect("the master is one of ours")
    }

    /// SIGKILL to the master; returns its port.
    #[allow(clippy::must_use_candidate, reason = "the kill is the point")]
    pub fn kill_master(&self) -> u16 {
        let master = self.master();
        master.kill();
        master.port()
    }

    /// Blocks until all sentinels name one living master that says so itself.
    pub fn wait_for_failover(&self) {
        wait_until("the sentinels agree on a new master", || {
            let master = self.master();
            master.is_running()
                && field(&master.info("replication"), "role") == "master"
                && self
                    .sentinels
                    .iter()
                    .all(|sentinel| master_port(sentinel) == master.port())
        });
    }

    fn wait_on_sentinels(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let known =
            |sentinel: &RedisServer| condition(&sentinel.cli(&["SENTINEL", "MASTER", MASTER_NAME]));
        wait_until(what, || self.sentinels.iter().all(known));
    }
}

fn master_port(sentinel: &RedisServer) -> u16 {
    let address = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME]);
    address
        .lines()
        .nth(1)
        .and_then(|port| port.parse().ok())
        .expect("a sentinel knows its master")
}

/// The line after `name` in a reply that lists names and values in turn.
fn entry<'a>(reply: &'a str, name: &str) -> &'a str {
    reply
        .lines()
        .skip_while(|line| *line != name)
        .nth(1)
        .unwrap_or_default()
}
