//! Processes with other options, while an owner runs.

use crate::common::{Site, answer, ask, counter, hold};
use idempotent_test_support::RedisServer;

#[test]
fn a_deploy_with_other_options_takes_nothing_over() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut old = site.worker(&[]);
    hold(&mut old, "old", "rerun", "order");

    // Everything shorter than what the owner was promised.
    let new = [("LEASE", 1), ("TTL", 1), ("WAIT", 100)];
    for (call, function) in [("new-rerun", "rerun"), ("new-fail", "fail")] {
        // A process of its own for each: a process that had both functions would be refused.
        let mut new = site.worker(&new);
        for round in 0..3 {
            let call = format!("{call}-{round}");
            assert_eq!(ask(&mut new, &call, function, "order"), "error InFlight");
        }
        assert_eq!(counter(&mut new, "taken_over"), 0);
    }

    old.send("go");
    assert_eq!(answer(&mut old, "old"), "ok old");
    assert_eq!(counter(&mut old, "stale"), 0);
    let mut new = site.worker(&new);
    assert_eq!(ask(&mut new, "later", "fail", "order"), "ok old");
    assert_eq!(site.effects_of("order"), ["old"]);
}

#[test]
fn a_crash_is_judged_by_the_options_the_owner_had() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut old = site.worker(&[("LEASE", 300)]);
    hold(&mut old, "old", "fail", "order");
    old.kill();
    // The new version would run it again, and believes in an hour's silence.
    let mut new = site.worker(&[("LEASE", 3_600_000)]);
    assert_eq!(
        ask(&mut new, "new", "rerun", "order"),
        "error Indeterminate"
    );
    assert_eq!(site.effects_of("order"), ["old"]);
}

#[test]
fn a_ttl_shorter_than_the_lease_loses_no_running_owner() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut owner = site.worker(&[("TTL", 1), ("LEASE", 60_000)]);
    let mut other = site.worker(&[("TTL", 1), ("WAIT", 50)]);
    hold(&mut owner, "owner", "rerun", "order");
    for round in 0..5 {
        let call = format!("other-{round}");
        assert_eq!(ask(&mut other, &call, "rerun", "order"), "error InFlight");
    }
    owner.send("go");
    assert_eq!(answer(&mut owner, "owner"), "ok owner");
    assert_eq!(site.effects_of("order"), ["owner"]);
}
