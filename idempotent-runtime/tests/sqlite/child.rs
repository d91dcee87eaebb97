//! The test that plays the child.

use std::{
    env,
    path::Path,
    process::{Child, Command},
};

use crate::{disk, files, killed, process, stress, two_processes};

pub(crate) use process::{said, say, start};

/// Does nothing but in a child process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some((case, path)) = process::part() else {
        return;
    };
    match &*case {
        "serve" => two_processes::serve(&path).await,
        "stress" => stress::work(&path).await,
        "hold" => files::hold(&path).await,
        "fill" => disk::fill(&path).await,
        "first_calls" => killed::call_for_ever(&path).await,
        other => panic!("no such case: {other}"),
    }
}

/// A child that a shell becomes, once it has said `first`.
pub(crate) fn start_after(first: &str, case: &str, path: &Path) -> Child {
    let mut shell = Command::new("sh");
    let script = format!("{first}; exec \"$0\" \"$@\"");
    shell.args(["-c", &script]);
    shell.arg(env::current_exe().expect("this program"));
    process::start_by(&mut shell, case, path)
}
