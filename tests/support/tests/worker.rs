//! Child processes: input and output, stopped, killed, and never left behind.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;
use std::process::Command;

use idempotent_test_support::{Worker, eventually, is_alive, wait_until};

fn helper(job: &str) -> Worker {
    Worker::spawn(Command::new(env!("CARGO_BIN_EXE_helper")).arg(job))
}

#[test]
fn lines_go_both_ways() {
    let mut worker = helper("echo");
    assert_eq!(worker.line().as_deref(), Some("ready"));
    worker.send("one");
    worker.send("two");
    assert_eq!(worker.wait_for("echo t"), "wo");
}

#[test]
fn a_killed_worker_is_gone_and_its_output_ends() {
    let mut worker = helper("echo");
    worker.wait_for("ready");
    worker.kill();
    assert!(!is_alive(worker.id()));
    assert_eq!(worker.wait().signal(), Some(9));
    assert_eq!(worker.line(), None);
}

#[test]
fn a_paused_worker_does_nothing_until_resumed() {
    let mut worker = helper("echo");
    worker.wait_for("ready");
    worker.pause();
    assert!(worker.is_paused());
    worker.send("later");
    worker.resume();
    assert_eq!(worker.wait_for("echo"), "later");
    assert!(!worker.is_paused());
}

#[test]
fn a_dropped_worker_is_gone() {
    let worker = helper("echo");
    let id = worker.id();
    assert!(is_alive(id));
    drop(worker);
    assert!(!is_alive(id));
}

#[test]
fn a_missing_program_is_named() {
    let panic = catch_unwind(|| Worker::spawn(&mut Command::new("no-such-program"))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        text.contains("no-such-program") && text.contains("scripts/test"),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_does_not_outlive_a_test_process_that_is_killed() {
    let mut worker = helper("server");
    let port: u16 = worker.wait_for("port").parse().unwrap();
    let answers = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    assert!(answers());
    worker.kill();
    eventually("the server is gone too", || !answers()).await;
}

#[test]
fn a_condition_that_holds_is_not_waited_for() {
    let mut looks = 0;
    wait_until("looked three times", || {
        looks += 1;
        looks == 3
    });
    assert_eq!(looks, 3);
}
