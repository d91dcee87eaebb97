//! What is sent to Redis, counted by Redis.

use std::{collections::BTreeMap, time::Instant};

use crate::common::{Site, answer, ask, hold};
use idempotent_test_support::{RedisServer, Worker, wait_until};

/// Redis counts what a script calls beside the script. `finish.lua` calls these, each once.
const FINISH: [(&str, u64); 4] = [("evalsha", 1), ("get", 1), ("publish", 1), ("set", 1)];

/// What was carried out since the last reset. A script asks for the time too where the client
/// learned it seconds ago, so that is not counted.
fn carried_out(server: &RedisServer) -> BTreeMap<String, u64> {
    let mut counts = server.commandstats();
    counts.remove("time");
    counts
}

fn counted<'a>(expected: impl IntoIterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (name, count) in expected {
        *counts.entry(name.to_owned()).or_default() += count;
    }
    counts
}

/// A worker that has connected, has learned the time and has loaded its scripts.
fn warm(site: &Site, server: &RedisServer, call: &str) -> Worker {
    let mut worker = site.worker(&[]);
    ask(&mut worker, call, "rerun", call);
    server.reset_commandstats();
    worker
}

#[test]
fn a_first_call_sends_two_commands_and_a_replay_one() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut worker = warm(&site, &server, "warm");
    let mut other = warm(&site, &server, "warm-too");

    ask(&mut worker, "first", "rerun", "order");
    // `SET NX GET`, and the finish.
    assert_eq!(
        carried_out(&server),
        counted(FINISH.into_iter().chain([("set", 1)]))
    );

    server.reset_commandstats();
    assert_eq!(ask(&mut worker, "again", "rerun", "order"), "ok first");
    assert_eq!(carried_out(&server), counted([("set", 1)]));

    server.reset_commandstats();
    assert_eq!(ask(&mut other, "elsewhere", "rerun", "order"), "ok first");
    assert_eq!(carried_out(&server), counted([("set", 1)]));
}

#[test]
fn duplicates_in_one_process_send_nothing() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut worker = warm(&site, &server, "warm");
    hold(&mut worker, "owner", "rerun", "order");
    server.reset_commandstats();
    for number in 0..20 {
        worker.send(&format!("call duplicate-{number} rerun order now"));
        worker.wait_for(&format!("pending duplicate-{number}"));
    }
    worker.send("go");
    let mut answered = 0;
    while answered < 21 {
        assert!(worker.wait_for("answer ").ends_with(" ok owner"));
        answered += 1;
    }
    // The owner's own finish is all.
    assert_eq!(carried_out(&server), counted(FINISH));
}

#[test]
fn a_waiter_in_another_process_is_woken_and_does_not_poll() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut owner = warm(&site, &server, "warm");
    let mut waiter = warm(&site, &server, "warm-too");
    hold(&mut owner, "owner", "rerun", "order");
    server.reset_commandstats();

    let channel = "idempotent:processes.charge|order";
    waiter.send("call waiter rerun order now");
    wait_until("the waiter listens", || {
        server.cli(&["PUBSUB", "NUMSUB", channel]) == format!("{channel}\n1")
    });
    // It claims before and after it subscribes, and when its first connection to listen on was
    // made; each time it asks what the lease has left.
    let asked = |server: &RedisServer| server.commandstats().get("evalsha").copied().unwrap_or(0);
    wait_until("the waiter has asked again", || asked(&server) >= 2);
    let since = Instant::now();
    std::thread::sleep(std::time::Duration::from_secs(1));
    // Should a message be lost, it looks every five seconds; polling would have asked several times
    // by now.
    let looks = since.elapsed().as_secs() / 5;
    assert!(asked(&server) <= 3 + looks, "{:?}", server.commandstats());

    owner.send("go");
    assert_eq!(answer(&mut waiter, "waiter"), "ok owner");
    assert_eq!(answer(&mut owner, "owner"), "ok owner");
    let looks = since.elapsed().as_secs() / 5;
    let total = server.commandstats();
    // Those claims, the one that is answered, and the owner's finish.
    assert!(total["evalsha"] <= 4 + looks, "{total:?}");
    assert!(total["set"] <= 5 + looks, "{total:?}");
    assert_eq!(total["publish"], 1);
}

/// What the waiter sends from the owner's completion to its own answer.
#[test]
fn a_waiter_in_another_process_is_answered_within_three_commands() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut owner = warm(&site, &server, "warm");
    let mut waiter = warm(&site, &server, "warm-too");
    hold(&mut owner, "owner", "rerun", "order");
    let channel = "idempotent:processes.charge|order";
    waiter.send("call waiter rerun order now");
    wait_until("the waiter listens", || {
        server.cli(&["PUBSUB", "NUMSUB", channel]) == format!("{channel}\n1")
    });
    // It has asked for the last time before it sleeps.
    let mut seen = BTreeMap::new();
    wait_until("the waiter sleeps", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let before = std::mem::replace(&mut seen, server.commandstats());
        before == seen
    });

    server.reset_commandstats();
    let since = Instant::now();
    owner.send("go");
    assert_eq!(answer(&mut waiter, "waiter"), "ok owner");
    assert_eq!(answer(&mut owner, "owner"), "ok owner");
    let mut total = carried_out(&server);
    let looks = since.elapsed().as_secs() / 5;
    // That it listens no longer comes after its answer.
    total.remove("unsubscribe");
    let sent: u64 = total.values().sum();
    let finish: u64 = FINISH.iter().map(|(_, count)| count).sum();
    let waiters = sent - finish;
    assert!(
        (1..=3 + 2 * looks).contains(&waiters),
        "{waiters}: {total:?}"
    );
}
