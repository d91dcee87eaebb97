//! One `PgBouncer` before a `PostgreSQL`.

use std::fs::{self, File};
use std::os::unix::fs::chown;

use rustix::process::geteuid;
use tempfile::TempDir;

use crate::port::Port;
use crate::postgres::{PostgresServer, command, unprivileged};
use crate::process::{Process, log_tail, wait_until};

const PACKAGE: &str = "pgbouncer";

/// A real `PgBouncer` on loopback that lends a session for one transaction, and has two sessions of
/// each database.
#[derive(Debug)]
pub struct PgBouncer {
    process: Process,
    port: Port,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts it before `server`, with more settings as its `[pgbouncer]` section has them, and
    /// waits until it takes connections.
    #[must_use]
    pub fn start(server: &PostgresServer, settings: &[&str]) -> Self {
        (0..10)
            .find_map(|_| Self::try_start(server, settings))
            .expect("ten ports in turn were taken by other programs")
    }

    /// `None` if the port is taken.
    fn try_start(server: &PostgresServer, settings: &[&str]) -> Option<Self> {
        let port = Port::reserve();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let user = geteuid().is_root().then(unprivileged);
        let config = folder.path().join("pgbouncer.ini");
        let users = folder.path().join("users.txt");
        let log = folder.path().join("pgbouncer.log");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\ndefault_pool_size = 2\n\
             max_client_conn = 1000\n{}\n",
            server.port(),
            port.number(),
            users.display(),
            settings.join("\n")
        );
        fs::write(&config, text).expect("the folder is writable");
        fs::write(&users, "\"postgres\" \"\"\n").expect("the folder is writable");
        let output = File::create(&log).expect("the folder is writable");
        if let Some((uid, gid)) = user {
            for path in [folder.path(), &config, &users] {
                chown(path, Some(uid), Some(gid)).expect("root may give files away");
            }
        }
        let mut pgbouncer = command("pgbouncer".as_ref(), user.as_ref());
        pgbouncer
            .arg(&config)
            .stdout(output.try_clone().expect("a file can be cloned"))
            .stderr(output);
        let mut process = Process::spawn(&mut pgbouncer, PACKAGE);
        let mut text = String::new();
        wait_until("PgBouncer is ready", || {
            text = log_tail(&log);
            text.contains("process up") || process.exited().is_some()
        });
        let is_up = text.contains("process up");
        assert!(
            is_up || text.contains("in use") || text.contains("cannot listen"),
            "PgBouncer did not start:\n{text}"
        );
        is_up.then_some(Self {
            process,
            port,
            _folder: folder,
        })
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
}
