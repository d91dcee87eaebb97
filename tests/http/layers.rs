//! The layer among others.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use idempotent_fn::{Execution, SharedStore, http::IdempotencyKey, store::MemoryStore, with_store};
use tower::{ServiceBuilder, ServiceExt, limit::GlobalConcurrencyLimitLayer};

use crate::{
    common::{faulty::Faulty, until, yields},
    support::{behind_gate, counted, memory, number, serve, serve_counted, shared},
};

#[tokio::test]
async fn a_key_without_a_layer_changes_nothing() {
    let (app, runs) = counted(number);
    let server = serve(app).await;
    for run in ["1", "2"] {
        let reply = server.post("/").key("k").send().await;
        assert_eq!((reply.body(), reply.is_replay()), (run, false));
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn what_has_no_key_or_needs_none_passes() {
    let store = Faulty::new();
    let layer = shared()
        .body_limit(10)
        .store(SharedStore::new(store.clone()));
    let (server, runs) = serve_counted(layer, |_, request: Request| async move {
        let encodings = request.headers().get(header::ACCEPT_ENCODING).cloned();
        let body = axum::body::to_bytes(request.into_body(), usize::MAX)
            .await
            .unwrap();
        format!("{encodings:?} {}", body.len())
    })
    .await;
    for request in [
        server.post("/"),
        server.request("GET", "/").key("k"),
        server.request("PUT", "/").key("k"),
        server.request("DELETE", "/").key("k"),
        server.request("OPTIONS", "/").key("k"),
        server.request("GET", "/").key("a b"),
    ] {
        for _ in 0..2 {
            let request = request.clone().header("Accept-Encoding", "gzip");
            let reply = request.body("x".repeat(100)).send().await;
            assert_eq!((reply.status, reply.body()), (200, "Some(\"gzip\") 100"));
        }
    }
    assert_eq!((runs.count(), store.sent_in_all()), (12, 0));
}

#[tokio::test]
async fn methods_can_be_chosen() {
    let (server, _) = serve_counted(shared().methods([Method::PUT]), number).await;
    for run in ["1", "1"] {
        assert_eq!(server.request("PUT", "/").key("k").send().await.body(), run);
    }
    for run in ["2", "3"] {
        assert_eq!(server.post("/").key("k").send().await.body(), run);
    }
}

#[tokio::test]
async fn the_handler_sees_what_was_sent() {
    let (server, _) = serve_counted(shared(), |_, request: Request| async move {
        let (parts, body) = request.into_parts();
        let extensions = &parts.extensions;
        assert_eq!(extensions.get::<IdempotencyKey>().unwrap().shared(), "k 1");
        let execution = extensions.get::<Execution>().unwrap();
        assert!(execution.is_protected() && execution.derive_key("bank").len() == 32);
        assert_eq!(
            execution.fencing_token(),
            idempotent_fn::current().fencing_token()
        );
        let mut names: Vec<_> = parts
            .headers
            .keys()
            .map(|it| it.as_str().to_owned())
            .collect();
        names.sort();
        let body = axum::body::to_bytes(body, 100).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        format!("{} {} {names:?} {body}", parts.method, parts.uri)
    })
    .await;
    let request = server.request("PATCH", "/a%20b?c=d&e").key("\"k 1\"");
    let request = request
        .header("X-Own", "1")
        .header("Accept-Encoding", "gzip");
    let reply = request.body("body").send().await;
    let headers = r#"["connection", "content-length", "host", "idempotency-key", "x-own"]"#;
    assert_eq!(reply.body(), format!("PATCH /a%20b?c=d&e {headers} body"));
}

/// Two layers with one scope and one store share their records, as one does that is put on two
/// routes.
#[tokio::test]
async fn one_scope_is_one_set_of_records() {
    let store = memory();
    let runs = crate::support::Runs::default();
    let app = |layer| {
        let runs = runs.clone();
        Router::new()
            .route("/a", post(async move || runs.begin().to_string()))
            .route_layer(layer)
    };
    let one = serve(app(shared().store(&store))).await;
    let two = serve(app(shared().store(&store))).await;
    for server in [&one, &two, &one] {
        assert_eq!(server.post("/a").key("k").send().await.body(), "1");
    }
    let other = idempotent_fn::http::IdempotencyLayer::shared("other").store(&store);
    let other = serve(app(other)).await;
    assert_eq!(other.post("/a").key("k").send().await.body(), "2");
}

/// A token that can be used once is checked inside: a retry carries it again.
#[tokio::test]
async fn a_one_time_token_is_checked_inside() {
    let is_used = Arc::new(AtomicBool::new(false));
    let check = from_fn(move |request: Request, next: Next| {
        let is_used = Arc::clone(&is_used);
        async move {
            if is_used.swap(true, Ordering::SeqCst) {
                return StatusCode::FORBIDDEN.into_response();
            }
            next.run(request).await
        }
    });
    let (app, _) = counted(number);
    let inside = serve(app.layer(check.clone()).layer(shared())).await;
    for _ in 0..2 {
        assert_eq!(inside.post("/").key("k").send().await.body(), "1");
    }
    assert_eq!(inside.post("/").key("other").send().await.status, 403);
}

/// Duplicates that wait hold no place of a limit inside. (axum asks for none before a call; Tower
/// does.)
#[tokio::test]
async fn waiting_duplicates_hold_no_place_of_a_limit() {
    let store = memory();
    let (app, runs, gate) = behind_gate();
    let service = ServiceBuilder::new()
        .layer(shared().store(&store))
        .layer(GlobalConcurrencyLimitLayer::new(2))
        .service(app);
    let send = |key: &'static str| {
        let request = Request::post("/").header("Idempotency-Key", key);
        let request = request.body(Body::empty()).unwrap();
        tokio::spawn(service.clone().oneshot(request))
    };
    let mut all = vec![send("k")];
    until(|| runs.count() == 1).await;
    all.extend((0..20).map(|_| send("k")));
    // Each of them has begun to wait.
    yields(200).await;
    // Another key runs while they wait, in the place that is left.
    all.push(send("other"));
    until(|| runs.count() == 2).await;
    gate.add_permits(2);
    for reply in all {
        assert_eq!(reply.await.unwrap().unwrap().status(), 201);
    }
    assert_eq!(runs.count(), 2);
}

/// What stands outside adds its headers to replays as to first responses, once.
#[tokio::test]
async fn headers_of_layers_outside_are_there_once() {
    let (app, _) = counted(number);
    let cors = from_fn(async |request: Request, next: Next| {
        let origin = request.headers().get(header::ORIGIN).cloned().unwrap();
        let mut response = next.run(request).await;
        let headers = response.headers_mut();
        headers.append(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(
            "x-content-type-options",
            HeaderValue::from_static("nosniff"),
        );
        response
    });
    let server = serve(app.layer(shared()).layer(cors)).await;
    for origin in ["https://a.example", "https://b.example"] {
        let reply = server
            .post("/")
            .key("k")
            .header("Origin", origin)
            .send()
            .await;
        assert_eq!(reply.text("access-control-allow-origin"), Some(origin));
        assert_eq!(reply.text("x-content-type-options"), Some("nosniff"));
    }
}

/// As a compression layer does, as far as it matters here.
async fn compress(request: Request, next: Next) -> Response {
    let is_asked = request
        .headers()
        .get(header::ACCEPT_ENCODING)
        .is_some_and(|it| it == "gzip");
    let mut response = next.run(request).await;
    if is_asked && !response.headers().contains_key(header::CONTENT_ENCODING) {
        let encoding = HeaderValue::from_static("gzip");
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, encoding);
        *response.body_mut() = Body::from("compressed");
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

#[tokio::test]
async fn a_replay_is_readable_whatever_encodings_its_client_knows() {
    let (inside, _) = counted(number);
    let (outside, _) = counted(number);
    let inside = serve(inside.layer(from_fn(compress)).layer(shared())).await;
    let outside = serve(outside.layer(shared()).layer(from_fn(compress))).await;
    for key in ["gzip-first", "gzip-last"] {
        for is_first in [true, false] {
            let is_gzip = is_first == (key == "gzip-first");
            let send = |server: &crate::support::Server| {
                let request = server.post("/").key(key);
                if is_gzip {
                    request.header("Accept-Encoding", "gzip").send()
                } else {
                    request.send()
                }
            };
            let reply = send(&inside).await;
            assert_eq!(reply.text("content-encoding"), None);
            let reply = send(&outside).await;
            assert_eq!(reply.text("content-encoding").is_some(), is_gzip);
            assert_eq!(reply.body() == "compressed", is_gzip);
        }
    }
}

#[tokio::test]
async fn what_a_router_refuses_is_not_recorded() {
    let app = Router::new().route("/", get(async || "x")).layer(shared());
    let server = serve(app).await;
    for _ in 0..2 {
        assert_eq!(server.post("/").key("a").send().await.status, 405);
        assert_eq!(server.post("/nowhere").key("b").send().await.status, 404);
    }
}

#[tokio::test]
async fn grpc_with_a_key_is_refused_in_its_own_words() {
    let (server, runs) = serve_counted(shared(), number).await;
    let call = || {
        server
            .post("/")
            .header("Content-Type", "application/grpc+proto")
    };
    let reply = call().key("k").send().await;
    assert_eq!((reply.status, reply.text("grpc-status")), (200, Some("12")));
    assert_eq!(reply.text("content-type"), Some("application/grpc"));
    assert!(
        reply
            .text("grpc-message")
            .unwrap()
            .contains("#[idempotent]")
    );
    assert_eq!(runs.count(), 0);
    assert_eq!(call().send().await.body(), "1");
}

#[tokio::test]
async fn a_store_around_the_service_is_the_layers() {
    let store = SharedStore::new(MemoryStore::new());
    let around = store.clone();
    let (app, _) = counted(number);
    let layer = idempotent_fn::http::IdempotencyLayer::shared("shop");
    let app = app
        .layer(layer)
        .layer(from_fn(move |request: Request, next: Next| {
            with_store(around.clone(), next.run(request))
        }));
    let server = serve(app).await;
    for _ in 0..2 {
        assert_eq!(server.post("/").key("k").send().await.body(), "1");
    }
    assert_eq!(
        (store.counters().ran(), store.counters().replayed_by_store()),
        (1, 1)
    );
}

/// Nested layers with two scopes, and an annotated handler inside of a layer: one run, and it is
/// replayed.
#[tokio::test]
async fn two_protections_on_one_route_work() {
    use idempotent_fn::http::IdempotencyLayer;

    let store = memory();
    let (app, runs) = counted(number);
    let app = app
        .layer(IdempotencyLayer::shared("inner").store(&store))
        .layer(IdempotencyLayer::shared("outer").store(&store));
    let server = serve(app).await;
    for is_replay in [false, true] {
        let reply = server.post("/").key("k").send().await;
        assert_eq!((reply.body(), reply.is_replay()), ("1", is_replay));
    }
    assert_eq!(runs.count(), 1);
}
