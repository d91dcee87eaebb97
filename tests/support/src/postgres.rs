//! One `PostgreSQL` server.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::port::Port;
use crate::process::{Process, log_tail, wait_until};

const PACKAGE: &str = "postgresql";
const LOG: &str = "postgres.log";
// Who may run the server where the tests run as root, which PostgreSQL refuses to: the first that
// exists.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// A real `PostgreSQL` on loopback, in a temporary folder of its own.
#[derive(Debug)]
pub struct PostgresServer {
    // Dropped before the folder it writes to.
    process: Process,
    binaries: PathBuf,
    port: Port,
    settings: Vec<String>,
    folder: TempDir,
}

impl PostgresServer {
    /// Makes a database cluster, starts the server and waits until it takes connections.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with settings as `postgresql.conf` has them: `log_statement=all`.
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        let settings: Vec<_> = settings.iter().map(ToString::to_string).collect();
        (0..10)
            .find_map(|_| Self::try_start(&settings))
            .expect("ten ports in turn were taken by other programs")
    }

    /// `None` if the port is taken.
    fn try_start(settings: &[String]) -> Option<Self> {
        let (binaries, port) = (binaries(), Port::reserve());
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let user = geteuid().is_root().then(unprivileged);
        if let Some((uid, gid)) = &user {
            chown(folder.path(), Some(*uid), Some(*gid)).expect("root may give files away");
        }
        let mut initdb = command(&binaries.join("initdb"), user.as_ref());
        initdb
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(folder.path().join("data"));
        let made = initdb
            .output()
            .unwrap_or_else(|error| panic!("cannot run {initdb:?}: {error}"));
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let process = serve(&binaries, port.number(), settings, folder.path())?;
        Some(Self {
            process,
            binaries,
            port,
            settings: settings.to_vec(),
            folder,
        })
    }

    /// An immediate shutdown, as a crash: without a checkpoint, and without a word to transactions.
    pub fn kill(&mut self) {
        self.process.end(Signal::QUIT);
    }

    /// Starts the server again, on the same port and data, after [`kill`](Self::kill).
    pub fn restart(&mut self) {
        self.kill();
        let (port, folder) = (self.port.number(), self.folder.path());
        let process = serve(&self.binaries, port, &self.settings, folder);
        self.process = process.expect("the port is kept");
    }

    /// SIGSTOP to the server and all its processes: connections stay, and nobody answers.
    pub fn pause(&self) {
        self.process.pause();
        for child in self.children() {
            let _already_gone = kill_process(child, Signal::STOP);
        }
    }

    /// SIGCONT.
    pub fn resume(&self) {
        for child in self.children() {
            let _already_gone = kill_process(child, Signal::CONT);
        }
        self.process.resume();
    }

    fn children(&self) -> Vec<Pid> {
        let mut ps = Command::new("ps");
        let listed = ps.args(["-A", "-o", "pid=,ppid="]).output();
        let listed = listed.expect("there is a `ps`").stdout;
        let parent = self.id();
        let of_line = |line: &str| {
            let mut numbers = line.split_whitespace();
            let child = numbers.next()?.parse().ok()?;
            (numbers.next()?.parse() == Ok(parent)).then(|| Pid::from_raw(child))?
        };
        let listed = String::from_utf8_lossy(&listed);
        listed.lines().filter_map(of_line).collect()
    }

    /// The server's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Its folder for its unix socket, and what else belongs to it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a client connects to, as the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres",
            self.port.number()
        )
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Runs SQL through `psql`; rows come back one a line, columns parted by `|`. Panics on an
    /// error.
    #[allow(
        clippy::must_use_candidate,
        reason = "much SQL is run for what it does"
    )]
    pub fn sql(&self, sql: &str) -> String {
        let mut psql = Command::new(self.binaries.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &self.url(),
            "-c",
            sql,
        ]);
        let output = psql
            .output()
            .unwrap_or_else(|error| panic!("cannot run {psql:?}: {error}"));
        assert!(
            output.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // An immediate shutdown: after a SIGKILL its shared memory would stay behind.
        self.process.end(Signal::QUIT);
    }
}

/// Runs a server on what `initdb` has made, and waits until it takes connections; `None` if the port is taken.
fn serve(binaries: &Path, port: u16, settings: &[String], folder: &Path) -> Option<Process> {
    let (data, log) = (folder.join("data"), folder.join(LOG));
    let output = File::options().create(true).append(true).open(&log);
    let output = output.expect("the folder is writable");
    let user = geteuid().is_root().then(unprivileged);
    let mut postgres = command(&binaries.join("postgres"), user.as_ref());
    postgres
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(folder)
        .args(["-h", "127.0.0.1", "-p"]);
    // `-F`: what survives a crash of the machine is not tested here, and fsync is most of the
    // time.
    postgres.arg(port.to_string()).arg("-F");
    for setting in settings {
        postgres.args(["-c", setting]);
    }
    postgres
        .stdout(output.try_clone().expect("a file can be cloned"))
        .stderr(output);
    let end = "kill -QUIT \"$0\"";
    let _an_old_one = fs::remove_file(data.join("postmaster.pid"));
    let mut process = Process::spawn_ended_by(&mut postgres, PACKAGE, end, Some(folder));
    let mut ready = false;
    wait_until("PostgreSQL is ready", || {
        let status = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        ready = status
            .lines()
            .nth(7)
            .is_some_and(|line| line.trim() == "ready");
        ready || process.exited().is_some()
    });
    let text = log_tail(&log);
    assert!(
        ready || text.contains("Address already in use"),
        "PostgreSQL did not start:\n{text}"
    );
    ready.then_some(process)
}

/// Debian keeps them off the PATH, in a folder for each version.
fn binaries() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    let complete = |folder: &PathBuf| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|name| folder.join(name).exists())
    };
    folders.into_iter().find(complete).unwrap_or_else(|| {
        panic!("`initdb`, `postgres` and `psql` were not found: install the package `{PACKAGE}`")
    })
}

/// Its numbers: user and group.
type User = (u32, u32);

fn unprivileged() -> User {
    let passwd = fs::read_to_string("/etc/passwd").expect("there is a list of users");
    let find = |name: &str| {
        let line = passwd
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line
            .split(':')
            .skip(2)
            .map_while(|field| field.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    };
    USERS
        .into_iter()
        .find_map(find)
        .expect("there is a user `postgres` or `nobody`")
}

/// `program`, run by `user` where we are root; `setpriv` becomes the program, so the process id
/// stays.
fn command(program: &Path, user: Option<&User>) -> Command {
    let Some((uid, gid)) = user else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .args([
            &format!("--reuid={uid}"),
            &format!("--regid={gid}"),
            "--clear-groups",
            "--",
        ])
        .arg(program);
    command.current_dir("/");
    command
}
