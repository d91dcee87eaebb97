//! A child process for this crate's own tests: `echo` repeats its input, `server` keeps a Redis
//! server until it ends.

use std::io::BufRead;

use idempotent_test_support::RedisServer;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("echo") => {
            println!("ready");
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                println!("echo {line}");
            }
        }
        Some("server") => {
            let server = RedisServer::start();
            println!("port {}", server.port());
            std::thread::park();
        }
        other => panic!("no such job: {other:?}"),
    }
}
