//! A server that goes away and comes back.

use crate::common::{Site, answer, ask, counter, hold};
use idempotent_test_support::RedisServer;

#[test]
fn after_a_restart_everything_is_known_and_calls_go_on() {
    let server = RedisServer::builder().appendonly().start();
    let site = Site::on(&server);
    let mut worker = site.worker(&[]);
    assert_eq!(ask(&mut worker, "before", "rerun", "one"), "ok before");

    server.kill();
    assert!(!server.is_running());
    assert_eq!(
        ask(&mut worker, "during", "rerun", "two"),
        "error Unavailable"
    );
    assert_eq!(
        ask(&mut worker, "replay", "rerun", "one"),
        "error Unavailable"
    );

    server.restart();
    assert_eq!(ask(&mut worker, "after", "rerun", "two"), "ok after");
    assert_eq!(ask(&mut worker, "known", "rerun", "one"), "ok before");
    assert_eq!(site.effects_of("one"), ["before"]);
    assert_eq!(site.effects_of("two"), ["after"]);
}

#[test]
fn a_result_made_during_an_outage_is_recorded_after_it() {
    for function in ["rerun", "fail"] {
        let server = RedisServer::builder().appendonly().start();
        let site = Site::on(&server);
        let mut owner = site.worker(&[]);
        hold(&mut owner, "owner", function, "order");
        server.kill();
        owner.send("go");
        // The caller has its value at once; that nobody else knows of it yet is counted.
        assert_eq!(answer(&mut owner, "owner"), "ok owner");
        assert_eq!(counter(&mut owner, "unrecorded"), 1);

        server.restart();
        let mut other = site.worker(&[]);
        assert_eq!(ask(&mut other, "other", function, "order"), "ok owner");
        assert_eq!(counter(&mut other, "taken_over"), 0);
        assert_eq!(site.effects_of("order"), ["owner"]);
    }
}

#[test]
fn a_waiter_is_answered_although_the_server_restarted_under_it() {
    let server = RedisServer::builder().appendonly().start();
    let site = Site::on(&server);
    let (mut owner, mut waiter) = (site.worker(&[]), site.worker(&[]));
    hold(&mut owner, "owner", "rerun", "order");
    waiter.send("call waiter rerun order now");
    let channel = "idempotent:processes.charge|order";
    idempotent_test_support::wait_until("the waiter listens", || {
        server.cli(&["PUBSUB", "NUMSUB", channel]) == format!("{channel}\n1")
    });
    let before = server.id();
    server.restart();
    assert_ne!(server.id(), before);
    owner.send("go");
    assert_eq!(answer(&mut owner, "owner"), "ok owner");
    let mut answered = answer(&mut waiter, "waiter");
    if answered == "error Unavailable" {
        // It asked again while nobody listened, and says so rather than wait for a server that may
        // never come back.
        answered = ask(&mut waiter, "retry", "rerun", "order");
    }
    assert_eq!(answered, "ok owner");
    assert_eq!(site.effects_of("order"), ["owner"]);
}
