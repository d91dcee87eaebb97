//! Groups of servers: a cluster, and a primary with sentinels.

use idempotent_test_support::{RedisCluster, Sentinel, is_alive};

#[test]
fn a_cluster_of_three_shares_the_slots() {
    let cluster = RedisCluster::start();
    assert_eq!(cluster.urls().len(), 3);
    let mut owners = Vec::new();
    for key in ["a", "b", "c"] {
        let owner = cluster.node_of(key);
        owners.push(owner);
        for (index, node) in cluster.nodes().iter().enumerate() {
            let reply = node.try_cli(&["SET", key, "1"]);
            if index == owner {
                assert_eq!(reply.as_deref(), Ok("OK"));
            } else {
                let moved = format!("127.0.0.1:{}", cluster.nodes()[owner].port());
                assert!(
                    reply.is_err_and(|error| error.starts_with("MOVED") && error.ends_with(&moved))
                );
            }
        }
    }
    owners.sort_unstable();
    assert_eq!(owners, [0, 1, 2]);
    let ids: Vec<_> = cluster
        .nodes()
        .iter()
        .map(idempotent_test_support::RedisServer::id)
        .collect();
    drop(cluster);
    assert!(ids.into_iter().all(|id| !is_alive(id)));
}

#[test]
fn a_replica_of_the_cluster_takes_over() {
    let cluster = RedisCluster::start_with_replicas();
    let old = cluster.node_of("a");
    cluster.nodes()[old].cli(&["SET", "a", "kept"]);
    cluster.nodes()[old].cli(&["WAIT", "1", "10000"]);
    let new = cluster.fail_over("a");
    assert!(!cluster.nodes()[old].is_running());
    assert_ne!(old, new);
    assert_eq!(cluster.nodes()[new].cli(&["GET", "a"]), "kept");
    assert_eq!(cluster.nodes()[new].cli(&["SET", "a", "more"]), "OK");
}

#[test]
fn sentinels_name_a_new_master() {
    let sentinel = Sentinel::start();
    assert_eq!(sentinel.urls().len(), 3);
    sentinel.master().cli(&["SET", "a", "kept"]);
    sentinel.master().cli(&["WAIT", "2", "10000"]);
    let old = sentinel.kill_master();
    sentinel.wait_for_failover();
    let master = sentinel.master();
    assert_ne!(master.port(), old);
    assert_eq!(master.cli(&["GET", "a"]), "kept");
    assert_eq!(master.cli(&["SET", "a", "more"]), "OK");
}

#[test]
fn slots_move_with_their_keys_to_and_fro() {
    let cluster = RedisCluster::start();
    let from = cluster.node_of("a");
    let to = (from + 1) % 3;
    let all = cluster.slots_of(from);
    let slot: usize = cluster.nodes()[0]
        .cli(&["CLUSTER", "KEYSLOT", "a"])
        .parse()
        .unwrap();
    cluster.nodes()[from].cli(&["SET", "a", "kept"]);
    let some: Vec<_> = [slot]
        .into_iter()
        .chain(all.iter().copied().filter(|one| *one != slot).take(20))
        .collect();
    cluster.reshard(from, to, &some).unwrap();
    assert_eq!(cluster.node_of("a"), to);
    assert_eq!(cluster.nodes()[to].cli(&["GET", "a"]), "kept");
    cluster.reshard(to, from, &some).unwrap();
    assert_eq!(cluster.slots_of(from), all);
    assert_eq!(cluster.nodes()[from].cli(&["GET", "a"]), "kept");
}
