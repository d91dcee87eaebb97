//! The rate by the number of tasks on one connection.

use super::{
    Pace,
    load::{KINDS, calls, connected, prepare, runtime, watched},
    series::{Panel, Series, measured, rounds},
};
use crate::{cores::Apart, report::thousands};
use idempotent_test_support::RedisServer;

const TASKS: [usize; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

pub fn measure(pace: Pace) -> Series {
    let server = RedisServer::start();
    let _apart = Apart::from(&[&server]);
    let runtime = runtime();
    let store = connected(&runtime, &server);
    prepare(&runtime, store, TASKS[TASKS.len() - 1]);
    let readings = rounds(pace.rounds, KINDS.len(), TASKS.len(), |line, point| {
        watched(&[&server], || {
            calls(&runtime, store, KINDS[line].0, TASKS[point], pace.window)
        })
    });
    Series {
        id: "growth-tasks",
        title: "Tasks on one connection to Redis".to_owned(),
        along: "tasks",
        points: TASKS.map(|tasks| thousands(tasks as u64)).to_vec(),
        lines: measured(&KINDS.map(|(_, name)| name)),
        panels: Panel::on_redis(&readings),
    }
}
