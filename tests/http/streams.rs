//! Responses that are long, slow or endless, and responses that break off.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use idempotent_fn::{SharedStore, http::Replayed, store::MemoryStore};
use tokio::io::AsyncReadExt;
use tower::ServiceExt;

use crate::{
    common::{settled, until},
    support::{counted, memory, serve_counted, shared, streamed},
};

fn endless(first: &'static str) -> Body {
    let first = stream::iter([Ok::<_, std::io::Error>(first)]);
    Body::from_stream(first.chain(stream::pending()))
}

#[tokio::test]
async fn events_are_handed_out_at_once_and_not_kept() {
    let store = memory();
    let (server, runs) = serve_counted(shared().store(&store), |_, _: Request| async {
        (
            [(header::CONTENT_TYPE, "text/event-stream")],
            endless("data: 1\n\n"),
        )
    })
    .await;
    let mut stream = server.post("/").key("k").start().await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("data: 1") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    settled(&store).await;
    let again = server.post("/").key("k").send().await;
    assert_eq!((again.status, &*again.problem()), (409, "not-recorded"));
    assert_eq!(runs.count(), 1);
}

/// The beginning of a slow response is not kept from its client for longer than a second.
#[tokio::test]
async fn a_slow_stream_is_handed_out() {
    let (server, runs) = serve_counted(shared(), |_, _: Request| async { endless("begin") }).await;
    let mut stream = server.post("/").key("k").start().await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("begin") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    let again = server.post("/").key("k").send().await;
    assert_eq!(
        (again.problem(), runs.count()),
        ("not-recorded".to_owned(), 1)
    );
}

#[tokio::test]
async fn a_response_of_unknown_length_is_replayed_whole() {
    let (server, runs) = serve_counted(shared(), |_, _: Request| async {
        streamed(["one ", "two ", "three"])
    })
    .await;
    for _ in 0..2 {
        assert_eq!(
            server.post("/").key("k").send().await.body(),
            "one two three"
        );
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn a_response_over_the_limit_is_handed_out_and_not_kept() {
    let limit = 1024;
    let large = move |_, request: Request| async move {
        let body = "x".repeat(request.uri().query().unwrap().parse().unwrap());
        match request.uri().path() {
            "/known" => body.into_response(),
            _ => Body::from_stream(stream::iter(
                body.into_bytes()
                    .chunks(100)
                    .map(|it| Ok::<_, std::io::Error>(it.to_vec()))
                    .collect::<Vec<_>>(),
            ))
            .into_response(),
        }
    };
    let store = SharedStore::new(MemoryStore::new()).with_max_result(limit);
    let (server, runs) = serve_counted(shared().store(&store), large).await;
    let mut count = 0;
    for path in ["/known", "/unknown"] {
        for (bytes, is_kept) in [(500, true), (1000, false), (1025, false), (3000, false)] {
            let path = format!("{path}?{bytes}");
            let key = path.replace(['/', '?'], "-");
            let first = server.post(&path).key(&key).send().await;
            assert_eq!((first.status, first.body.len()), (200, bytes));
            count += 1;
            let again = server.post(&path).key(&key).send().await;
            if is_kept {
                assert_eq!((again.is_replay(), again.body.len()), (true, bytes));
            } else {
                assert_eq!(
                    (again.status, &*again.problem()),
                    (409, "not-recorded"),
                    "{path}"
                );
            }
            assert_eq!(runs.count(), count);
        }
    }
    // That is no mistake of anybody's, and counted as none.
    assert_eq!(store.counters().not_recordable(), 0);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_an_answer() {
    let (server, runs) = serve_counted(shared(), |_, _: Request| async {
        let pieces = [Ok("half"), Err(std::io::Error::other("as the test asked"))];
        Body::from_stream(stream::iter(pieces))
    })
    .await;
    let first = server.post("/").key("k").send().await;
    assert_eq!((first.status, &*first.problem()), (500, "response-lost"));
    let again = server.post("/").key("k").send().await;
    assert_eq!((again.status, &*again.problem()), (409, "not-recorded"));
    assert_eq!(runs.count(), 1);
}

fn with_length(status: u16, length: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for line in length.split('+') {
        let line = HeaderValue::from_static(line);
        response.headers_mut().append(header::CONTENT_LENGTH, line);
    }
    response
}

async fn sent(app: &Router, method: Method, key: &str) -> (StatusCode, bool, Bytes) {
    let request = Request::builder().method(method).uri("/");
    let request = request.header("Idempotency-Key", key);
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let is_replay = response.extensions().get::<Replayed>().is_some();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap();
    (status, is_replay, body.to_bytes())
}

/// A response that has not the length it announces was cut on its way, by a proxied connection that
/// ended, say.
#[tokio::test]
async fn a_response_of_another_length_than_announced_is_lost() {
    let bodies: [fn() -> Body; 2] = [|| Body::from("abc"), || streamed(["a", "bc"])];
    for body in bodies {
        for (length, is_whole) in [
            ("3", true),
            ("3+3", true),
            ("10", false),
            ("2", false),
            ("0", false),
            ("3+10", false),
        ] {
            let (app, runs) =
                counted(move |_, _: Request| async move { with_length(201, length, body()) });
            let app: Router = app.layer(shared());
            let (status, is_replay, bytes) = sent(&app, Method::POST, "k").await;
            let (again, is_replay_again, whole) = sent(&app, Method::POST, "k").await;
            assert_eq!((is_replay, is_replay_again), (false, is_whole), "{length}");
            if is_whole {
                assert_eq!((status.as_u16(), again.as_u16()), (201, 201));
                assert_eq!((&bytes[..], &whole[..]), (&b"abc"[..], &b"abc"[..]));
            } else {
                assert_eq!((status.as_u16(), again.as_u16()), (500, 409), "{length}");
                let text = String::from_utf8_lossy(&bytes);
                assert!(text.contains("#response-lost"), "{text}");
                let text = String::from_utf8_lossy(&whole);
                assert!(text.contains("#not-recorded"), "{text}");
            }
            assert_eq!(runs.count(), 1);
        }
    }
}

/// These announce the length that another response would have.
#[tokio::test]
async fn a_response_without_a_body_may_announce_any_length() {
    for (method, status) in [
        (Method::HEAD, 200),
        (Method::POST, 204),
        (Method::POST, 304),
    ] {
        for length in ["3", "99999999"] {
            let (app, runs) =
                counted(
                    move |_, _: Request| async move { with_length(status, length, Body::empty()) },
                );
            let app: Router = app.layer(shared().methods([Method::HEAD, Method::POST]));
            for is_replay in [false, true] {
                let (found, replayed, body) = sent(&app, method.clone(), "k").await;
                assert_eq!(
                    (found.as_u16(), replayed, body.len()),
                    (status, is_replay, 0),
                    "{method} {length}"
                );
            }
            assert_eq!(runs.count(), 1);
        }
    }
}

#[tokio::test]
async fn a_handshake_passes() {
    let (server, runs) = serve_counted(shared(), |_, _: Request| async {
        let headers = [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers)
    })
    .await;
    for run in 1..3 {
        let request = server.request("GET", "/").key("k");
        let request = request
            .header("Connection", "upgrade")
            .header("Upgrade", "websocket");
        let mut stream = request.start().await;
        let mut seen = [0; 12];
        stream.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"HTTP/1.1 101");
        until(|| runs.count() == run).await;
    }
}

#[tokio::test]
async fn trailers_are_replayed() {
    let (app, runs) = counted(|_, _: Request| async {
        let trailers: HeaderMap = [(header::ETAG, "\"1\"".parse().unwrap())]
            .into_iter()
            .collect();
        let frames = [
            Ok(Frame::data(Bytes::from("body"))),
            Ok(Frame::trailers(trailers)),
        ];
        let frames = frames.map(|it: Result<_, std::io::Error>| it);
        Response::new(Body::new(StreamBody::new(stream::iter(frames))))
    });
    let app: Router = app.layer(shared());
    for is_replay in [false, true] {
        let request = Request::post("/").header("Idempotency-Key", "k");
        let request = request.body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.extensions().get::<Replayed>().is_some(), is_replay);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["etag"], "\"1\"");
        assert_eq!(body.to_bytes(), "body");
    }
    assert_eq!(runs.count(), 1);
}
