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
