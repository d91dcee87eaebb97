//! Owners that die, or fall silent and come back.

use crate::common::{Site, answer, ask, counter, hold, start};
use idempotent_test_support::{RedisServer, Worker, is_alive};
use std::os::unix::process::ExitStatusExt;

/// Short for owners that vanish; a living one renews it every third of it.
const LEASE: [(&str, u64); 1] = [("LEASE", 600)];

/// SIGKILL, with proof.
fn kill(worker: &mut Worker) {
    worker.kill();
    assert!(!is_alive(worker.id()));
    assert_eq!(worker.wait().signal(), Some(9));
}

/// A process is killed in the body; returns the site, and the process that comes after it.
fn killed_in_the_body(server: &RedisServer, function: &str) -> (Site, u64, Worker) {
    let site = Site::on(server);
    let mut first = site.worker(&LEASE);
    let (attempt, token) = hold(&mut first, "first", function, "order");
    assert_eq!(attempt, 1);
    kill(&mut first);
    // It had its effect, and no end.
    assert_eq!(site.effects_of("order"), ["first"]);
    let second = site.worker(&LEASE);
    (site, token, second)
}

#[test]
fn a_killed_owner_is_succeeded_under_rerun() {
    let server = RedisServer::start();
    let (site, token, mut second) = killed_in_the_body(&server, "rerun");
    let (attempt, successor) = start(&mut second, "second", "rerun", "order", "now");
    assert_eq!(attempt, 2);
    assert!(successor > token);
    assert_eq!(answer(&mut second, "second"), "ok second");
    assert_eq!(counter(&mut second, "taken_over"), 1);
    assert_eq!(ask(&mut second, "third", "rerun", "order"), "ok second");
    assert_eq!(site.effects_of("order"), ["first", "second"]);
}

#[test]
fn a_killed_owner_leaves_a_doubt_under_fail() {
    let server = RedisServer::start();
    let (site, _, mut second) = killed_in_the_body(&server, "fail");
    for call in ["second", "third"] {
        assert_eq!(
            ask(&mut second, call, "fail", "order"),
            "error Indeterminate"
        );
    }
    assert_eq!(counter(&mut second, "taken_over"), 0);
    assert_eq!(site.effects_of("order"), ["first"]);
}

#[test]
fn a_killed_waiter_holds_nothing() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut owner = site.worker(&[]);
    hold(&mut owner, "owner", "rerun", "order");
    let mut waiter = site.worker(&[]);
    waiter.send("call waiter rerun order now");
    waiter.wait_for("pending waiter");
    kill(&mut waiter);
    owner.send("go");
    assert_eq!(answer(&mut owner, "owner"), "ok owner");
    assert_eq!(ask(&mut owner, "again", "rerun", "order"), "ok owner");
    assert_eq!(site.effects_of("order"), ["owner"]);
}

/// A process is stopped past its lease, another takes over and answers, and the first comes back.
fn stopped_past_its_lease(end: &str) {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut first = site.worker(&LEASE);
    let (_, token) = start(&mut first, "first", "rerun", "order", end);
    first.pause();
    assert!(first.is_paused());

    let mut second = site.worker(&LEASE);
    let (attempt, successor) = start(&mut second, "second", "rerun", "order", "now");
    assert_eq!(attempt, 2);
    assert!(successor > token);
    assert_eq!(answer(&mut second, "second"), "ok second");
    assert_eq!(counter(&mut second, "taken_over"), 1);
    assert!(first.is_paused());

    first.resume();
    first.send("go");
    // Its own result was refused; its caller gets its successor's.
    assert_eq!(answer(&mut first, "first"), "ok second");
    assert_eq!(counter(&mut first, "stale"), 1);
    assert_eq!(ask(&mut first, "third", "rerun", "order"), "ok second");
    assert_eq!(site.effects_of("order"), ["first", "second"]);
}

#[test]
fn a_stopped_owner_that_comes_back_has_its_complete_refused() {
    // Its thread is blocked in the body: once it runs again, the complete is the first thing it
    // sends.
    stopped_past_its_lease("block");
}

#[test]
fn a_stopped_owner_that_comes_back_to_its_heartbeat_has_its_body_stopped() {
    stopped_past_its_lease("hold");
}

#[test]
fn a_stopped_owner_that_comes_back_before_anybody_came_is_still_the_owner() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut first = site.worker(&LEASE);
    start(&mut first, "first", "fail", "order", "hold");
    first.pause();
    let mut second = site.worker(&LEASE);
    assert_eq!(
        ask(&mut second, "second", "fail", "order"),
        "error Indeterminate"
    );
    assert!(first.is_paused());
    // Taken for lost, and not resolved by anybody: its own finish settles the matter.
    first.resume();
    first.send("go");
    assert_eq!(answer(&mut first, "first"), "ok first");
    assert_eq!(counter(&mut first, "stale"), 0);
    assert_eq!(ask(&mut second, "third", "fail", "order"), "ok first");
    assert_eq!(site.effects_of("order"), ["first"]);
}
