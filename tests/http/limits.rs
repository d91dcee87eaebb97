//! Bodies over the limit, and stores that do not answer: a request that cannot be protected is not
//! passed on.

use axum::{body::Body, extract::Request};
use http_body_util::Limited;
use idempotent_fn::SharedStore;

use crate::{
    common::{
        faulty::{Fault, Faulty, Op},
        settled,
    },
    support::{counted, number, serve, serve_counted, shared},
};

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let store = Faulty::new();
    let layer = shared()
        .body_limit(1000)
        .store(SharedStore::new(store.clone()));
    let (server, runs) = serve_counted(layer, number).await;
    let chunked = |bytes: usize| {
        let chunk = format!("{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes));
        server
            .post("/")
            .key("k")
            .header("Transfer-Encoding", "chunked")
            .raw_body(chunk)
    };
    for request in [
        server.post("/").key("k").body("x".repeat(1001)),
        // Announced, and not sent.
        server.post("/").key("k").header("Content-Length", "1001"),
        chunked(1001),
    ] {
        let reply = request.send().await;
        assert_eq!((reply.status, &*reply.problem()), (413, "body-too-large"));
    }
    assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
    assert_eq!(
        server.post("/").body("x".repeat(1001)).send().await.body(),
        "1",
        "without a key"
    );
    let body = "x".repeat(1000);
    assert_eq!(
        server.post("/").key("k").body(&body).send().await.body(),
        "2"
    );
    assert_eq!(chunked(1000).send().await.body(), "2");
    assert_eq!(runs.count(), 2);
}

/// A limit outside of the layer cuts the body.
#[tokio::test]
async fn a_limit_outside_is_told_as_what_it_is() {
    let (app, runs) = counted(number);
    let app = app
        .layer(shared())
        .layer(axum::middleware::map_request(async |request: Request| {
            request.map(|body| Body::new(Limited::new(body, 1000)))
        }));
    let server = serve(app).await;
    let chunked = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001));
    let request = server
        .post("/")
        .key("k")
        .header("Transfer-Encoding", "chunked");
    let reply = request.raw_body(chunked).send().await;
    assert_eq!((reply.status, &*reply.problem()), (413, "body-too-large"));
    assert_eq!(runs.count(), 0);
}

#[tokio::test]
async fn where_the_store_does_not_answer_nothing_runs() {
    let store = Faulty::new();
    let layer = shared().store(SharedStore::new(store.clone()));
    let (server, runs) = serve_counted(layer, number).await;
    for fault in [Fault::NotSent, Fault::Refused] {
        store.always(Op::Claim, fault);
        let reply = server.post("/").key("k").send().await;
        assert_eq!((reply.status, &*reply.problem()), (503, "unavailable"));
        assert_eq!(reply.text("retry-after"), Some("1"));
    }
    assert_eq!(server.post("/").send().await.body(), "1", "without a key");
    store.always(Op::Claim, Fault::None);
    for _ in 0..2 {
        assert_eq!(server.post("/").key("k").send().await.body(), "2");
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn where_the_end_cannot_be_recorded_its_caller_has_the_answer() {
    let store = Faulty::new();
    let kept = SharedStore::new(store.clone());
    let (server, runs) = serve_counted(shared().store(&kept), number).await;
    store.next(Op::Finish, [Fault::Refused]);
    let reply = server.post("/").key("k").send().await;
    assert_eq!(
        (reply.status, reply.body(), reply.is_replay()),
        (200, "1", false)
    );
    settled(&kept).await;
    assert_eq!(store.happened(Op::Finish, Fault::Refused), 1);
    let reply = server.post("/").key("k").send().await;
    assert_eq!(
        (reply.body(), reply.is_replay(), runs.count()),
        ("1", true, 1)
    );
}

#[tokio::test]
async fn options_out_of_range_are_refused_and_nothing_runs() {
    use idempotent_fn::http::IdempotencyLayer;
    use std::time::Duration;

    let store = Faulty::new();
    for layer in [
        shared().ttl(Duration::ZERO),
        shared().lease(Duration::ZERO),
        IdempotencyLayer::shared(""),
    ] {
        let layer = layer.store(SharedStore::new(store.clone()));
        let (server, runs) = serve_counted(layer, number).await;
        let reply = server.post("/").key("k").send().await;
        assert_eq!((reply.status, &*reply.problem()), (500, "internal"));
        assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
    }
}
