//! Who runs on which core.

use std::{num::NonZero, thread::available_parallelism};

use idempotent_test_support::RedisServer;
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_setaffinity},
};

/// Keeps a process, or this thread and what it starts from now on, to these cores.
pub fn keep_to(cores: impl IntoIterator<Item = usize>, process: Option<u32>) -> bool {
    let process = process.and_then(|id| Pid::from_raw(id as i32));
    let mut set = CpuSet::new();
    cores.into_iter().for_each(|core| set.set(core));
    sched_setaffinity(process, &set).is_ok()
}

/// While it lives, the servers share core 1, and this thread and the processes it starts have the others.
pub struct Apart {
    cores: usize,
}

impl Apart {
    pub fn from(servers: &[&RedisServer]) -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let others = (0..cores).filter(|core| *core != 1);
        let pinned = cores > 1
            && keep_to(others, None)
            && servers
                .iter()
                .all(|server| keep_to(1..2, Some(server.id())));
        if !pinned {
            println!(
                "\nServer and client are not pinned to different cores: their shares are of all cores."
            );
        }
        Self { cores }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        keep_to(0..self.cores, None);
    }
}
