//! The `PostgreSQL` server: it runs as the user who runs the tests, keeps data, and ends with its
//! value.

use std::net::TcpStream;

use idempotent_test_support::{PostgresServer, is_alive};

#[test]
fn it_answers_on_its_port_and_is_gone_after_drop() {
    let servers = [PostgresServer::start(), PostgresServer::start()];
    let ids = servers.each_ref().map(PostgresServer::id);
    let ports = servers.each_ref().map(PostgresServer::port);
    for server in &servers {
        server.sql("CREATE TABLE t (a int, b text)");
        server.sql("INSERT INTO t VALUES (1, 'x'), (2, 'y')");
        assert_eq!(server.sql("SELECT a, b FROM t ORDER BY a"), "1|x\n2|y");
        assert_eq!(server.sql("SHOW port"), server.port().to_string());
    }
    assert!(ids.into_iter().all(is_alive));
    drop(servers);
    assert!(!ids.into_iter().any(is_alive));
    assert!(
        ports
            .into_iter()
            .all(|port| TcpStream::connect(("127.0.0.1", port)).is_err())
    );
}

#[test]
fn it_can_be_killed_restarted_and_paused() {
    let mut server = PostgresServer::start_with(&["log_statement=all", "work_mem=5MB"]);
    server.sql("CREATE TABLE t (a int)");
    assert_eq!(server.sql("SHOW work_mem"), "5MB");
    assert!(server.log().contains("CREATE TABLE t"));
    let first = server.id();
    server.kill();
    assert!(!is_alive(first));
    server.restart();
    assert_ne!(server.id(), first);
    assert_eq!(server.sql("SELECT count(*) FROM t"), "0");
    assert_eq!(server.sql("SHOW work_mem"), "5MB");

    server.pause();
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| server.sql("SELECT 1"));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!asking.is_finished());
        server.resume();
        asking.join().expect("an answer")
    });
    assert_eq!(asked, "1");
}
