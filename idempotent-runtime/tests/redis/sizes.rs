//! Values that the server does not take: they are told apart from transient failures, and other
//! calls do not fail because of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use idempotent_runtime::{
    Error, SharedStore, Store, StoreErrorKind, operation,
    record::{Record, RecordedBytes, State},
    store::{RedisStore, Settled},
};
use idempotent_test_support::{RedisCluster, RedisServer};

use crate::common::*;

const MIB: usize = 1024 * 1024;

/// How many bytes of a done record are not its result.
fn header(owned: &Record) -> usize {
    done(owned, b"").encode().len()
}

/// The end of an attempt whose result was too large.
fn without_result(owned: &Record) -> Record {
    let mut record = done(owned, b"");
    record.outcome = Some(RecordedBytes::NotRecorded(Arc::from(&b"too large"[..])));
    record
}

fn stat(server: &RedisServer, name: &str) -> u64 {
    let info = server.info("stats");
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect(name).trim().parse().expect("a number")
}

/// Finishes with a result of `size` bytes until there is a definite answer, while others go on. How
/// often it was sent.
async fn is_refused_for_its_size(store: &RedisStore, server: &RedisServer, size: usize) -> u32 {
    let owned = granted(
        store
            .claim(&key("large"), &request(1))
            .await
            .expect("claim"),
    );
    let target = done(&owned, &vec![b'x'; size]);
    let mut tries = 0;
    let error = loop {
        tries += 1;
        let error = store
            .finish(&key("large"), &target)
            .await
            .expect_err("too large");
        // Its own connection is what it costs, if any.
        first_call(store, &key(&format!("other-{tries}")), 2, b"42").await;
        if error.kind() != StoreErrorKind::Ambiguous {
            break error;
        }
        assert!(tries < 5, "{error}");
    };
    assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{error}");
    assert_eq!(
        record(server, &key("large")).expect("there").state,
        State::Running
    );
    // What it carried is too large, and the attempt itself may end.
    let settled = store.finish(&key("large"), &without_result(&owned)).await;
    assert_eq!(settled.expect("finish"), Settled::Applied);
    tries
}

/// The body runs once, its caller has the result, later ones are told that it was not recorded, and
/// other keys go on.
async fn is_run_once(store: RedisStore, size: usize) {
    let store = SharedStore::new(store).with_max_result(8 * MIB);
    let bodies = Arc::new(AtomicU32::new(0));
    let call = || {
        let bodies = Arc::clone(&bodies);
        operation::<Result<String, Error>, _>("sizes", &[&size])
            .store(&store)
            .lease(Duration::from_secs(1))
            .run(async move {
                bodies.fetch_add(1, Ordering::SeqCst);
                Ok("x".repeat(size))
            })
    };
    assert_eq!(call().await.expect("its own result").len(), size);
    let other = |number: usize| {
        operation::<Result<usize, Error>, _>("others", &[&number])
            .store(&store)
            .run(async move { Ok(number) })
    };
    for number in 0..20 {
        assert_eq!(other(number).await.expect("others go on"), number);
    }
    for _ in 0..3 {
        let error = call().await.expect_err("not recorded");
        assert!(matches!(error, Error::NotRecorded { .. }), "{error:?}");
    }
    assert_eq!(bodies.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_whose_result_the_server_does_not_take_runs_once() {
    for tells in [true, false] {
        for (setting, value, size) in [
            ("proto-max-bulk-len", "1048576", 1_048_556),
            ("proto-max-bulk-len", "1048576", 2 * MIB),
            ("maxmemory-clients", "1048576", 3 * MIB),
        ] {
            let (_server, store) = limited(setting, value, tells).await;
            is_run_once(store, size).await;
        }
    }
}

/// A server with this setting, and a store of a user who may ask for it, or may not.
async fn limited(setting: &str, value: &str, tells: bool) -> (RedisServer, RedisStore) {
    let server = RedisServer::builder()
        .arg(setting, value)
        .acl("discreet on >secret-7 ~* &* +@all -config")
        .start();
    let url = if tells {
        server.url()
    } else {
        server.url_for("discreet", "secret-7")
    };
    let store = RedisStore::connect(&url).await.expect("fit");
    (server, store)
}

#[tokio::test]
async fn a_record_of_exactly_what_the_server_takes_is_recorded_and_a_byte_more_is_not_sent() {
    let server = RedisServer::builder()
        .arg("proto-max-bulk-len", MIB)
        .start();
    let store = RedisStore::connect(&server.url()).await.expect("fit");
    let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
    let connections = clients(&server);
    let longest = MIB - header(&owned);
    let error = store
        .finish(&key("1"), &done(&owned, &vec![b'x'; longest + 1]))
        .await
        .expect_err("a byte too many");
    assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{error}");
    let target = done(&owned, &vec![b'x'; longest]);
    let settled = store.finish(&key("1"), &target).await;
    assert_eq!(settled.expect("finish"), Settled::Applied);
    let (record, _) = held(store.claim(&key("1"), &request(2)).await.expect("replay"));
    assert_eq!(record.outcome, target.outcome);
    // The issue's own: default options, a result below `max_result`.
    assert_eq!(is_refused_for_its_size(&store, &server, 1_048_556).await, 1);
    assert_eq!(
        is_refused_for_its_size_again(&store).await,
        StoreErrorKind::TooLarge
    );
    assert_eq!(clients(&server), connections, "the connection was kept");
}

/// The connections that are open, but for the one that asks.
fn clients(server: &RedisServer) -> Vec<String> {
    let list = server.cli(&["CLIENT", "LIST"]);
    let others = list.lines().filter(|line| !line.contains("cmd=client"));
    let id = |line: &str| line.split_whitespace().next().map(str::to_owned);
    others.filter_map(id).collect()
}

/// Also an operator's decision.
async fn is_refused_for_its_size_again(store: &RedisStore) -> StoreErrorKind {
    let seen = store.read(&key("1")).await.expect("read").expect("there").0;
    let replacement = done(&request(9).record(), &vec![b'x'; 2 * MIB]);
    let answer = store.overrule(&key("1"), Some(&seen), &replacement).await;
    answer.expect_err("too large").kind()
}

#[tokio::test]
async fn a_value_above_a_limit_that_the_server_tells_is_not_sent() {
    for (setting, value, size) in [
        ("proto-max-bulk-len", "1048576", 2 * MIB),
        ("client-query-buffer-limit", "1048576", 2 * MIB),
        ("maxmemory-clients", "1048576", MIB),
        ("client-output-buffer-limit", "normal 1048576 0 0", MIB),
    ] {
        let (server, store) = limited(setting, value, true).await;
        assert_eq!(
            is_refused_for_its_size(&store, &server, size).await,
            1,
            "{setting}"
        );
    }
}

#[tokio::test]
async fn a_value_above_a_limit_that_the_server_does_not_tell_costs_nobody_else_anything() {
    for (setting, value, size) in [
        ("proto-max-bulk-len", "1048576", 2 * MIB),
        ("proto-max-bulk-len", "1048576", 1_048_556),
        ("client-query-buffer-limit", "1048576", 3 * MIB),
        ("maxmemory-clients", "1048576", 3 * MIB),
    ] {
        let (server, store) = limited(setting, value, false).await;
        let tries = is_refused_for_its_size(&store, &server, size).await;
        assert!(tries <= 2, "{setting}: {tries}");
    }
}

/// The largest value that is sent gets in.
#[tokio::test]
async fn a_value_below_every_limit_is_recorded() {
    for (setting, value, size) in [
        ("client-query-buffer-limit", "1048576", 980_000),
        ("maxmemory-clients", "2097152", 980_000),
        (
            "client-output-buffer-limit",
            "normal 2097152 0 0",
            MIB - 200,
        ),
    ] {
        for tells in [true, false] {
            let (server, store) = limited(setting, value, tells).await;
            let result = vec![b'x'; size];
            first_call(&store, &key("1"), 1, &result).await;
            let (record, _) = held(store.claim(&key("1"), &request(2)).await.expect("replay"));
            assert_eq!(
                record.outcome,
                Some(RecordedBytes::Ok(Arc::from(result))),
                "{setting}"
            );
            assert_eq!(stat(&server, "evicted_clients"), 0, "{setting}");
        }
    }
}

#[tokio::test]
async fn a_clusters_narrowest_node_counts() {
    let cluster = RedisCluster::start();
    let narrow = cluster.node_of(&redis_key(&key("large")));
    cluster.nodes()[narrow].cli(&["CONFIG", "SET", "proto-max-bulk-len", "1048576"]);
    let store = RedisStore::cluster(cluster.urls()).expect("valid URLs");
    store.check().await.expect("fit");
    let tries = is_refused_for_its_size(&store, &cluster.nodes()[narrow], 2 * MIB).await;
    assert_eq!(tries, 1);
}

/// How often a server was asked for its limits.
fn questions(server: &RedisServer) -> u64 {
    let info = server.info("commandstats");
    let calls = info
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_config|get:calls="));
    calls.map_or(0, |calls| {
        let number = calls.split(',').next().expect("a number");
        number.parse().expect("a number")
    })
}

/// What our error advises has to help, without a new connection.
#[tokio::test]
async fn a_limit_that_was_raised_counts_at_once() {
    for (setting, value, raise, by, size) in [
        (
            "proto-max-bulk-len",
            "1048576",
            ["proto-max-bulk-len", "536870912"],
            "proto-max-bulk-len",
            2 * MIB,
        ),
        (
            "client-query-buffer-limit",
            "1048576",
            ["client-query-buffer-limit", "1073741824"],
            "client-query-buffer-limit",
            2 * MIB,
        ),
        (
            "client-output-buffer-limit",
            "normal 1048576 0 0",
            ["client-output-buffer-limit", "normal 0 0 0"],
            "client-output-buffer-limit",
            MIB,
        ),
        (
            "maxmemory-clients",
            "1048576",
            ["maxmemory-clients", "0"],
            "maxmemory-clients",
            MIB,
        ),
        (
            "maxmemory-clients",
            "1%",
            ["maxmemory", "10737418240"],
            "maxmemory-clients",
            MIB,
        ),
    ] {
        let server = RedisServer::builder()
            .arg("maxmemory", "104857600")
            .arg(setting, value)
            .start();
        let store = RedisStore::connect(&server.url()).await.expect("fit");
        let owned = granted(store.claim(&key("1"), &request(1)).await.expect("claim"));
        let target = done(&owned, &vec![b'x'; size]);
        let asked = questions(&server);
        let error = store.finish(&key("1"), &target).await.expect_err(setting);
        assert_eq!(error.kind(), StoreErrorKind::TooLarge, "{error}");
        for part in [by, "not sent", &target.encode().len().to_string()] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert_eq!(questions(&server), asked + 1, "{setting}");
        server.cli(&["CONFIG", "SET", raise[0], raise[1]]);
        let settled = store.finish(&key("1"), &target).await.expect(setting);
        assert_eq!(settled, Settled::Applied, "{setting}");
        // Once more for what it took; what fits is no reason to ask.
        assert_eq!(questions(&server), asked + 2, "{setting}");
        first_call(&store, &key("2"), 2, &vec![b'x'; size]).await;
        assert_eq!(questions(&server), asked + 2, "{setting}");
    }
}

#[tokio::test]
async fn a_node_whose_limit_was_raised_takes_what_it_refused() {
    let cluster = RedisCluster::start();
    let node = &cluster.nodes()[cluster.node_of(&redis_key(&key("large")))];
    node.cli(&["CONFIG", "SET", "proto-max-bulk-len", "1048576"]);
    let store = RedisStore::cluster(cluster.urls()).expect("valid URLs");
    store.check().await.expect("fit");
    let owned = granted(
        store
            .claim(&key("large"), &request(1))
            .await
            .expect("claim"),
    );
    let target = done(&owned, &vec![b'x'; 2 * MIB]);
    let error = store.finish(&key("large"), &target).await;
    assert_eq!(
        error.expect_err("too large").kind(),
        StoreErrorKind::TooLarge
    );
    node.cli(&["CONFIG", "SET", "proto-max-bulk-len", "536870912"]);
    let settled = store.finish(&key("large"), &target).await;
    assert_eq!(settled.expect("it is taken"), Settled::Applied);
}

/// Nobody is told that the store refused what it never got.
#[tokio::test]
async fn why_a_result_is_not_recorded_names_the_limit_and_its_size() {
    let (_server, store) = limited("proto-max-bulk-len", "1048576", true).await;
    let store = SharedStore::new(store).with_max_result(8 * MIB);
    let call = || {
        operation::<Result<String, Error>, _>("sizes", &[&1])
            .store(&store)
            .run(async { Ok("x".repeat(2 * MIB)) })
    };
    call().await.expect("its own result");
    let error = call().await.expect_err("not recorded");
    let Error::NotRecorded { reason, .. } = &error else {
        panic!("{error:?}")
    };
    for part in ["1048576", "2097", "proto-max-bulk-len", "not sent"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(!reason.contains("refused"), "{reason}");
}
