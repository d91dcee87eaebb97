//! Two processes that call the same keys.

use std::collections::HashMap;

use crate::common::{Site, hold};
use idempotent_test_support::{RedisServer, Worker};

const KEYS: usize = 1_000;

/// Reads until every call has its answer; by key.
fn answers(worker: &mut Worker) -> HashMap<usize, String> {
    let mut answers = HashMap::new();
    while answers.len() < KEYS {
        let line = worker.wait_for("answer ");
        let (call, result) = line.split_once(" ok ").expect("every call is answered");
        let (_, key) = call.split_once('-').expect("the call names its key");
        answers.insert(key.parse().expect("a number"), result.to_owned());
    }
    answers
}

#[test]
fn two_processes_race_for_a_thousand_keys() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let (mut up, mut down) = (site.worker(&[]), site.worker(&[]));
    // Each holds the key that the other reaches last: both run bodies, and both wait for the other.
    hold(&mut up, "up-0", "rerun", "key-0");
    hold(
        &mut down,
        &format!("down-{}", KEYS - 1),
        "rerun",
        &format!("key-{}", KEYS - 1),
    );
    for step in 1..KEYS {
        up.send(&format!("call up-{step} rerun key-{step} 1"));
        let step = KEYS - 1 - step;
        down.send(&format!("call down-{step} rerun key-{step} 1"));
    }
    up.send("go");
    down.send("go");

    let (ups, downs) = (answers(&mut up), answers(&mut down));
    assert_eq!(ups, downs, "all results agree");
    let effects = site.effects();
    assert_eq!(effects.len(), KEYS);
    for (key, runs) in effects {
        let number: usize = key["key-".len()..].parse().expect("a number");
        assert_eq!(
            runs,
            [ups[&number].clone()],
            "{key} ran once, and that run is the answer"
        );
    }
    assert_eq!(ups[&0], "up-0");
    assert_eq!(downs[&(KEYS - 1)], format!("down-{}", KEYS - 1));
}
