//! The commands that are sent, counted.

use std::time::{Duration, Instant};

use idempotent_runtime::{Store, key::Key, store::Settled};
use idempotent_test_support::RedisServer;

use crate::common::*;

/// What clients sent; what scripts call is counted beside them.
fn sent(server: &RedisServer) -> Vec<(String, u64)> {
    let names = [
        "set",
        "evalsha",
        "eval",
        "time",
        "get",
        "info",
        "script|load",
    ];
    let stats = server.commandstats();
    names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), *stats.get(*name)?)))
        .collect()
}

fn count(server: &RedisServer, name: &str) -> u64 {
    server.commandstats().get(name).copied().unwrap_or(0)
}

#[tokio::test]
async fn a_first_call_sends_two_commands() {
    let server = RedisServer::start();
    let store = store(&server);
    store.check().await.expect("fit");
    server.reset_commandstats();

    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    assert_eq!(sent(&server), [("set".to_owned(), 1)]);
    server.reset_commandstats();

    let settled = store
        .finish(&key("1"), &done(&owned, b"42"))
        .await
        .expect("finish");
    assert_eq!(settled, Settled::Applied);
    // The script itself gets, sets and publishes.
    assert_eq!(count(&server, "evalsha"), 1);
    assert_eq!(scripted(&server)[..3], [1, 1, 1]);
    assert_eq!(
        (
            count(&server, "eval"),
            count(&server, "script|load"),
            count(&server, "info")
        ),
        (0, 0, 0)
    );
}

/// What a finish' script may do.
fn scripted(server: &RedisServer) -> [u64; 4] {
    ["get", "set", "publish", "time"].map(|name| count(server, name))
}

/// The record's end, as ahead of the server's time by its retention: milliseconds, the later by
/// what passed in between.
fn lateness(server: &RedisServer, key: &Key) -> i64 {
    let time = server.cli(&["TIME"]);
    let mut parts = time
        .lines()
        .map(|part| part.parse::<i64>().expect("a number"));
    let (seconds, micros) = (parts.next().expect("two"), parts.next().expect("two"));
    let expires = record(server, key).expect("done").expires;
    let left = i64::try_from(expires).expect("small") - (seconds * 1000 + micros / 1000);
    // The bytes stay for their grace, of twice the lease.
    left - (pttl(server, key) - 60_000)
}

#[tokio::test]
async fn a_finish_asks_for_the_time_once_what_was_learned_is_old() {
    let server = RedisServer::start();
    let store = store(&server);
    store.check().await.expect("fit");
    let mut learned = Instant::now();
    for (number, asked) in [(1, 0), (2, 1), (3, 0)] {
        let key = key(&number.to_string());
        let owned = granted(store.claim(&key, &request(number)).await.expect("claim"));
        if asked == 1 {
            tokio::time::sleep(Duration::from_millis(5_100)).await;
        }
        server.reset_commandstats();
        let settled = store.finish(&key, &done(&owned, b"42")).await;
        assert_eq!(settled.expect("finish"), Settled::Applied);
        let sent = scripted(&server);
        assert_eq!(sent[..3], [1, 1, 1], "finish {number}");
        // Unless this machine was so busy that even what was just learned grew old.
        if asked == 1 || learned.elapsed() < Duration::from_secs(4) {
            assert_eq!(sent[3], asked, "finish {number}");
        }
        if sent[3] == 1 {
            learned = Instant::now();
        }
        // Redis' own end of the record and the one that it tells agree, but for the time an answer
        // took.
        let lateness = lateness(&server, &key);
        assert!(lateness.abs() < 60_000, "finish {number}: {lateness} ms");
    }
}

#[tokio::test]
async fn a_replay_sends_one_command() {
    let server = RedisServer::start();
    let store = store(&server);
    let done = first_call(&store, &key("1"), 1, b"42").await;
    server.reset_commandstats();

    let (record, _) = held(store.claim(&key("1"), &request(2)).await.expect("claim"));
    assert_eq!(record.outcome, done.outcome);
    assert_eq!(record.codec, done.codec);
    assert_eq!(sent(&server), [("set".to_owned(), 1)]);
}

#[tokio::test]
async fn another_client_of_a_warm_server_sends_two_commands_too() {
    let server = RedisServer::start();
    first_call(&store(&server), &key("1"), 1, b"42").await;

    let other = store(&server);
    other.check().await.expect("fit");
    server.reset_commandstats();
    first_call(&other, &key("2"), 2, b"43").await;
    assert_eq!((count(&server, "evalsha"), count(&server, "eval")), (1, 0));
    // One by the client, one by the script.
    assert_eq!(count(&server, "set"), 2);
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_brought_along() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    for _ in 0..2 {
        server.cli(&["SCRIPT", "FLUSH"]);
        server.reset_commandstats();
        assert_eq!(
            store.renew(&key("1"), &owned).await.expect("renew"),
            Settled::Applied
        );
        assert_eq!((count(&server, "evalsha"), count(&server, "eval")), (1, 1));
        assert_eq!(
            store.renew(&key("1"), &owned).await.expect("renew"),
            Settled::Applied
        );
        assert_eq!((count(&server, "evalsha"), count(&server, "eval")), (2, 1));
    }
}

#[tokio::test]
async fn an_operator_recognises_the_keys() {
    let server = RedisServer::start();
    first_call(&store(&server), &key("order-42"), 1, b"42").await;
    assert_eq!(
        server.cli(&["KEYS", "*"]),
        "idempotent:payments.charge|order-42"
    );
    assert_eq!(
        server.cli(&["TYPE", "idempotent:payments.charge|order-42"]),
        "string"
    );
}

#[tokio::test]
async fn nothing_is_left_without_an_end() {
    let server = RedisServer::start();
    let store = store(&server);
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    assert!((1..=hold()).contains(&pttl(&server, &key("1"))));
    assert!(pttl(&server, &key("1")) > hold() - 60_000);

    store
        .finish(&key("1"), &done(&owned, b"42"))
        .await
        .expect("finish");
    assert!((1..=3_660_000).contains(&pttl(&server, &key("1"))));
    let record = record(&server, &key("1")).expect("done");
    assert_eq!(record.token, owned.token);
    let now = server.cli(&["TIME"]);
    let seconds: u64 = now
        .lines()
        .next()
        .expect("two lines")
        .parse()
        .expect("a number");
    assert!(record.expires > seconds * 1000 && record.expires <= (seconds + 3601) * 1000);
}
