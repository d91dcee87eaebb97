//! One Redis server: its start, its answers, its end.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use idempotent_test_support::{RedisServer, is_alive, wait_until};

/// What the server answers to one inline command on TCP, as a client would see it.
fn ask(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    write!(stream, "{command}\r\nQUIT\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

fn redis_cli(args: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(args)
        .output()
        .expect("redis-cli comes with redis-tools");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
        + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn it_answers_on_its_port_and_is_gone_after_drop() {
    let server = RedisServer::start();
    let (id, folder) = (server.id(), server.folder().to_owned());
    assert_eq!(ask(server.port(), "PING"), "+PONG\r\n+OK\r\n");
    assert!(ask(server.port(), "INFO server").contains(&format!("process_id:{id}\r\n")));
    assert!(is_alive(id) && folder.exists());
    drop(server);
    assert!(!is_alive(id) && !folder.exists());
}

#[test]
fn it_is_gone_after_a_panic() {
    let mut id = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let server = RedisServer::start();
        id = server.id();
        assert!(is_alive(id));
        server.cli(&["NO-SUCH-COMMAND"]);
    }));
    assert!(outcome.is_err());
    assert!(!is_alive(id));
}

#[test]
fn many_start_at_once() {
    let starts: Vec<_> = (0..24)
        .map(|_| std::thread::spawn(RedisServer::start))
        .collect();
    let servers: Vec<_> = starts
        .into_iter()
        .map(|start| start.join().unwrap())
        .collect();
    let ports: HashSet<_> = servers.iter().map(RedisServer::port).collect();
    assert_eq!(ports.len(), servers.len());
    for server in &servers {
        assert!(
            ask(server.port(), "INFO server").contains(&format!("process_id:{}\r\n", server.id()))
        );
    }
}

#[test]
fn a_taken_port_is_tried_again() {
    let server = RedisServer::start();
    server.kill();
    let intruder = TcpListener::bind((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| server.restart());
        wait_until("the port is found taken", || {
            std::fs::read_to_string(server.folder().join("redis.log"))
                .is_ok_and(|log| log.contains("Address already in use"))
        });
        assert!(!restart.is_finished());
        drop(intruder);
        restart.join().unwrap();
    });
    assert_eq!(ask(server.port(), "PING"), "+PONG\r\n+OK\r\n");
}

#[test]
fn a_bad_directive_panics_with_the_log() {
    let builder = RedisServer::builder().arg("maxmemory-policy", "sometimes");
    let panic = catch_unwind(|| builder.start()).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("maxmemory-policy"), "{text}");
}

#[test]
fn directives_passwords_and_users() {
    let server = RedisServer::builder()
        .arg("maxmemory", "8mb")
        .password("open-sesame")
        .acl("app on >secret ~* +get")
        .start();
    assert_eq!(
        server.cli(&["CONFIG", "GET", "maxmemory"]),
        "maxmemory\n8388608"
    );
    assert!(ask(server.port(), "GET a").starts_with("-NOAUTH"));
    assert_eq!(
        server.url(),
        format!("redis://:open-sesame@127.0.0.1:{}", server.port())
    );
    let default = server.url_for("default", "open-sesame");
    assert_eq!(login(&default, &["SET", "a", "1"]), "OK");
    let app = server.url_for("app", "secret");
    assert_eq!(login(&app, &["GET", "a"]), "1");
    assert!(login(&app, &["SET", "a", "2"]).starts_with("NOPERM"));
    assert!(server.try_cli(&["INCR"]).is_err());
}

fn login(url: &str, words: &[&str]) -> String {
    redis_cli(&[&["--no-auth-warning", "-u", url], words].concat())
}

#[test]
fn tls_only_for_those_who_trust_the_authority() {
    let server = RedisServer::start_tls();
    let port = server.port().to_string();
    let authority = server.certificates().ca_path();
    let with = redis_cli(&[
        "-p",
        &port,
        "--tls",
        "--cacert",
        authority.to_str().unwrap(),
        "PING",
    ]);
    assert_eq!(with, "PONG");
    let without = redis_cli(&["-p", &port, "--tls", "PING"]);
    assert!(without.contains("certificate verify failed"), "{without}");
    assert_eq!(
        std::fs::read_to_string(authority).unwrap(),
        server.certificates().ca_pem()
    );
    assert_eq!(server.url(), format!("rediss://127.0.0.1:{port}"));
    assert_eq!(server.cli(&["PING"]), "PONG");
}

#[test]
fn a_unix_socket_and_no_port() {
    let server = RedisServer::builder().unix_socket().start();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).is_err());
    let path = server
        .url()
        .strip_prefix("redis+unix://")
        .unwrap()
        .to_owned();
    assert_eq!(redis_cli(&["-s", &path, "PING"]), "PONG");
}

#[test]
fn commandstats_count_what_others_sent() {
    let server = RedisServer::start();
    assert_eq!(server.commandstats(), BTreeMap::new());
    server.cli(&["SET", "a", "1"]);
    server.cli(&["CONFIG", "GET", "save"]);
    ask(
        server.port(),
        "GET a\r\nGET b\r\nCONFIG GET save\r\nINFO server",
    );
    let expected = [("config|get", 1), ("get", 2), ("info", 1), ("quit", 1)];
    let expected: BTreeMap<_, _> = expected
        .map(|(name, calls)| (name.to_owned(), calls))
        .into();
    assert_eq!(server.commandstats(), expected);
    server.reset_commandstats();
    assert_eq!(server.commandstats(), BTreeMap::new());
    ask(server.port(), "GET a");
    assert_eq!(server.commandstats()["get"], 1);
}

#[test]
fn paused_it_says_nothing_and_resumed_it_answers() {
    let server = RedisServer::start();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    server.pause();
    stream.write_all(b"PING\r\n").unwrap();
    let mut reply = [0; 7];
    assert!(stream.read_exact(&mut reply).is_err());
    server.resume();
    stream.set_read_timeout(None).unwrap();
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+PONG\r\n");
    // A stopped process can still be ended.
    server.pause();
    let id = server.id();
    drop(server);
    assert!(!is_alive(id));
}

#[test]
fn a_restart_keeps_the_port_and_what_was_persisted() {
    for (builder, left) in [
        (RedisServer::builder(), "(nil)"),
        (RedisServer::builder().appendonly(), "1"),
    ] {
        let server = builder.start();
        server.cli(&["SET", "a", "1"]);
        let (id, port) = (server.id(), server.port());
        server.kill();
        assert!(!is_alive(id) && !server.is_running());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        server.restart();
        assert_ne!(server.id(), id);
        assert_eq!(ask(port, "PING"), "+PONG\r\n+OK\r\n");
        assert_eq!(server.cli(&["GET", "a"]), left);
        assert!(!server.commandstats().contains_key("auth"));
    }
}
