//! The commands tried at connect: a store that can claim but not finish is refused before any body
//! runs.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use idempotent_runtime::{Error, SharedStore, StoreErrorKind, operation, store::RedisStore};
use idempotent_test_support::{RedisCluster, RedisServer};

use crate::common::*;

/// Without one of these no call can be finished.
const NEEDED: [&str; 7] = ["set", "get", "pttl", "pexpire", "time", "evalsha", "eval"];

/// No body runs on a store that cannot record what it did; the error names the command.
async fn is_found_out(store: RedisStore, names: &str) {
    is_found_out_for(store, names, "4711").await;
}

/// As [`is_found_out`], with a key of the node that lacks something: the others serve theirs.
async fn is_found_out_for(store: RedisStore, names: &str, key: &str) {
    let bodies = Arc::new(AtomicU32::new(0));
    let error = store.check().await.expect_err(names);
    assert_eq!(error.kind(), StoreErrorKind::Config, "{names}: {error}");
    assert!(error.to_string().contains(names), "{names}: {error}");
    for secret in ["secret-7", "tenant", "4711"] {
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
    let shared = SharedStore::new(store);
    for _ in 0..2 {
        let bodies = Arc::clone(&bodies);
        let answer = operation::<Result<u32, Error>, _>("trial", &[&key])
            .store(&shared)
            .run(async move { Ok(bodies.fetch_add(1, Ordering::SeqCst)) })
            .await;
        let error = answer.expect_err(names);
        assert!(matches!(error, Error::Config { .. }), "{names}: {error:?}");
        assert!(!error.is_retryable());
    }
    assert_eq!(bodies.load(Ordering::SeqCst), 0, "{names}");
}

/// A user with these rules.
fn tenant(server: &RedisServer, user: &str, rules: &[&str]) {
    let account = ["ACL", "SETUSER", user, "on", ">secret-7"];
    server.cli(&[&account, rules].concat());
}

#[tokio::test]
async fn a_user_who_may_not_do_all_that_a_call_needs_is_told_which_command_to_grant() {
    let server = RedisServer::start();
    for right in NEEDED {
        let user = format!("tenant-{right}");
        tenant(&server, &user, &["~*", "&*", "+@all", &format!("-{right}")]);
        let store = RedisStore::new(&server.url_for(&user, "secret-7")).expect("a valid URL");
        is_found_out(store, &format!("grant `+{right}`")).await;
    }
    // Several are named at once.
    tenant(
        &server,
        "tenant",
        &["~*", "&*", "+@all", "-eval", "-evalsha", "-pttl"],
    );
    let store = RedisStore::new(&server.url_for("tenant", "secret-7")).expect("a valid URL");
    is_found_out(store, "PTTL, EVALSHA, EVAL").await;
    is_left_empty(&server);
}

/// Without `PEXPIRE` the last script leaves the key a millisecond.
fn is_left_empty(server: &RedisServer) {
    idempotent_test_support::wait_until("the trial's key is gone", || {
        server.cli(&["DBSIZE"]) == "0"
    });
}

#[tokio::test]
async fn a_user_who_may_not_use_the_stores_keys_is_told_the_rule() {
    let server = RedisServer::start();
    tenant(&server, "tenant", &["~other:*", "&*", "+@all"]);
    let store = RedisStore::new(&server.url_for("tenant", "secret-7")).expect("a valid URL");
    is_found_out(store, "~idempotent:*").await;
}

#[tokio::test]
async fn a_server_whose_commands_are_renamed_is_told_by_their_names() {
    for name in NEEDED {
        let name = name.to_uppercase();
        let server = RedisServer::builder()
            .arg("rename-command", format!("{name} \"\""))
            .start();
        is_found_out(store(&server), &format!("does not know {name}")).await;
    }
}

#[tokio::test]
async fn a_trial_leaves_nothing_behind_and_many_may_connect_at_once() {
    let server = RedisServer::start();
    let url = server.url();
    let connects = (0..50).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { RedisStore::connect(&url).await.map(drop) })
    });
    for connect in connects.collect::<Vec<_>>() {
        connect.await.expect("no panic").expect("fit");
    }
    is_left_empty(&server);
    assert!(server.commandstats()["evalsha"] >= 250, "it was tried");
}

/// Whoever may not load scripts has them tried by their text.
#[tokio::test]
async fn scripts_that_cannot_be_loaded_are_tried_all_the_same() {
    let server = RedisServer::builder()
        .arg("rename-command", "SCRIPT \"\"")
        .start();
    let store = RedisStore::connect(&server.url()).await.expect("fit");
    // Each by its text, and reading in both rounds.
    assert_eq!(server.commandstats()["eval"], 7);
    is_left_empty(&server);
    first_call(&store, &key("1"), 1, b"42").await;
}

#[tokio::test]
async fn who_may_not_publish_is_served() {
    for rules in ["~* &* +@all -publish", "~* resetchannels &other:* +@all"] {
        let server = RedisServer::builder()
            .acl(&format!("tenant on >secret-7 {rules}"))
            .start();
        let store = RedisStore::connect(&server.url_for("tenant", "secret-7"))
            .await
            .expect("waiters poll");
        first_call(&store, &key("1"), 1, b"42").await;
    }
}

#[tokio::test]
async fn each_primary_of_a_cluster_is_tried() {
    let cluster = RedisCluster::start();
    RedisStore::cluster(cluster.urls())
        .expect("valid URLs")
        .check()
        .await
        .expect("fit");
    for node in cluster.nodes() {
        assert!(
            node.commandstats()["evalsha"] >= 5,
            "{:?}",
            node.commandstats()
        );
        is_left_empty(node);
    }
    for (index, node) in cluster.nodes().iter().enumerate() {
        let mut keys = (0..).map(|number: u32| number.to_string());
        let key = keys
            .find(|key| cluster.node_of(&format!("idempotent:trial|{key}")) == index)
            .expect("endless");
        for right in ["eval", "pttl"] {
            node.cli(&["ACL", "SETUSER", "default", "-eval"]);
            node.cli(&["ACL", "SETUSER", "default", "+@all", &format!("-{right}")]);
            let store = RedisStore::cluster(cluster.urls()).expect("valid URLs");
            is_found_out_for(store, &format!("grant `+{right}`"), &key).await;
            node.cli(&["ACL", "SETUSER", "default", "+@all"]);
        }
    }
}
