//! A server's answers during login are definite, and reported as such.

use idempotent_runtime::{
    Error, SharedStore, Store, StoreError, StoreErrorKind, operation, store::RedisStore,
};
use idempotent_test_support::{RedisCluster, RedisServer, Sentinel};

use crate::common::*;

/// Every way to a connection meets the same answer.
async fn refused(url: &str) -> StoreError {
    let error = RedisStore::connect(url).await.expect_err(url);
    let store = RedisStore::new(url).expect("a valid URL");
    let claimed = store.claim(&key("1"), &request(1)).await;
    assert_eq!(claimed.expect_err(url).kind(), error.kind(), "{error}");
    let shown = format!("{error} {error:?}");
    for secret in ["secret-7", "somebody"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    error
}

#[track_caller]
fn is_config(error: &StoreError, parts: &[&str]) {
    assert_eq!(error.kind(), StoreErrorKind::Config, "{error}");
    assert!(!error.is_transient() && !error.is_ambiguous(), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_database_that_the_server_does_not_have_is_a_fault_of_the_configuration() {
    let server = RedisServer::start();
    for number in ["16", "99", "2147483648", "9223372036854775807"] {
        let error = refused(&format!("{}/{number}", server.url())).await;
        is_config(&error, &["no database", number, "`databases`"]);
    }
    // A call is told so at once, and its body does not run.
    let store = RedisStore::new(&format!("{}/99", server.url())).expect("a valid URL");
    let error = operation::<Result<u8, Error>, _>("login", &[&1])
        .store(SharedStore::new(store))
        .run(async { panic!("it runs") })
        .await
        .expect_err("no database");
    assert!(matches!(error, Error::Config { .. }), "{error:?}");
}

#[tokio::test]
async fn a_primary_without_the_database_says_so_through_sentinel() {
    let sentinel = Sentinel::start();
    let hosts = sentinel.urls().join(",").replace("redis://", "");
    let name = sentinel.master_name();
    let error = refused(&format!("redis+sentinel://{hosts}/{name}?db=99")).await;
    is_config(&error, &["no database 99", "`databases`"]);
}

#[tokio::test]
async fn a_user_who_may_not_change_the_database_is_told_which_right_is_missing() {
    let server = RedisServer::builder()
        .acl("somebody on >secret-7 ~* &* +@all -select")
        .start();
    let url = server.url_for("somebody", "secret-7");
    let error = refused(&format!("{url}/5")).await;
    is_config(&error, &["grant `+select`", "database 0"]);
    // Who stays in the first needs no such right.
    RedisStore::connect(&url).await.expect("let in");
}

#[tokio::test]
async fn a_node_of_a_cluster_has_no_other_database() {
    let cluster = RedisCluster::start();
    let error = refused(&format!("{}/1", cluster.nodes()[0].url())).await;
    // Valkey's clusters may have several, since its version 9.
    if error.to_string().contains("cluster-databases") {
        is_config(&error, &["no database 1"]);
    } else {
        is_config(&error, &["database 0 only", "RedisStore::cluster"]);
    }
}

#[tokio::test]
async fn a_server_without_the_command_cannot_change_the_database() {
    let server = RedisServer::builder()
        .arg("rename-command", "SELECT \"\"")
        .start();
    let error = refused(&format!("{}/5", server.url())).await;
    is_config(&error, &["`SELECT`", "database 0"]);
}

#[tokio::test]
async fn whoever_may_not_come_in_is_told_what_to_do() {
    let server = RedisServer::builder()
        .acl("somebody on >secret-7 ~* &* +@all")
        .start();
    let url = server.url_for("somebody", "secret-71");
    for url in [url.clone(), format!("{url}/5")] {
        let error = refused(&url).await;
        // The password may be about to change, also on the server's side.
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert!(!error.is_transient(), "{error}");
        for part in ["WRONGPASS", "user or password are wrong"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    let server = RedisServer::builder()
        .arg("rename-command", "HELLO \"\"")
        .start();
    let error = refused(&format!("{}/5", server.url())).await;
    is_config(&error, &["renamed", "proxy"]);
    // A user who may not say which library it uses loses nothing.
    let server = RedisServer::builder()
        .acl("somebody on >secret-7 ~* &* +@all -client")
        .start();
    let url = format!("{}/5", server.url_for("somebody", "secret-7"));
    RedisStore::connect(&url).await.expect("let in");
}
