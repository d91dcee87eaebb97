//! Assigns threads to cores, and keeps the cores from sleeping.

use std::{
    env,
    num::NonZero,
    process::{Child, Command},
    thread::available_parallelism,
};

use idempotent_test_support::RedisServer;
use rustix::{
    process::{Pid, getppid},
    thread::{CpuSet, sched_setaffinity},
};

/// Keeps a process, or this thread and what it starts from now on, to these cores.
pub fn keep_to(cores: impl IntoIterator<Item = usize>, process: Option<u32>) -> bool {
    let process = process.and_then(|id| Pid::from_raw(id as i32));
    let mut set = CpuSet::new();
    cores.into_iter().for_each(|core| set.set(core));
    sched_setaffinity(process, &set).is_ok()
}

/// While it lives, the servers share core 1, and this thread and the processes it starts have the
/// others.
pub struct Apart {
    cores: usize,
    pub pinned: bool,
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
        Self { cores, pinned }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        keep_to(0..self.cores, None);
    }
}

/// How this program is started to keep a core from idling.
pub const SPIN: &str = "spin";

/// While it lives, no core of the two idles: a core that sleeps takes as long to wake as an answer
/// to come. Whoever has work takes precedence at once, for what spins has the policy for idle
/// times.
pub struct Awake(Vec<Child>);

impl Awake {
    /// None where there is no `chrt` (Debian: util-linux).
    pub fn keep() -> Option<Self> {
        let program = env::current_exe().ok()?;
        let mut awake = Self(Vec::new());
        for core in ["0", "1"] {
            let mut spin = Command::new("chrt");
            spin.args(["--idle", "0"]).arg(&program).args([SPIN, core]);
            awake.0.push(spin.spawn().ok()?);
        }
        Some(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that is gone already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Spins until whoever started this is gone.
pub fn spin(core: usize) {
    keep_to([core], None);
    let parent = getppid();
    while getppid() == parent {
        for _ in 0..1_000_000 {
            std::hint::spin_loop();
        }
    }
}
