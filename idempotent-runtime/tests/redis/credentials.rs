//! Users and passwords that change while the process runs.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use idempotent_runtime::{
    Store, StoreErrorKind,
    store::{RedisCredentials, RedisOptions, RedisStore},
};
use idempotent_test_support::{RedisCluster, RedisServer, Sentinel};

use crate::common::*;

/// What the application knows at the moment, and how often it was asked.
#[derive(Clone)]
struct Vault {
    password: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Vault {
    fn new(password: &str) -> Self {
        Self {
            password: Arc::new(Mutex::new(password.to_owned())),
            asked: Arc::default(),
        }
    }

    fn options(&self) -> RedisOptions {
        let vault = self.clone();
        RedisOptions::new().with_credentials(move || {
            let vault = vault.clone();
            async move {
                tokio::task::yield_now().await;
                vault.asked.fetch_add(1, SeqCst);
                let password = vault.password.lock().expect("no panic").clone();
                Ok::<_, std::io::Error>(RedisCredentials::new("app", password))
            }
        })
    }

    /// The servers get another password, and hang up on whoever came with the old one.
    fn change(&self, password: &str, servers: &[RedisServer]) {
        set_password(password, servers);
        password.clone_into(&mut self.password.lock().expect("no panic"));
        servers.iter().for_each(RedisServer::drop_clients);
    }
}

fn set_password(password: &str, servers: &[RedisServer]) {
    let account = ["ACL", "SETUSER", "app", "on", "resetpass"];
    let password = format!(">{password}");
    let rules = [&account[..], &[&password, "~*", "&*", "+@all"]].concat();
    for server in servers {
        server.cli(&rules);
    }
}

fn close_to_others(servers: &[RedisServer]) {
    for server in servers {
        // Nobody comes in without a password.
        server.cli(&["ACL", "SETUSER", "default", "resetpass", "-@all", "+ping"]);
    }
}

/// Commands and wake-ups, before and after each change.
async fn follows(vault: &Vault, store: &RedisStore, servers: &[RedisServer]) {
    let mut before = 0;
    let mut waiting = store.subscribe(&key("all along")).await.expect("subscribe");
    assert!(waiting.is_push());
    for round in 0..3 {
        for part in 0..6 {
            let part = key(&format!("{round} {part}"));
            let mut subscription = store.subscribe(&part).await.expect("subscribe");
            assert!(subscription.is_push(), "{part:?}");
            first_call(store, &part, 1, b"42").await;
            told(&mut subscription).await;
        }
        let asked = vault.asked.load(SeqCst);
        assert!(
            asked >= before + 2,
            "for commands and for wake-ups: {asked}"
        );
        before = asked;
        vault.change(&format!("secret-{round}"), servers);
        told(&mut waiting).await;
        noticed(store).await;
    }
}

/// Waits until each connection's loss has been noticed: what is written before may be lost with it.
async fn noticed(store: &RedisStore) {
    for part in 0..12 {
        let part = key(&part.to_string());
        for _ in 0..1_000 {
            let is_read = store.read(&part).await.is_ok();
            if is_read && store.subscribe(&part).await.is_ok_and(|all| all.is_push()) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn each_connection_asks_who_logs_in_on_one_server() {
    let servers = [RedisServer::start()];
    set_password("first", &servers);
    close_to_others(&servers);
    let vault = Vault::new("first");
    // The callback comes before what the URL says.
    let url = servers[0].url_for("somebody", "else");
    let store = vault.options().open(&url).expect("a valid URL");
    follows(&vault, &store, &servers).await;
}

#[tokio::test]
async fn each_connection_asks_who_logs_in_to_a_cluster() {
    let cluster = RedisCluster::start();
    set_password("first", cluster.nodes());
    close_to_others(cluster.nodes());
    let vault = Vault::new("first");
    let store = vault
        .options()
        .open_cluster(cluster.urls())
        .expect("valid URLs");
    follows(&vault, &store, cluster.nodes()).await;
}

#[tokio::test]
async fn each_connection_asks_who_logs_in_to_the_primary_and_sentinels_have_their_own() {
    let sentinel = Sentinel::start();
    let servers = sentinel.servers();
    set_password("first", servers);
    for one in sentinel.sentinels() {
        one.cli(&[
            "ACL", "SETUSER", "watch", "on", ">over", "~*", "&*", "+@all",
        ]);
    }
    let vault = Vault::new("first");
    let options = vault.options().with_sentinel_login(Some("watch"), "over");
    let store = options
        .open_sentinel(sentinel.urls(), sentinel.master_name())
        .expect("valid URLs");
    first_call(&store, &key("1"), 1, b"42").await;
    let asked = vault.asked.load(SeqCst);
    set_password("second", servers);
    "second".clone_into(&mut vault.password.lock().expect("no panic"));
    sentinel.master().drop_clients();
    let mut answer = store.claim(&key("1"), &request(2)).await;
    for _ in 0..50 {
        if answer.is_ok() {
            break;
        }
        // It may have been sent before the loss was noticed.
        answer = store.claim(&key("1"), &request(2)).await;
    }
    held(answer.expect("let in"));
    assert!(vault.asked.load(SeqCst) > asked);
}

#[tokio::test]
async fn a_callback_that_fails_hangs_or_panics_is_an_error_and_the_next_call_asks_again() {
    let server = RedisServer::start();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let options = RedisOptions::new()
        .with_connection_timeout(std::time::Duration::from_millis(300))
        .with_credentials(move || {
            let number = count.fetch_add(1, SeqCst);
            async move {
                match number {
                    0 => Err(std::io::Error::other("the vault is sealed")),
                    1 => std::future::pending().await,
                    2 => panic!("on purpose"),
                    _ => Ok(RedisCredentials::password("any")),
                }
            }
        });
    let store = options.open(&server.url()).expect("a valid URL");
    for part in ["callback failed", "did not answer", "broken off"] {
        let error = store.claim(&key("1"), &request(1)).await.expect_err(part);
        assert_eq!(error.kind(), StoreErrorKind::NotSent, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    server.cli(&["CONFIG", "SET", "requirepass", "any"]);
    granted(store.claim(&key("1"), &request(1)).await.expect("let in"));
    assert_eq!(asked.load(SeqCst), 4);
}
