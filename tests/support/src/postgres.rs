//! One `PostgreSQL` server.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::port::Port;
use crate::process::{Process, log_tail, wait_until};

const PACKAGE: &str = "postgresql";
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
    _folder: TempDir,
}

impl PostgresServer {
    /// Makes a database cluster, starts the server and waits until it takes connections.
    #[must_use]
    pub fn start() -> Self {
        (0..10)
            .find_map(|_| Self::try_start())
            .expect("ten ports in turn were taken by other programs")
    }

    /// `None` if the port is taken.
    fn try_start() -> Option<Self> {
        let (binaries, port) = (binaries(), Port::reserve());
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let user = geteuid().is_root().then(unprivileged);
        if let Some((uid, gid)) = &user {
            chown(folder.path(), Some(*uid), Some(*gid)).expect("root may give files away");
        }
        let data = folder.path().join("data");
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
            .arg(&data);
        let made = initdb
            .output()
            .unwrap_or_else(|error| panic!("cannot run {initdb:?}: {error}"));
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );

        let log = folder.path().join("postgres.log");
        let output = File::create(&log).expect("the folder is writable");
        let mut postgres = command(&binaries.join("postgres"), user.as_ref());
        postgres
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-h", "127.0.0.1", "-p"]);
        // `-F`: what survives a crash of the machine is not tested here, and fsync is most of the
        // time.
        postgres.arg(port.number().to_string()).arg("-F");
        postgres
            .stdout(output.try_clone().expect("a file can be cloned"))
            .stderr(output);
        let mut process = Process::spawn(&mut postgres, PACKAGE);
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
        ready.then_some(Self {
            process,
            binaries,
            port,
            _folder: folder,
        })
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
