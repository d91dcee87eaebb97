//! Other processes: this program again, with the one test that plays the child.

use std::{
    env,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{disk, killed, stress, two_processes};

const CASE: &str = "IDEMPOTENT_TEST_CASE";
/// The test harness writes to the same output.
const MARK: &str = "> ";
const FILE: &str = "IDEMPOTENT_TEST_FILE";

/// Does nothing but in a child process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(case) = env::var(CASE) else { return };
    let path = env::var(FILE).expect("a file");
    match &*case {
        "serve" => two_processes::serve(&path).await,
        "stress" => stress::work(&path).await,
        "fill" => disk::fill(&path).await,
        "first_calls" => killed::call_for_ever(&path).await,
        other => panic!("no such case: {other}"),
    }
}

/// A child that plays `case` on the file at `path`. Its output is read, and what it reads is
/// written, by the test.
pub(crate) fn start(case: &str, path: &Path) -> Child {
    let program = env::current_exe().expect("this program");
    start_by(&mut Command::new(program), case, path)
}

/// The same, by a shell that says `first`.
pub(crate) fn start_after(first: &str, case: &str, path: &Path) -> Child {
    let mut shell = Command::new("sh");
    let script = format!("{first}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script]);
    shell.arg(env::current_exe().expect("this program"));
    start_by(&mut shell, case, path)
}

fn start_by(command: &mut Command, case: &str, path: &Path) -> Child {
    let child = command
        .args(["--exact", "child::child", "--nocapture"])
        .env(CASE, case)
        .env(FILE, path)
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
