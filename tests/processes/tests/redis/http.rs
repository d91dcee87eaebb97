//! Two HTTP servers, and one impatient client.

use std::{net::Ipv4Addr, time::Duration};

use crate::common::Site;
use idempotent_test_support::{RedisServer, Worker};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Less than the body takes.
const PATIENCE: Duration = Duration::from_millis(100);

async fn post(port: u16, key: &str) -> std::io::Result<String> {
    send(port, &format!("/charge/{key}"), key).await
}

async fn send(port: u16, path: &str, key: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\
         Idempotency-Key: {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

fn port(process: &mut Worker) -> u16 {
    process.wait_for("listening ").parse().expect("a port")
}

/// A response's status, whether it is a replay, and its body.
fn parts(response: &str) -> (&str, bool, &str) {
    let (head, body) = response.split_once("\r\n\r\n").expect("a whole response");
    let is_replay = head.contains("idempotent-replayed: true");
    (&head["HTTP/1.1 ".len()..][..3], is_replay, body)
}

#[tokio::test]
async fn a_client_that_gives_up_and_retries_elsewhere_has_one_effect_and_an_answer() {
    let server = RedisServer::start();
    let site = Site::on(&server);
    let mut processes = [site.server(&[]), site.server(&[])];
    let ports = processes.each_mut().map(port);

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

#[tokio::test]
async fn two_servers_on_one_redis_run_a_request_once() {
    let redis = RedisServer::start();
    let site = Site::on(&redis);
    let mut processes = [site.server(&[]), site.server(&[])];
    let ports = processes.each_mut().map(port);
    let [one, two] = ports.map(|port| tokio::spawn(send(port, "/rerun", "k")));
    let (one, two) = (one.await.unwrap().unwrap(), two.await.unwrap().unwrap());
    let (one, two) = (parts(&one), parts(&two));
    assert_eq!((one.0, two.0), ("201", "201"));
    assert_eq!((one.2, one.1), (two.2, !two.1), "one of them is the replay");
    assert_eq!(site.effects_of("k"), [one.2]);
}

/// What is sent to a server that is killed while its handler runs.
async fn killed_in_the_handler(path: &str) -> (Site, RedisServer, Worker, u16) {
    let redis = RedisServer::start();
    let site = Site::on(&redis);
    let mut first = site.server(&[("LEASE", 600), ("BODY", 600_000)]);
    let port_of_first = port(&mut first);
    let path = path.to_owned();
    let lost = tokio::spawn(async move { send(port_of_first, &path, "k").await });
    first.wait_for("started ");
    first.kill();
    first.wait();
    assert!(
        !lost
            .await
            .unwrap()
            .is_ok_and(|answer| answer.contains("201"))
    );
    let mut second = site.server(&[("LEASE", 600), ("BODY", 0)]);
    let port = port(&mut second);
    (site, redis, second, port)
}

#[tokio::test]
async fn after_a_server_was_killed_the_retry_runs() {
    let (site, _redis, _second, port) = killed_in_the_handler("/rerun").await;
    for is_replay in [false, true] {
        let response = send(port, "/rerun", "k").await.unwrap();
        assert_eq!((parts(&response).0, parts(&response).1), ("201", is_replay));
    }
    assert_eq!(site.effects_of("k").len(), 2);
}

#[tokio::test]
async fn after_a_server_was_killed_the_retry_is_told_under_fail() {
    let (site, _redis, _second, port) = killed_in_the_handler("/fail").await;
    for _ in 0..2 {
        let response = send(port, "/fail", "k").await.unwrap();
        let (status, is_replay, body) = parts(&response);
        assert_eq!((status, is_replay), ("409", false));
        assert!(body.contains("#indeterminate"), "{body}");
    }
    assert_eq!(site.effects_of("k").len(), 1);
}

#[tokio::test]
async fn what_was_answered_is_recorded() {
    let redis = RedisServer::start();
    let site = Site::on(&redis);
    let mut first = site.server(&[("BODY", 0)]);
    let answered = send(port(&mut first), "/rerun", "k").await.unwrap();
    first.kill();
    let mut second = site.server(&[("BODY", 0)]);
    let replayed = send(port(&mut second), "/rerun", "k").await.unwrap();
    assert_eq!((parts(&answered).1, parts(&replayed).1), (false, true));
    assert_eq!(parts(&answered).2, parts(&replayed).2);
    assert_eq!(site.effects_of("k").len(), 1);
}

#[tokio::test]
async fn without_redis_nothing_runs() {
    let redis = RedisServer::start();
    let site = Site::on(&redis);
    let mut server = site.server(&[("BODY", 0), ("WAIT", 100)]);
    let port = port(&mut server);
    redis.kill();
    let response = send(port, "/rerun", "k").await.unwrap();
    let (status, _, body) = parts(&response);
    assert_eq!(status, "503", "{body}");
    assert!(body.contains("#unavailable"), "{body}");
    assert!(response.contains("retry-after: 1"));
    assert!(site.effects_of("k").is_empty());
    redis.restart();
    let mut statuses = Vec::new();
    while !statuses.contains(&"201".to_owned()) {
        let response = send(port, "/rerun", "k").await.unwrap();
        statuses.push(parts(&response).0.to_owned());
        assert!(statuses.len() < 600, "{statuses:?}");
    }
    assert_eq!(site.effects_of("k").len(), 1);
}
