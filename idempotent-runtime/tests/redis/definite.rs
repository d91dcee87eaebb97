//! An error from the server is a definite answer: nothing changed, so nothing is in doubt.

use std::time::Duration;

use idempotent_runtime::{Error, SharedStore, Store, StoreErrorKind, operation, store::RedisStore};
use idempotent_test_support::{RedisCluster, RedisServer, wait_until};

use crate::common::*;

type Answer = Result<u32, Error>;

/// Each call is answered by a refusal that passes.
async fn is_refused_for_now(store: &SharedStore, parts: &[String], code: &str) {
    for part in parts {
        let call = operation::<Answer, _>("payments.charge", &[part]).store(store);
        let error = call.wait(Duration::ZERO).run(async { Ok(1) }).await;
        let Err(Error::Unavailable { source, .. }) = error else {
            panic!("{code}: {error:?}")
        };
        assert_eq!(source.kind(), StoreErrorKind::Refused, "{source}");
        assert!(source.is_transient(), "{source}");
        assert!(source.to_string().contains(code), "{source}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_down_answers_definitely_that_it_will_serve_later() {
    let cluster = RedisCluster::start();
    let store = RedisStore::cluster(cluster.urls()).expect("valid URLs");
    store.check().await.expect("fit");
    let all: Vec<_> = (0..60).map(|number: u32| number.to_string()).collect();
    cluster.kill_node(0);
    let living = &cluster.nodes()[1..];
    wait_until("the others call the cluster down", || {
        let is_down = |node: &RedisServer| {
            let info = node.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:fail")
        };
        living.iter().all(is_down)
    });
    // Those of the node that is gone are lost at first, and then not sent at all.
    let mut others = Vec::new();
    for part in all {
        match store.claim(&key(&part), &request(1)).await {
            Err(error) if error.kind() == StoreErrorKind::Refused => others.push(part),
            Err(_) => {}
            Ok(reply) => panic!("{reply:?}"),
        }
    }
    assert!(others.len() > 20, "{}", others.len());
    is_refused_for_now(&SharedStore::new(store), &others, "CLUSTERDOWN").await;
}

#[tokio::test]
async fn a_server_that_a_script_blocks_answers_definitely_that_it_will_serve_later() {
    let server = RedisServer::start();
    server.cli(&["CONFIG", "SET", "busy-reply-threshold", "1"]);
    let store = store(&server);
    store.check().await.expect("fit");
    let url = server.url();
    let blocking = std::thread::spawn(move || {
        let client = redis::Client::open(url).expect("a URL");
        let mut connection = client.get_connection().expect("the server is there");
        let script = redis::cmd("EVAL")
            .arg("while true do end")
            .arg(0)
            .exec(&mut connection);
        script.expect_err("it is killed");
    });
    wait_until("the script blocks", || server.try_cli(&["DBSIZE"]).is_err());
    let parts: Vec<_> = (0..20).map(|number: u32| number.to_string()).collect();
    is_refused_for_now(&SharedStore::new(store.clone()), &parts, "BUSY").await;
    server.cli(&["SCRIPT", "KILL"]);
    blocking.join().expect("no panic");
    granted(store.claim(&key("0"), &request(1)).await.expect("claim"));
}
