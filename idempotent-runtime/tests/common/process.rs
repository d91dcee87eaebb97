//! Other processes: this program again, with the one test that plays the child.

use std::{
    env,
    ffi::OsStr,
    io::Write,
    process::{Child, Command, Stdio},
};

const CASE: &str = "IDEMPOTENT_TEST_CASE";
/// The test harness writes to the same output.
const MARK: &str = "> ";
const PLACE: &str = "IDEMPOTENT_TEST_PLACE";

/// In a child: what it is to play, and where.
pub(crate) fn part() -> Option<(String, String)> {
    let case = env::var(CASE).ok()?;
    Some((case, env::var(PLACE).expect("a place")))
}

/// A child that plays `case` at `place`, by the test `child::child`. Its output is read, and what it reads is written, by the test.
pub(crate) fn start(case: &str, place: impl AsRef<OsStr>) -> Child {
    let program = env::current_exe().expect("this program");
    start_by(&mut Command::new(program), case, place)
}

/// The same, by a command that becomes this program.
pub(crate) fn start_by(command: &mut Command, case: &str, place: impl AsRef<OsStr>) -> Child {
    let child = command
        .args(["--exact", "child::child", "--nocapture"])
        .env(CASE, case)
        .env(PLACE, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    child.expect("a process")
}

/// Says a line, in one write, so that it is there before the next command is sent.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = out.write_all(format!("\n{MARK}{line}\n").as_bytes());
    // Nobody may be there to read it.
    let _ = said.and_then(|()| out.flush());
}

/// What stands behind the mark in a line of a child's output.
pub(crate) fn said(line: &str) -> Option<&str> {
    Some(line.trim_end().split_once(MARK)?.1)
}
