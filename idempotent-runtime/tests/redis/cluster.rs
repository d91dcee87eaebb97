//! A cluster of three primaries.

use std::time::Duration;

use idempotent_runtime::{
    Store, StoreErrorKind,
    record::State,
    store::{RedisOptions, RedisStore},
};
use idempotent_test_support::{RedisCluster, RedisServer, wait_until};

use crate::common::*;

fn cluster_store(cluster: &RedisCluster) -> RedisStore {
    RedisStore::cluster(cluster.urls()).expect("valid URLs")
}

fn node_of<'a>(cluster: &'a RedisCluster, part: &str) -> &'a RedisServer {
    &cluster.nodes()[cluster.node_of(&redis_key(&key(part)))]
}

/// One key for each node.
fn one_a_node(cluster: &RedisCluster) -> Vec<String> {
    (0..3)
        .map(|node| {
            let mut parts = (0..).map(|number: u32| number.to_string());
            parts
                .find(|part| cluster.node_of(&redis_key(&key(part))) == node)
                .expect("endless")
        })
        .collect()
}

fn calls(cluster: &RedisCluster, name: &str) -> u64 {
    cluster
        .nodes()
        .iter()
        .map(|node| node.commandstats().get(name).copied().unwrap_or(0))
        .sum()
}

#[tokio::test]
async fn every_node_keeps_its_share_with_as_few_commands() {
    let cluster = RedisCluster::start();
    let store = cluster_store(&cluster);
    store.check().await.expect("fit");
    for node in cluster.nodes() {
        node.reset_commandstats();
    }
    for part in 0..60 {
        let part = part.to_string();
        let target = first_call(&store, &key(&part), 1, part.as_bytes()).await;
        let (record, _) = held(store.claim(&key(&part), &request(2)).await.expect("replay"));
        assert_eq!(record.outcome, target.outcome);
    }
    // Of each call: SET, EVALSHA and the script's own SET; of each replay: SET.
    assert_eq!(
        (calls(&cluster, "set"), calls(&cluster, "evalsha")),
        (180, 60)
    );
    assert_eq!((calls(&cluster, "eval"), calls(&cluster, "asking")), (0, 0));
    for node in cluster.nodes() {
        assert!(node.cli(&["DBSIZE"]).parse::<u32>().expect("a number") > 5);
    }
}

#[tokio::test]
async fn takeovers_heartbeats_and_decisions() {
    let cluster = RedisCluster::start();
    let store = cluster_store(&cluster);
    for part in one_a_node(&cluster) {
        let (key, node) = (key(&part), node_of(&cluster, &part));
        node.cli(&["SCRIPT", "FLUSH"]);
        let first = granted(store.claim(&key, &request(1)).await.expect("claim"));
        store.renew(&key, &first).await.expect("renew");
        elapse(node, &key, LEASE);
        let second = granted(store.claim(&key, &request(2)).await.expect("takeover"));
        assert!(second.token > first.token);
        assert_eq!(
            stale(store.renew(&key, &first).await.expect("renew")),
            second
        );
        let read = store.read(&key).await.expect("read").expect("there");
        assert_eq!(read.0, second);
        let replacement = in_state(&request(3).record(), State::Failed);
        store
            .overrule(&key, Some(&second), &replacement)
            .await
            .expect("overrule");
        granted(store.claim(&key, &request(4)).await.expect("claim"));
    }
}

#[tokio::test]
async fn waiters_are_woken_through_their_shard() {
    let cluster = RedisCluster::start();
    let (owner, waiter) = (cluster_store(&cluster), cluster_store(&cluster));
    for part in one_a_node(&cluster) {
        let owned = granted(owner.claim(&key(&part), &request(1)).await.expect("claim"));
        let mut subscription = waiter.subscribe(&key(&part)).await.expect("subscribe");
        assert!(subscription.is_push());
        let listeners =
            || node_of(&cluster, &part).cli(&["PUBSUB", "SHARDNUMSUB", &redis_key(&key(&part))]);
        assert!(listeners().ends_with('1'), "{}", listeners());
        owner
            .finish(&key(&part), &done(&owned, b"42"))
            .await
            .expect("finish");
        told(&mut subscription).await;
        drop(subscription);
        for _ in 0..2000 {
            if listeners().ends_with('0') {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(listeners().ends_with('0'), "{}", listeners());
    }
}

#[tokio::test]
async fn a_slot_that_is_being_moved_is_followed() {
    let cluster = RedisCluster::start();
    let store = cluster_store(&cluster);
    let part = one_a_node(&cluster).remove(0);
    let (from, to) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    let done_before = first_call(&store, &key(&part), 1, b"42").await;
    let slot = from.cli(&["CLUSTER", "KEYSLOT", &redis_key(&key(&part))]);
    let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
    to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);

    // What is still here is answered here; what has gone already is asked for there (ASK), scripts
    // included.
    held(store.claim(&key(&part), &request(2)).await.expect("replay"));
    let port = to.port().to_string();
    from.cli(&[
        "MIGRATE",
        "127.0.0.1",
        &port,
        &redis_key(&key(&part)),
        "0",
        "5000",
    ]);
    to.cli(&["SCRIPT", "FLUSH"]);
    let (record, _) = held(store.claim(&key(&part), &request(2)).await.expect("replay"));
    assert_eq!(record.outcome, done_before.outcome);
    assert_eq!(
        store
            .read(&key(&part))
            .await
            .expect("read")
            .expect("there")
            .0
            .outcome,
        done_before.outcome
    );
    assert!(to.commandstats().contains_key("asking"));

    // And then it lives there (MOVED).
    for node in [to, from, &cluster.nodes()[2]] {
        node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    to.reset_commandstats();
    for number in 3..6 {
        held(
            store
                .claim(&key(&part), &request(number))
                .await
                .expect("replay"),
        );
    }
    let asked = to.commandstats().get("asking").copied().unwrap_or(0);
    assert_eq!((asked, to.commandstats()["set"]), (0, 3));
}

#[tokio::test]
async fn a_node_that_dies_is_replaced_and_the_others_go_on() {
    let cluster = RedisCluster::start_with_replicas();
    for node in cluster.nodes() {
        node.cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let options = RedisOptions::new().with_response_timeout(Duration::from_secs(1));
    let store = options.open_cluster(cluster.urls()).expect("valid URLs");
    let parts = one_a_node(&cluster);
    let mut subscription = store.subscribe(&key(&parts[0])).await.expect("subscribe");
    for part in &parts {
        first_call(&store, &key(part), 1, b"42").await;
    }
    told(&mut subscription).await;
    // Acknowledged writes that no replica has yet would be lost with the node.
    wait_until("the replicas have everything", || {
        cluster.nodes()[3..]
            .iter()
            .map(|node| node.cli(&["DBSIZE"]))
            .filter(|size| size == "1")
            .count()
            == 3
    });
    cluster.nodes()[0].kill();
    let error = store
        .claim(&key(&parts[0]), &request(2))
        .await
        .expect_err("down");
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous, "{error}");
    for part in &parts[1..] {
        held(
            store
                .claim(&key(part), &request(2))
                .await
                .expect("the others go on"),
        );
    }
    let named = redis_key(&key(&parts[0]));
    wait_until("its replica has taken over", || {
        cluster.nodes()[3].cli(&["ROLE"]).starts_with("master")
    });
    cluster.wait_until_ok();
    let mut answer = None;
    for _ in 0..200 {
        if let Ok(reply) = store.claim(&key(&parts[0]), &request(2)).await {
            answer = Some(reply);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    held(answer.expect("the replica answers"));
    // Its listener is told of the loss, and listens to the new node.
    told(&mut subscription).await;
    let new = node_of(&cluster, &parts[0]);
    for _ in 0..500 {
        if new.cli(&["PUBSUB", "SHARDNUMSUB", &named]).ends_with('1') {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(new.cli(&["PUBSUB", "SHARDNUMSUB", &named]).ends_with('1'));
}

#[tokio::test]
async fn a_single_connection_to_a_cluster_is_told_what_to_use() {
    let cluster = RedisCluster::start();
    let part = one_a_node(&cluster).remove(1);
    let store = RedisStore::new(&cluster.urls()[0]).expect("a valid URL");
    let error = store
        .claim(&key(&part), &request(1))
        .await
        .expect_err("elsewhere");
    assert_eq!(error.kind(), StoreErrorKind::Refused);
    assert!(error.to_string().contains("RedisStore::cluster"), "{error}");
}

#[tokio::test]
async fn a_cluster_that_is_not_there_was_sent_nothing() {
    let cluster = RedisCluster::start();
    let store = cluster_store(&cluster);
    for node in cluster.nodes() {
        node.kill();
    }
    let error = store.claim(&key("1"), &request(1)).await.expect_err("down");
    assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");
}

#[tokio::test]
async fn a_primary_that_evicts_is_refused() {
    let cluster = RedisCluster::start();
    cluster.nodes()[2].cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    cluster.nodes()[2].cli(&["CONFIG", "SET", "maxmemory", "100mb"]);
    let error = cluster_store(&cluster).check().await.expect_err("evicts");
    assert_eq!(error.kind(), StoreErrorKind::Config, "{error}");
}

#[tokio::test]
async fn a_user_with_the_documented_rights_can_do_everything() {
    let few = "~idempotent:* &idempotent:* -@all +set +get +pttl +pexpire +time +evalsha +eval +spublish +ssubscribe \
               +sunsubscribe +cluster|slots +asking";
    let cluster = RedisCluster::start();
    for node in cluster.nodes() {
        let words: Vec<_> = ["ACL", "SETUSER", "app", "on", ">secret"]
            .into_iter()
            .chain(few.split_whitespace())
            .collect();
        node.cli(&words);
    }
    let urls = cluster
        .nodes()
        .iter()
        .map(|node| node.url_for("app", "secret"));
    let store = RedisStore::cluster(urls).expect("valid URLs");
    for part in one_a_node(&cluster) {
        let mut subscription = store.subscribe(&key(&part)).await.expect("subscribe");
        assert!(subscription.is_push());
        first_call(&store, &key(&part), 1, b"42").await;
        told(&mut subscription).await;
    }
}
