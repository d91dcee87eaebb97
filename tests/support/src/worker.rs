//! A second process that a test kills or stops in the middle of its work.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::process::{Process, wait_until};

// It ends a test that hangs and measures nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child process that a test talks to by lines. Dropping it kills it.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    lines: Receiver<String>,
}

impl Worker {
    /// Starts `command`, with its standard input and output taken over.
    #[must_use]
    pub fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command, "that has it");
        let output = process.child().stdout.take().expect("the output is a pipe");
        let (sender, lines) = channel();
        // Ends with the pipe, so with the process.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the next line; `None` once the output has ended.
    #[must_use]
    pub fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the worker has said nothing for a minute"),
        }
    }

    /// The next line, if it comes within `patience`.
    pub fn line_within(&mut self, patience: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(patience)
    }

    /// Waits for a line that starts with `prefix`, passing over others, and returns what follows
    /// the prefix.
    #[allow(
        clippy::must_use_candidate,
        reason = "that the line came is often all a test wants"
    )]
    pub fn wait_for(&mut self, prefix: &str) -> String {
        loop {
            let line = self
                .line()
                .unwrap_or_else(|| panic!("the worker ended before it said `{prefix}`"));
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.trim_start().to_owned();
            }
        }
    }

    /// Writes a line to the worker's standard input.
    pub fn send(&mut self, line: &str) {
        let input = self
            .process
            .child()
            .stdin
            .as_mut()
            .expect("the input is a pipe");
        writeln!(input, "{line}").expect("the worker reads");
    }

    /// SIGKILL; returns once the process is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP; returns once the process has stopped.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Whether the process is stopped now.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.process.is_paused()
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Waits until the worker ends by itself, or has been killed.
    #[allow(
        clippy::must_use_candidate,
        reason = "that it ended is often all a test wants"
    )]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the worker ends", || {
            status = self.process.exited();
            status.is_some()
        });
        status.expect("waited for")
    }
}
