//! Two HTTP servers, and one impatient client.

use std::{net::Ipv4Addr, time::Duration};

use crate::common::Site;
use idempotent_test_support::RedisServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Less than the body takes.
const PATIENCE: Duration = Duration::from_millis(100);

async fn post(port: u16, key: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request = format!(
        "POST /charge/{key} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

#[tokio::test]
async fn a_client_that_gives_up_and_retries_elsewhere_has_one_effect_and_an_answer() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut processes = [site.server(), site.server()];
    let ports = processes
        .each_mut()
        .map(|process| process.wait_for("listening ").parse().expect("a port"));

    for round in 0..3 {
        let key = format!("order-{round}");
        let (mut gave_up, mut tries) = (0, ports.iter().cycle());
        let response = loop {
            let port = *tries.next().expect("it repeats for ever");
            match timeout(PATIENCE, post(port, &key)).await {
                Ok(response) => break response.expect("the servers are there"),
                Err(_) => gave_up += 1,
            }
            assert!(gave_up < 600, "the client is never answered");
        };
        assert!(
            gave_up >= 1,
            "the body takes longer than the client's patience"
        );
        assert!(response.starts_with("HTTP/1.1 201"), "{response}");
        let receipt = response.rsplit("\r\n").next().expect("a body");
        assert_eq!(site.effects_of(&key), [receipt]);
    }
}
