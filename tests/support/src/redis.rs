//! One `redis-server`.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use crate::builder::{Builder, CONTROL_USER, Role, Transport};
use crate::port::Port;
use crate::process::{Process, log_tail, wait_until};
use crate::resp::Connection;
use crate::tls::Certificates;

// Commands whose statistics are kept by subcommand.
const CONTAINERS: [&str; 9] = [
    "acl", "client", "cluster", "config", "function", "latency", "memory", "pubsub", "script",
];

/// A real Redis server on loopback, in a temporary folder of its own, without persistence unless
/// asked for.
///
/// It is driven through a unix socket in that folder, so [`cli`](Self::cli) can only ever reach
/// this server, works with TLS and any password, and never competes for a port.
#[derive(Debug)]
pub struct RedisServer {
    // Dropped before the folder it writes to.
    process: Mutex<Option<Process>>,
    builder: Builder,
    port: Port,
    pub(crate) bus: Option<Port>,
    pub(crate) certificates: Option<Certificates>,
    own_commands: Mutex<BTreeMap<String, u64>>,
    folder: TempDir,
}

impl RedisServer {
    /// A server with nothing but defaults.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server that speaks TLS only.
    #[must_use]
    pub fn start_tls() -> Self {
        Self::builder().tls().start()
    }

    /// A server with options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `None` if the port is taken.
    pub(crate) fn try_start(builder: &Builder) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let tls = builder.transport == Transport::Tls;
        let server = Self {
            process: Mutex::new(None),
            port: Port::reserve(),
            bus: (builder.role == Role::ClusterNode).then(Port::reserve),
            certificates: tls.then(|| Certificates::make(folder.path())),
            builder: builder.clone(),
            own_commands: Mutex::default(),
            folder,
        };
        server.launch().then_some(server)
    }

    /// What a client connects to, with the default user's password if there is one.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.builder.password {
            Some(password) => self.url_for("", password),
            None => self.address(""),
        }
    }

    /// The URL for another user than the default one.
    #[must_use]
    pub fn url_for(&self, user: &str, password: &str) -> String {
        match self.builder.transport {
            Transport::Unix if user.is_empty() => self.address("") + "?pass=" + password,
            Transport::Unix => self.address("") + "?user=" + user + "&pass=" + password,
            _ => self.address(&format!("{user}:{password}@")),
        }
    }

    fn address(&self, login: &str) -> String {
        match self.builder.transport {
            Transport::Unix => format!("redis+unix://{}", self.socket().display()),
            Transport::Tls => format!("rediss://{login}127.0.0.1:{}", self.port()),
            Transport::Tcp => format!("redis://{login}127.0.0.1:{}", self.port()),
        }
    }

    /// The TCP port, the same after a [`restart`](Self::restart).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn bus_port(&self) -> u16 {
        self.bus.as_ref().expect("a cluster node").number()
    }

    /// The process id; panics while the server is down.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running(|process| process.id())
    }

    /// The certificates of a server started with [`Builder::tls`].
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        self.certificates
            .as_ref()
            .expect("the server was started with `tls()`")
    }

    /// The server's folder, which holds its socket, its log and its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The unix socket, which every server has.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder().join("redis.sock")
    }

    /// Sends one command with all rights; panics if it is answered by an error.
    #[allow(
        clippy::must_use_candidate,
        reason = "many commands are sent for what they do"
    )]
    pub fn cli(&self, words: &[&str]) -> String {
        self.try_cli(words)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Sends one command with all rights. Arrays come back one element a line, nothing as `(nil)`.
    pub fn try_cli(&self, words: &[&str]) -> Result<String, String> {
        self.noted(words, self.send(words))
    }

    fn noted(
        &self,
        words: &[&str],
        reply: io::Result<Result<String, String>>,
    ) -> Result<String, String> {
        let reply = reply.unwrap_or_else(|error| panic!("{words:?}: no answer: {error}"));
        if reply.is_ok() {
            self.note("auth".to_owned());
            self.note(statistic(words));
        }
        reply
    }

    /// What the server tells of itself. One that changes its role hangs up on whoever asks; it is
    /// asked again.
    #[must_use]
    pub fn info(&self, section: &str) -> String {
        let words = ["INFO", section];
        let mut reply = self.send(&words);
        for _ in 0..100 {
            if reply.is_ok() {
                break;
            }
            sleep(Duration::from_millis(20));
            reply = self.send(&words);
        }
        self.noted(&words, reply)
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn send(&self, words: &[&str]) -> io::Result<Result<String, String>> {
        let mut connection = Connection::open(&self.socket())?;
        match connection.command(&["AUTH", CONTROL_USER, "any"])? {
            Ok(_) => connection.command(words),
            Err(error) => Ok(Err(error)),
        }
    }

    /// How often each command was called since the start or the last reset, by everyone but
    /// [`cli`](Self::cli).
    ///
    /// What a script calls is counted beside the script, also for a script that `cli` sent.
    #[must_use]
    pub fn commandstats(&self) -> BTreeMap<String, u64> {
        let reply = self.cli(&["INFO", "commandstats"]);
        let mut own = lock(&self.own_commands).clone();
        // The server has not counted the command that it is answering.
        *own.entry("info".to_owned()).or_default() -= 1;
        let calls = reply.lines().filter_map(|line| {
            let (name, fields) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls: u64 = fields.split_once(',')?.0.parse().ok()?;
            let others = calls.saturating_sub(own.get(name).copied().unwrap_or(0));
            (others > 0).then(|| (name.to_owned(), others))
        });
        calls.collect()
    }

    /// Sets [`commandstats`](Self::commandstats) back to nothing.
    pub fn reset_commandstats(&self) {
        self.cli(&["CONFIG", "RESETSTAT"]);
        let mut own = lock(&self.own_commands);
        own.clear();
        // Counted once it has been carried out, so after the reset.
        own.insert("config|resetstat".to_owned(), 1);
    }

    fn note(&self, statistic: String) {
        *lock(&self.own_commands).entry(statistic).or_default() += 1;
    }

    /// Hangs up on every client but [`cli`](Self::cli), subscribers too.
    pub fn drop_clients(&self) {
        for kind in ["normal", "pubsub"] {
            self.cli(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
        }
    }

    /// Sends many commands on one connection; panics at the first that is answered by an error.
    pub(crate) fn cli_all(&self, commands: &[Vec<String>]) -> Vec<String> {
        let failed = |error: &dyn std::fmt::Display| -> ! { panic!("no answer: {error}") };
        let mut connection =
            Connection::open(&self.socket()).unwrap_or_else(|error| failed(&error));
        let login = vec!["AUTH".to_owned(), CONTROL_USER.to_owned(), "any".to_owned()];
        let mut replies = Vec::new();
        for command in std::iter::once(&login).chain(commands) {
            let words: Vec<_> = command.iter().map(String::as_str).collect();
            let reply = connection.command(&words);
            let reply = reply.unwrap_or_else(|error| failed(&error));
            replies.push(reply.unwrap_or_else(|error| panic!("{words:?}: {error}")));
            self.note(statistic(&words));
        }
        replies.split_off(1)
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.running(|process| process.pause());
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.running(|process| process.resume());
    }

    /// SIGKILL; returns once the process is gone.
    pub fn kill(&self) {
        *lock(&self.process) = None;
    }

    /// Whether the process is there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        lock(&self.process)
            .as_mut()
            .is_some_and(|process| process.exited().is_none())
    }

    /// Starts the server again, killed first if need be: same port and folder, so
    /// [`Builder::appendonly`] data is back.
    pub fn restart(&self) {
        self.kill();
        wait_until("the server is back on its port", || self.launch());
    }

    fn running<T>(&self, run: impl FnOnce(&mut Process) -> T) -> T {
        run(lock(&self.process).as_mut().expect("the server was killed"))
    }

    /// False if the port is taken.
    fn launch(&self) -> bool {
        let (config, log) = (
            self.folder().join("redis.conf"),
            self.folder().join("redis.log"),
        );
        fs::write(&config, self.builder.config(self)).expect("the folder is writable");
        let output = File::create(&log).expect("the folder is writable");
        let mut command = Command::new(server_program());
        command
            .arg(&config)
            .stdout(output.try_clone().expect("a file can be cloned"))
            .stderr(output);
        if self.builder.role == Role::Sentinel {
            command.arg("--sentinel");
        }
        let mut process = Process::spawn(&mut command, "redis-server");
        let mut answered = false;
        wait_until("redis-server answers", || {
            answered = self
                .send(&["PING"])
                .is_ok_and(|reply| reply.as_deref() == Ok("PONG"));
            answered || process.exited().is_some()
        });
        if answered {
            *lock(&self.process) = Some(process);
            if self.builder.role != Role::Sentinel {
                self.reset_commandstats();
            }
            return true;
        }
        let log = log_tail(&log);
        assert!(
            log.contains("Address already in use"),
            "redis-server did not start:\n{log}"
        );
        false
    }
}

// A test that panicked under the lock still has its server to end.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `redis-server` on the path, or whatever `REDIS_SERVER_BIN` names: another release, or
/// Valkey.
fn server_program() -> OsString {
    env::var_os("REDIS_SERVER_BIN").unwrap_or_else(|| "redis-server".into())
}

fn statistic(words: &[&str]) -> String {
    let name = words[0].to_lowercase();
    if CONTAINERS.contains(&name.as_str()) {
        format!("{name}|{}", words[1].to_lowercase())
    } else {
        name
    }
}
