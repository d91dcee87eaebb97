//! `SharedStore::from_env`. A process has one environment, so each case runs in its own process:
//! this test binary again, running only the test that plays the child.

use std::{env, process::Command};

use idempotent_runtime::{Error, SharedStore, install, operation};
use idempotent_test_support::{RedisCluster, RedisServer};

type Answer = Result<u32, Error>;

const CASE: &str = "IDEMPOTENT_TEST_CASE";
const STORE: &str = "IDEMPOTENT_STORE";

/// Does nothing but in a child process.
#[tokio::test]
async fn child() {
    if env::var_os(CASE).is_none() {
        return;
    }
    match SharedStore::from_env().await {
        Ok(store) => {
            println!("store: {}", store.describe());
            install(store).expect("the first");
            let call = operation::<Answer, _>("from_env", &[&"1"]);
            assert_eq!(call.run(async { Ok(1) }).await.expect("answered"), 1);
        }
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            println!("refused: {:?}: {error} {source:?}", error.kind());
        }
    }
}

/// What a process with this environment prints.
fn told(store: Option<&str>) -> String {
    let mut child = Command::new(env::current_exe().expect("this program"));
    child
        .args(["--exact", "from_env::child", "--nocapture"])
        .env(CASE, "from_env")
        .env_remove(STORE);
    if let Some(url) = store {
        child.env(STORE, url);
    }
    let output = child.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(
        !format!("{text}{errors}").contains("4711"),
        "{text}{errors}"
    );
    text
}

#[test]
fn what_the_environment_names_is_connected_to_and_used() {
    let server = RedisServer::builder().password("pass4711").start();
    let text = told(Some(&server.url()));
    assert!(text.contains("store: Redis at 127.0.0.1"), "{text}");
    assert!(server.commandstats().contains_key("set"));
    let cluster = RedisCluster::start();
    let nodes = cluster.urls().join(",").replace("redis://", "");
    let text = told(Some(&format!("redis+cluster://{nodes}/")));
    assert!(text.contains("store: Redis Cluster at 127.0.0.1"), "{text}");
    assert!(told(Some(" memory: ")).contains("store: memory"));
}

#[test]
fn what_cannot_be_used_is_refused_before_the_first_call_and_without_its_password() {
    let evicts = RedisServer::builder()
        .arg("maxmemory", "100mb")
        .arg("maxmemory-policy", "allkeys-lru")
        .start();
    let locked = RedisServer::builder().password("right").start();
    let wrong = format!("redis://me:pass4711@127.0.0.1:{}", locked.port());
    for (url, kind, word) in [
        (
            None,
            "Config",
            "IDEMPOTENT_STORE is not set; set it to redis://",
        ),
        (Some(""), "Config", "IDEMPOTENT_STORE is not set"),
        (
            Some("nonsense://me:pass4711@host"),
            "Config",
            "redis+cluster://",
        ),
        (
            Some("redis://me:pass4711@host:port"),
            "Config",
            "redis://host:6379/0",
        ),
        (
            Some("redis+sentinel://me:pass4711@host"),
            "Config",
            "primary-name",
        ),
        (
            Some("redis://me:pass4711@127.0.0.1:1"),
            "NotSent",
            "is the server running?",
        ),
        (Some(&evicts.url()), "Config", "noeviction"),
        (Some(&wrong), "Refused", "password"),
    ] {
        let text = told(url);
        assert!(
            text.contains(&format!("refused: {kind}")),
            "{url:?}: {text}"
        );
        assert!(text.contains(word), "{url:?}: {text}");
    }
}
