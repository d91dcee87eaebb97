//! Child processes that do not outlive their test.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, test_kill_process, waitid,
};

// Far longer than anything here takes: it ends a test that hangs and measures nothing.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// Blocks until `condition` holds; panics with `what` after a minute.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "gave up waiting until {what}");
        std::thread::sleep(POLL);
    }
}

/// [`wait_until`] for async tests: between two looks, the other tasks run.
///
/// It waits by tokio's clock, so do not pause that clock while something outside of the runtime is
/// awaited.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "gave up waiting until {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a process with this id exists; one that ended but was not yet waited for still does.
#[must_use]
pub fn is_alive(id: u32) -> bool {
    test_kill_process(pid(id)).is_ok()
}

fn pid(id: u32) -> Pid {
    i32::try_from(id)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id is a positive i32")
}

/// A child that is killed and waited for when this is dropped, and killed too when the test process
/// itself is.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watchdog: Child,
}

impl Process {
    /// `package` is what to install if the program is missing.
    pub(crate) fn spawn(command: &mut Command, package: &str) -> Self {
        Self::spawn_ended_by(command, package, "kill -9 \"$0\"", None)
    }

    /// A child that must not be killed outright: if the test process is gone, the shell commands in `end` end it, and
    /// `folder` is removed. There, `$0` is its id.
    pub(crate) fn spawn_ended_by(
        command: &mut Command,
        package: &str,
        end: &str,
        folder: Option<&Path>,
    ) -> Self {
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => panic!(
                "`{}` was not found: install the package `{package}`, or run `scripts/test`, which does",
                command.get_program().to_string_lossy()
            ),
            Err(error) => panic!("cannot start {command:?}: {error}"),
        };
        let watchdog = watch(child.id(), end, folder);
        Self { child, watchdog }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("the child's status can be asked")
    }

    /// SIGKILL, and wait until the process is gone.
    pub(crate) fn kill(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited_for = self.child.wait();
    }

    /// A gentler signal than SIGKILL, and wait until the process is gone.
    pub(crate) fn end(&mut self, signal: Signal) {
        // A child that has been waited for has given its id away.
        if self.exited().is_none() {
            let _already_gone = kill_process(pid(self.id()), signal);
            let _already_waited_for = self.child.wait();
        }
    }

    /// SIGSTOP, and wait until every thread has stopped.
    pub(crate) fn pause(&self) {
        kill_process(pid(self.id()), Signal::STOP).expect("a running child takes signals");
        wait_until("the child has stopped", || self.is_paused());
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        kill_process(pid(self.id()), Signal::CONT).expect("a stopped child takes signals");
    }

    pub(crate) fn is_paused(&self) -> bool {
        // NOWAIT leaves the status for `Child::wait`.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid(self.id())), options).is_ok_and(|status| status.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog goes first: once the child has been waited for, its id may belong to another
        // process.
        let _already_gone = self.watchdog.kill();
        let _already_waited_for = self.watchdog.wait();
        self.kill();
    }
}

/// A shell that ends `id` when the pipe to the test process breaks: no destructor runs after a
/// SIGKILL, or of what is static.
fn watch(id: u32, end: &str, folder: Option<&Path>) -> Child {
    let mut script = format!("trap '' INT TERM; read _; {end}");
    if folder.is_some() {
        // It writes there until it has ended.
        script.push_str("; for _ in 1 2 3 4 5 6 7 8 9; do kill -0 \"$0\" || break; sleep 0.2; done; rm -rf \"$1\"");
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, &id.to_string()]).args(folder);
    shell
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a `sh`")
}

/// The end of a server's log, for panics.
pub(crate) fn log_tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
