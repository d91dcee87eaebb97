//! The servers of a run.

use std::slice;

use idempotent_fn::store::POSTGRES_SCHEMA;
use idempotent_test_support::{PostgresServer, Proxy, RedisCluster, RedisServer, Sentinel};

use crate::{load::LARGEST, sqlite::File, worker::Place};

/// Which servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// No server: records in the memory of one worker.
    Memory,
    /// One server, whose acknowledged writes are on disk. Each worker reaches it through a faulty
    /// link of its own.
    One,
    /// A primary, two replicas, three sentinels.
    Sentinel,
    /// Three primaries with a replica each.
    Cluster,
    /// A file that all workers open.
    Sqlite,
    /// One server. Each worker reaches it through a faulty link of its own.
    Postgres,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::One,
        Self::Cluster,
        Self::Sentinel,
        Self::Postgres,
        Self::Sqlite,
        Self::Memory,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::One => "one",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// The running servers.
#[derive(Debug)]
pub(crate) enum Site {
    Memory,
    One(RedisServer),
    Sentinel(Sentinel),
    Cluster(RedisCluster),
    Sqlite(File),
    Postgres(PostgresServer),
}

impl Site {
    pub(crate) fn start(topology: Topology) -> Self {
        match topology {
            Topology::Memory => Self::Memory,
            Topology::One => Self::One(one()),
            Topology::Sentinel => Self::Sentinel(sentinel()),
            Topology::Cluster => Self::Cluster(cluster()),
            Topology::Sqlite => Self::Sqlite(File::new()),
            Topology::Postgres => Self::Postgres(postgres()),
        }
    }

    /// The servers that keep records.
    pub(crate) fn servers(&self) -> &[RedisServer] {
        match self {
            Self::Memory | Self::Sqlite(_) | Self::Postgres(_) => &[],
            Self::One(server) => slice::from_ref(server),
            Self::Sentinel(group) => group.servers(),
            Self::Cluster(group) => group.nodes(),
        }
    }

    /// The number of worker processes.
    pub(crate) fn workers(&self) -> usize {
        if matches!(self, Self::Memory) { 1 } else { 4 }
    }

    /// A faulty link for one worker, if the topology has links.
    pub(crate) fn link(&self) -> Option<Proxy> {
        match self {
            Self::One(server) => Some(link_to(server.port())),
            Self::Postgres(server) => Some(link_to(server.port())),
            // Their clients are told the servers' own addresses, so a link would be bypassed.
            Self::Memory | Self::Sentinel(_) | Self::Cluster(_) | Self::Sqlite(_) => None,
        }
    }

    pub(crate) fn place(&self, link: Option<&Proxy>) -> Place {
        match self {
            Self::Memory => Place::Memory,
            Self::One(server) => Place::One(link.map_or_else(|| server.url(), Proxy::url)),
            Self::Sentinel(group) => Place::Sentinel(group.master_name().to_owned(), group.urls()),
            Self::Cluster(group) => Place::Cluster(group.urls()),
            Self::Sqlite(file) => Place::Sqlite(file.path()),
            Self::Postgres(server) => {
                let port = link.map_or(server.port(), |link| link.address().port());
                Place::Postgres(format!("postgres://postgres@127.0.0.1:{port}/postgres"))
            }
        }
    }
}

fn link_to(port: u16) -> Proxy {
    Proxy::start(&format!("127.0.0.1:{port}"))
}

/// It has the table.
fn postgres() -> PostgresServer {
    let server = PostgresServer::start();
    server.sql(POSTGRES_SCHEMA);
    server
}

/// It takes no value above the library's own limit, and closes connections that send one.
fn one() -> RedisServer {
    let server = RedisServer::builder().appendonly();
    server.arg("proto-max-bulk-len", LARGEST).start()
}

/// A failover that nobody asked for loses what the replicas have not received, and then no
/// guarantee holds. So only failovers happen that lose nothing.
fn sentinel() -> Sentinel {
    let group = Sentinel::start();
    for sentinel in group.sentinels() {
        sentinel.cli(&[
            "SENTINEL",
            "SET",
            group.master_name(),
            "down-after-milliseconds",
            "600000",
        ]);
    }
    group
}

/// As in [`sentinel`].
fn cluster() -> RedisCluster {
    let group = RedisCluster::start_with_replicas();
    for node in group.nodes() {
        node.cli(&["CONFIG", "SET", "cluster-replica-no-failover", "yes"]);
    }
    group
}
