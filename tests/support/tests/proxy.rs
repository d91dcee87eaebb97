//! Each fault of a link, as the client, the server and the counters see it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use idempotent_test_support::{Direction, Proxy, RedisServer, wait_until};

fn pair() -> (RedisServer, Proxy) {
    let server = RedisServer::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    (server, proxy)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    // Long enough for an answer that will come; awaited in full only where none will.
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

fn ask(stream: &mut TcpStream, command: &str, reply: &str) {
    stream
        .write_all(format!("{command}\r\n").as_bytes())
        .unwrap();
    expect(stream, reply);
}

fn expect(stream: &mut TcpStream, reply: &str) {
    let mut bytes = vec![0; reply.len() + 2];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{reply}\r\n"));
}

fn silent(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn without_a_fault_bytes_pass_and_are_counted() {
    let (_server, proxy) = pair();
    let mut stream = connect(&proxy);
    ask(&mut stream, "INCR a", ":1");
    let seen = proxy.counters();
    assert_eq!(
        (seen.connections, seen.open, seen.requests, seen.replies),
        (1, 1, 8, 4)
    );
    drop(stream);
    wait_until("the server's side is closed too", || {
        proxy.counters().open == 0
    });
}

#[test]
fn swallowed_replies_are_to_commands_that_ran() {
    let (server, proxy) = pair();
    let mut stream = connect(&proxy);
    proxy.drop_replies(true);
    stream.write_all(b"INCR a\r\n").unwrap();
    wait_until("the reply is lost", || proxy.counters().lost_replies == 4);
    assert_eq!(server.cli(&["GET", "a"]), "1");
    assert!(silent(&mut stream));
    proxy.drop_replies(false);
    // What comes after a lost answer never arrives on that connection: it would be taken for the
    // lost one.
    stream.write_all(b"INCR a\r\n").unwrap();
    wait_until("the next reply is lost too", || {
        proxy.counters().lost_replies == 8
    });
    assert!(silent(&mut stream));
    ask(&mut connect(&proxy), "INCR a", ":3");
}

#[test]
fn a_black_hole_swallows_both_ways_and_stays_open() {
    let (server, proxy) = pair();
    let mut stream = connect(&proxy);
    ask(&mut stream, "INCR a", ":1");
    proxy.black_hole(true);
    stream.write_all(b"INCR a\r\n").unwrap();
    wait_until("the request is lost", || {
        proxy.counters().lost_requests == 8
    });
    assert!(silent(&mut stream));
    assert_eq!(server.cli(&["GET", "a"]), "1");
    assert_eq!(proxy.counters().open, 1);
    proxy.black_hole(false);
    stream.write_all(b"INCR a\r\n").unwrap();
    wait_until("the next request is lost too", || {
        proxy.counters().lost_requests == 16
    });
    ask(&mut connect(&proxy), "INCR a", ":2");
}

#[test]
fn a_delay_holds_bytes_back_and_keeps_their_order() {
    let (server, proxy) = pair();
    let mut stream = connect(&proxy);
    proxy.delay(Direction::Replies, Duration::from_secs(2));
    stream.write_all(b"INCR a\r\n").unwrap();
    wait_until("the command ran", || server.cli(&["GET", "a"]) == "1");
    assert_eq!(proxy.counters().replies, 0);
    proxy.delay(Direction::Replies, Duration::ZERO);
    stream.write_all(b"INCR a\r\n").unwrap();
    expect(&mut stream, ":1");
    expect(&mut stream, ":2");

    proxy.delay(Direction::Requests, Duration::from_secs(3600));
    stream.write_all(b"INCR a\r\n").unwrap();
    assert!(silent(&mut stream));
    assert_eq!(server.cli(&["GET", "a"]), "2");
}

#[test]
fn a_cut_closes_what_is_open_and_nothing_later() {
    let (_server, proxy) = pair();
    let mut streams = [connect(&proxy), connect(&proxy)];
    for stream in &mut streams {
        ask(stream, "PING", "+PONG");
    }
    proxy.cut();
    assert_eq!((proxy.counters().cut, proxy.counters().open), (2, 0));
    assert!(streams.iter_mut().all(closed));
    ask(&mut connect(&proxy), "PING", "+PONG");
}

#[test]
fn refused_connections_are_reset_and_counted() {
    let (_server, proxy) = pair();
    let mut before = connect(&proxy);
    ask(&mut before, "PING", "+PONG");
    proxy.refuse(true);
    assert!(closed(&mut connect(&proxy)));
    assert_eq!(
        (proxy.counters().refused, proxy.counters().connections),
        (1, 1)
    );
    ask(&mut before, "PING", "+PONG");
    proxy.refuse(false);
    ask(&mut connect(&proxy), "PING", "+PONG");
}

#[test]
fn dropped_it_closes_its_connections() {
    let (_server, proxy) = pair();
    let mut stream = connect(&proxy);
    ask(&mut stream, "PING", "+PONG");
    let address = proxy.address();
    drop(proxy);
    assert!(closed(&mut stream));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn what_was_held_back_arrives_after_its_sender_hung_up() {
    let (server, proxy) = pair();
    let mut stream = connect(&proxy);
    // Two answers on their way: the second one's arrival at a closed socket ends the link's other
    // direction.
    proxy.delay(Direction::Replies, Duration::from_millis(300));
    for count in ["1", "2"] {
        stream.write_all(b"INCR a\r\n").unwrap();
        wait_until("it has arrived", || server.cli(&["GET", "a"]) == count);
        std::thread::sleep(Duration::from_millis(20));
    }
    proxy.delay(Direction::Requests, Duration::from_secs(1));
    stream.write_all(b"INCR a\r\n").unwrap();
    wait_until("it is held back", || proxy.counters().requests == 16);
    drop(stream);
    wait_until("the last one has arrived", || {
        server.cli(&["GET", "a"]) == "3"
    });
    assert_eq!(proxy.counters().late_requests, 8);
}
