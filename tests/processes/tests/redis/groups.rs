//! Several servers: a cluster, and a failover by sentinels.

use crate::common::{Site, answer, ask, hold};
use idempotent_test_support::{RedisCluster, Sentinel, Worker, wait_until};

/// The second byte of a record is its state.
fn is_done(reply: &str) -> bool {
    reply.chars().nth(1) == Some('D')
}

fn sentinel_site(sentinel: &Sentinel) -> Site {
    let place = ["sentinel".to_owned(), sentinel.master_name().to_owned()];
    Site::at(place.into_iter().chain(sentinel.urls()))
}

#[test]
fn a_failover_by_sentinels_keeps_what_the_replicas_have() {
    let sentinel = Sentinel::start();
    let site = sentinel_site(&sentinel);
    let (mut one, mut two) = (site.worker(&[]), site.worker(&[]));
    assert_eq!(ask(&mut one, "before", "rerun", "order"), "ok before");
    hold(&mut one, "held", "rerun", "running");
    // What a replica has not got when the master dies is forgotten, and no claim of ours covers
    // that.
    for server in sentinel.servers() {
        wait_until("the records have reached everybody", || {
            is_done(&server.cli(&["GET", "idempotent:processes.charge|order"]))
                && server.cli(&["EXISTS", "idempotent:processes.charge|running"]) == "1"
        });
    }

    let old = sentinel.kill_master();
    sentinel.wait_for_failover();
    assert_ne!(sentinel.master().port(), old);

    assert_eq!(answered(&mut two, "after", "order"), "ok before");
    one.send("go");
    assert_eq!(answer(&mut one, "held"), "ok held");
    assert_eq!(answered(&mut two, "too", "running"), "ok held");
    assert_eq!(answered(&mut one, "new", "another"), "ok new-0");
    assert_eq!(site.effects_of("order"), ["before"]);
    assert_eq!(site.effects_of("running"), ["held"]);
    assert_eq!(site.effects_of("another"), ["new-0"]);
}

/// Retries while the store is unavailable, as a caller does. A call that found no store has run
/// nothing, so only the last try's name can be the result's.
fn answered(worker: &mut Worker, call: &str, key: &str) -> String {
    let mut tries = 0;
    loop {
        let answer = ask(worker, &format!("{call}-{tries}"), "rerun", key);
        if answer != "error Unavailable" {
            return answer.replace(&format!("{call}-{tries}"), &format!("{call}-0"));
        }
        tries += 1;
        assert!(tries < 100, "the new master is not found");
    }
}

#[test]
fn a_cluster_runs_each_key_once_wherever_it_lives() {
    const KEYS: usize = 90;
    let cluster = RedisCluster::start();
    let site = Site::at(["cluster".to_owned()].into_iter().chain(cluster.urls()));
    let (mut one, mut two) = (site.worker(&[]), site.worker(&[]));
    for key in 0..KEYS {
        one.send(&format!("call one-{key} rerun key-{key} 20"));
        two.send(&format!("call two-{key} rerun key-{key} 20"));
    }
    let mut results = [vec![String::new(); KEYS], vec![String::new(); KEYS]];
    for (worker, results) in [&mut one, &mut two].into_iter().zip(&mut results) {
        for _ in 0..KEYS {
            let line = worker.wait_for("answer ");
            let (call, result) = line.split_once(" ok ").expect("every call is answered");
            let key: usize = call
                .split_once('-')
                .expect("its key")
                .1
                .parse()
                .expect("a number");
            result.clone_into(&mut results[key]);
        }
    }
    assert_eq!(results[0], results[1], "all results agree");
    for (key, result) in results[0].iter().enumerate() {
        assert_eq!(
            site.effects_of(&format!("key-{key}")),
            std::slice::from_ref(result)
        );
    }
    for node in cluster.nodes() {
        assert_ne!(
            node.cli(&["DBSIZE"]),
            "0",
            "every master has a part of the keys"
        );
    }
}

#[test]
fn a_waiter_on_a_cluster_is_woken_by_the_node_of_its_key() {
    let cluster = RedisCluster::start();
    let site = Site::at(["cluster".to_owned()].into_iter().chain(cluster.urls()));
    let (mut owner, mut waiter) = (site.worker(&[]), site.worker(&[]));
    hold(&mut owner, "owner", "rerun", "order");
    waiter.send("call waiter rerun order now");
    let channel = "idempotent:processes.charge|order";
    let node = &cluster.nodes()[cluster.node_of(channel)];
    wait_until("the waiter listens at the node", || {
        node.cli(&["PUBSUB", "SHARDNUMSUB", channel]) == format!("{channel}\n1")
    });
    owner.send("go");
    assert_eq!(answer(&mut owner, "owner"), "ok owner");
    assert_eq!(answer(&mut waiter, "waiter"), "ok owner");
    assert_eq!(site.effects_of("order"), ["owner"]);
}
