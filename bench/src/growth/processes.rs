//! The rate by the number of processes on one Redis. The processes are this program, started again.

use std::{io::stdin, process::Command, time::Duration};

use idempotent_fn::SharedStore;
use idempotent_test_support::{RedisServer, Worker};

use super::{
    Pace,
    load::{
        KINDS, Kind, Reading, calls, connected, fresh_from, options, prepare, runtime, watched,
    },
    series::{Panel, Series, measured, rounds},
};
use crate::cores::Apart;

/// Tells this program to be one of the processes.
pub const CHILD: &str = "--process";

const MOST: usize = 8;
const LINES: [(Kind, usize, &str); 4] = [
    (Kind::Replay, 1, "replay, 1 task each"),
    (Kind::First, 1, "first call, 1 task each"),
    (Kind::Replay, 32, "replay, 32 tasks each"),
    (Kind::First, 32, "first call, 32 tasks each"),
];

pub fn measure(pace: Pace) -> Series {
    let server = RedisServer::start();
    let _apart = Apart::from(&[&server]);
    let runtime = runtime();
    // All of them replay the same records.
    prepare(&runtime, connected(&runtime, &server), LINES[2].1);
    let program = std::env::current_exe().expect("this program");
    let start = |index: usize| {
        let mut command = Command::new(&program);
        Worker::spawn(command.args([CHILD, &server.url(), &index.to_string()]))
    };
    let mut workers: Vec<Worker> = (0..MOST).map(start).collect();
    for worker in &mut workers {
        worker.wait_for("ready");
    }
    let readings = rounds(pace.rounds, LINES.len(), MOST, |line, point| {
        let (kind, tasks, _) = LINES[line];
        let workers = &mut workers[..=point];
        watched(&[&server], || together(workers, kind, tasks, pace.window))
    });
    Series {
        id: "growth-processes",
        title: "Processes on one Redis, each with a connection of its own".to_owned(),
        along: "processes",
        points: (1..=MOST).map(|count| count.to_string()).collect(),
        lines: measured(&LINES.map(|(_, _, name)| name)),
        panels: Panel::on_redis(&readings),
    }
}

fn together(workers: &mut [Worker], kind: Kind, tasks: usize, window: Duration) -> Reading {
    let name = KINDS[kind as usize].1;
    for worker in &mut *workers {
        worker.send(&format!("{} {tasks} {name}", window.as_millis()));
    }
    let mut sum = Reading::default();
    for worker in workers {
        let did = worker.wait_for("did ");
        let did: Vec<f64> = did
            .split(' ')
            .map(|number| number.parse().expect("a number"))
            .collect();
        sum.calls += did[0] as u64;
        sum.wall = did[1].max(sum.wall);
        sum.client += did[2];
    }
    sum
}

/// Does what the lines on its standard input ask for, until there are no more.
pub fn child(url: &str, index: u64) {
    let runtime = runtime();
    let store = options().open(url).expect("a valid URL");
    runtime.block_on(store.check()).expect("a fit server");
    let store: &'static SharedStore = Box::leak(Box::new(store.into()));
    fresh_from((index + 1) * 1_000_000_000);
    println!("ready");
    for line in stdin().lines() {
        let line = line.expect("the pipe");
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().expect("three words");
        let window = Duration::from_millis(word().parse().expect("milliseconds"));
        let tasks = word().parse().expect("a count");
        let name = word();
        let (kind, _) = KINDS
            .into_iter()
            .find(|(_, known)| *known == name)
            .expect("a kind");
        let did = calls(&runtime, store, kind, tasks, window);
        println!("did {} {} {}", did.calls, did.wall, did.client);
    }
}
