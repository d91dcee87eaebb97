//! The test that plays the child.

use crate::{from_env, process, stress, two_processes};

/// Does nothing but in a child process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some((case, place)) = process::part() else {
        return;
    };
    match &*case {
        "serve" => two_processes::serve(&place).await,
        "stress" => stress::work(&place).await,
        "from_env" => from_env::call().await,
        other => panic!("no such case: {other}"),
    }
}
