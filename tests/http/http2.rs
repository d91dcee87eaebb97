//! The same over HTTP/2: streams that share a connection, and end alone.

use std::{pin::Pin, time::Duration};

use axum::{
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use idempotent_fn::{SharedStore, http::IdempotencyLayer};
use tokio::task::JoinSet;

use crate::{
    common::{faulty::Faulty, settled, until},
    leaving::watched,
    support::{
        Server, behind_gate, counted, gated, memory, number, serve, serve_counted, shared, streamed,
    },
};

/// A client that speaks HTTP/2 without an upgrade, over one connection.
fn second_version() -> reqwest::Client {
    let builder = reqwest::Client::builder().http2_prior_knowledge();
    builder.no_proxy().build().unwrap()
}

fn post(client: &reqwest::Client, server: &Server, key: &str) -> reqwest::RequestBuilder {
    let url = format!("http://{}/", server.address);
    client.post(url).header("Idempotency-Key", key)
}

fn is_replay(response: &reqwest::Response) -> bool {
    response.headers().contains_key("idempotent-replayed")
}

#[tokio::test]
async fn streams_of_one_connection_share_one_run() {
    let (server, runs, gate) = gated(shared()).await;
    let client = second_version();
    let mut all = JoinSet::new();
    for _ in 0..50 {
        all.spawn(post(&client, &server, "k").body("{}").send());
    }
    until(|| runs.count() == 1).await;
    gate.add_permits(1);
    let mut replays = 0;
    for response in all.join_all().await {
        let response = response.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(response.status(), 201);
        replays += usize::from(is_replay(&response));
        assert_eq!(response.text().await.unwrap(), "1");
    }
    assert_eq!((replays, runs.count()), (49, 1));
}

/// A stream that is reset ends alone: its handler goes on, and the others of the connection do.
#[tokio::test]
async fn a_reset_stream_loses_no_response() {
    let store = memory();
    let (app, runs, gate) = behind_gate();
    let (app, gone) = watched(app.layer(shared().store(&store)));
    let server = serve(app).await;
    let client = second_version();
    let lost = tokio::spawn(post(&client, &server, "k").send());
    until(|| runs.count() == 1).await;
    let other = tokio::spawn(post(&client, &server, "other").send());
    until(|| runs.count() == 2).await;
    lost.abort();
    until(|| gone.0.count() == 1).await;
    gate.add_permits(2);
    assert_eq!(other.await.unwrap().unwrap().status(), 201);
    settled(&store).await;
    let again = post(&client, &server, "k").send().await.unwrap();
    assert!(is_replay(&again));
    assert_eq!(
        (again.text().await.unwrap(), runs.count()),
        ("1".to_owned(), 2)
    );
}

/// A record is framed for whoever asks: made over one version, it is replayed over the other.
#[tokio::test]
async fn a_record_is_replayed_over_every_version() {
    let handler = |_, request: Request| async move {
        if request.uri().path() == "/stream" {
            return Response::new(streamed(["one", "two"]));
        }
        // Which HTTP/2 forbids.
        let fields = [(header::CONNECTION, "x-hop"), (header::UPGRADE, "x")];
        (fields, "onetwo").into_response()
    };
    let (server, runs) = serve_counted(shared(), handler).await;
    let client = second_version();
    let second = |path: &str| {
        let url = format!("http://{}{path}", server.address);
        client.post(url).header("Idempotency-Key", path.to_owned())
    };
    for path in ["/stream", "/hop"] {
        let first = server.post(path).key(path).send().await;
        assert_eq!((first.body(), first.is_replay()), ("onetwo", false));
        let again = second(path).send().await.unwrap();
        assert!(is_replay(&again));
        assert_eq!(again.content_length(), Some(6));
        assert!(!again.headers().contains_key("connection"));
        assert_eq!(again.text().await.unwrap(), "onetwo");
    }
    let path = "/stream?second";
    assert!(!is_replay(&second(path).send().await.unwrap()));
    let again = server.post(path).key(path).send().await;
    assert_eq!((again.body(), again.is_replay()), ("onetwo", true));
    assert_eq!(runs.count(), 3);
}

/// A body of HTTP/2 that its client resets has claimed nothing.
#[tokio::test]
async fn a_reset_upload_claims_nothing() {
    let store = Faulty::new();
    let layer = shared().store(SharedStore::new(store.clone()));
    let (app, runs) = counted(number);
    let (app, gone) = watched(app.layer(layer));
    let server = serve(app).await;
    let client = second_version();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    });
    let pieces = Pin::from(Box::new(pieces));
    let upload = post(&client, &server, "k").body(reqwest::Body::wrap_stream(pieces));
    let upload = tokio::spawn(upload.send());
    sender.send(Ok(b"{\"half".to_vec())).await.unwrap();
    sender
        .send(Err(std::io::Error::other("the client is gone")))
        .await
        .unwrap();
    // It ends with an error, or with the refusal that the server wrote before it saw the reset.
    if let Ok(response) = upload.await.unwrap() {
        assert_eq!(response.status(), 400);
    }
    assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
    assert!(gone.0.count() <= 1);
    assert_eq!(
        post(&client, &server, "k").send().await.unwrap().status(),
        200
    );
}

/// Without a layer that waits, a client over HTTP/2 is told as over HTTP/1.1.
#[tokio::test]
async fn refusals_are_the_same_over_every_version() {
    let layer = IdempotencyLayer::shared("shop").store(memory());
    let (server, runs, gate) = gated(layer.wait(Duration::ZERO).require_key()).await;
    let client = second_version();
    let first = tokio::spawn(post(&client, &server, "k").send());
    until(|| runs.count() == 1).await;
    for (key, status) in [("k", 409), ("a b", 400)] {
        let over_first = server.post("/").key(key).send().await;
        let over_second = post(&client, &server, key).send().await.unwrap();
        assert_eq!(
            (over_first.status, over_second.status().as_u16()),
            (status, status)
        );
        let media_type = &over_second.headers()["content-type"];
        assert_eq!(media_type, "application/problem+json");
        assert_eq!(over_second.bytes().await.unwrap(), over_first.body);
    }
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::CREATED);
}
