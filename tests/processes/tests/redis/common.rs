//! A server, worker processes that use it, and the effects of their bodies.

use std::{collections::BTreeMap, fs, process::Command};

use idempotent_test_support::{RedisServer, Worker};
use tempfile::TempDir;

/// One test's processes, and where their effects are counted: in a file outside of the store.
pub(crate) struct Site {
    place: Vec<String>,
    folder: TempDir,
}

impl Site {
    pub(crate) fn on(server: &RedisServer) -> Self {
        Self::at(["one".to_owned(), server.url()])
    }

    pub(crate) fn at(place: impl IntoIterator<Item = String>) -> Self {
        Self {
            place: place.into_iter().collect(),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
        }
    }

    /// A process that makes the calls it is asked for, deployed with these settings in
    /// milliseconds.
    pub(crate) fn worker(&self, settings: &[(&str, u64)]) -> Worker {
        self.start("calls", settings)
    }

    /// A process that serves HTTP, deployed with these settings.
    pub(crate) fn server(&self, settings: &[(&str, u64)]) -> Worker {
        self.start("serve", settings)
    }

    fn start(&self, job: &str, settings: &[(&str, u64)]) -> Worker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command
            .arg(job)
            .args(&self.place)
            .env("EFFECTS", self.folder.path().join("effects"))
            .envs(
                settings
                    .iter()
                    .map(|(name, value)| (name, value.to_string())),
            );
        let mut worker = Worker::spawn(&mut command);
        worker.wait_for("ready");
        worker
    }

    /// The calls whose bodies had their effect, by key.
    pub(crate) fn effects(&self) -> BTreeMap<String, Vec<String>> {
        let text = fs::read_to_string(self.folder.path().join("effects")).unwrap_or_default();
        let mut effects = BTreeMap::<_, Vec<_>>::new();
        for line in text.lines() {
            let (key, call) = line.split_once(' ').expect("a key and a call");
            effects
                .entry(key.to_owned())
                .or_default()
                .push(call.to_owned());
        }
        effects
    }

    pub(crate) fn effects_of(&self, key: &str) -> Vec<String> {
        self.effects().remove(key).unwrap_or_default()
    }
}

/// The answer of the one call that is under way.
pub(crate) fn answer(worker: &mut Worker, call: &str) -> String {
    worker.wait_for(&format!("answer {call} "))
}

/// Calls and waits for the answer.
pub(crate) fn ask(worker: &mut Worker, call: &str, function: &str, key: &str) -> String {
    worker.send(&format!("call {call} {function} {key} now"));
    answer(worker, call)
}

/// Calls with a body that is held, and waits until it runs. Returns the attempt and its token.
pub(crate) fn hold(worker: &mut Worker, call: &str, function: &str, key: &str) -> (u32, u64) {
    start(worker, call, function, key, "hold")
}

pub(crate) fn start(
    worker: &mut Worker,
    call: &str,
    function: &str,
    key: &str,
    end: &str,
) -> (u32, u64) {
    worker.send(&format!("call {call} {function} {key} {end}"));
    grant(&worker.wait_for(&format!("started {call} ")))
}

fn grant(text: &str) -> (u32, u64) {
    let (attempt, token) = text.split_once(' ').expect("attempt and token");
    let number = |text: &str, name: &str| text.strip_prefix(name).expect("its name").to_owned();
    let attempt = number(attempt, "attempt=").parse().expect("a number");
    let token = number(token, "token=").parse().expect("a number");
    (attempt, token)
}

/// One of the worker's counters.
pub(crate) fn counter(worker: &mut Worker, name: &str) -> u64 {
    worker.send("counters");
    let counters = worker.wait_for("counters ");
    let value = counters
        .split(' ')
        .find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.expect("a counter").parse().expect("a number")
}
