//! What is told of requests with a key, and what their answers show.

use std::time::Duration;

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::Request,
    http::StatusCode,
    response::IntoResponse,
};
use idempotent_fn::{
    Execution, SharedStore,
    http::{Finish, IdempotencyKey, IdempotencyLayer},
    store::MemoryStore,
};
use tower::ServiceExt;

use crate::log::Log;

async fn handler(request: Request) -> impl IntoResponse {
    let key = request.extensions().get::<IdempotencyKey>();
    let execution = request.extensions().get::<Execution>();
    tracing::info!(?key, ?execution, "in the handler");
    match request.uri().path() {
        "/once" => (Extension(Finish::CompleteWithoutResponse), "once").into_response(),
        "/fail" => StatusCode::BAD_GATEWAY.into_response(),
        _ => "fine".into_response(),
    }
}

#[tokio::test]
async fn no_key_is_shown_of_a_request() {
    let (log, _listening) = Log::start();
    let layer = IdempotencyLayer::by_principal("shop", |_| Some("hidden-user"));
    let layer = layer
        .wait(Duration::ZERO)
        .store(SharedStore::new(MemoryStore::new()));
    let app: Router = Router::new().fallback(handler).layer(layer);
    let mut answers = Vec::new();
    for (path, key, body) in [
        ("/", "secret-1", "1"),
        ("/", "secret-1", "1"),
        ("/", "secret-1", "2"),
        ("/once", "secret-2", "1"),
        ("/once", "secret-2", "1"),
        ("/fail", "secret-3", "1"),
        ("/", "secret 4", "1"),
        ("/", "\"secret-5", "1"),
        ("/", "secret-6, secret-7", "1"),
    ] {
        let request = Request::post(path).header("Idempotency-Key", key);
        let request = request.body(Body::from(body)).unwrap();
        let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, 10_000).await.unwrap();
        answers.push(format!("{parts:?} {}", String::from_utf8_lossy(&body)));
    }
    let events = log.events();
    // The second is no mistake of anybody's.
    for message in ["in the handler", "replayed", "result not kept"] {
        assert!(
            events.iter().any(|event| event == message),
            "{message}: {events:?}"
        );
    }
    assert!(!events.iter().any(|event| event == "result not recordable"));
    for text in ["secret", "hidden"] {
        assert!(!answers.concat().contains(text), "{answers:?}");
        log.shows_no(text);
    }
}

/// Nobody should need a request to learn that a layer refuses them all. Each option that can be
/// wrong is told once, however many routes the layer is put on.
#[tokio::test]
async fn a_layer_with_bad_options_says_so_at_once() {
    let shop = || IdempotencyLayer::shared("shop").store(SharedStore::new(MemoryStore::new()));
    let day = Duration::from_secs(24 * 3600);
    for (layer, what) in [
        (shop().lease(Duration::ZERO), "`lease`"),
        (shop().lease(2 * day), "`lease`"),
        (shop().ttl(Duration::ZERO), "`ttl`"),
        (IdempotencyLayer::shared(""), "scope"),
    ] {
        let (log, _listening) = Log::start();
        let app: Router = Router::new()
            .route("/a", axum::routing::post(handler))
            .route("/b", axum::routing::post(handler))
            .layer(layer.clone())
            .layer(layer);
        let events = log.take_events();
        let [event] = &events[..] else {
            panic!("not one event, but {events:?}");
        };
        assert_eq!(
            event["message"],
            "the layer refuses each request with a key"
        );
        assert!(event["error"].contains(what), "{event:?}");
        let request = Request::post("/a").header("Idempotency-Key", "k");
        let request = request.body(Body::empty()).unwrap();
        assert_eq!(app.oneshot(request).await.unwrap().status(), 500);
        assert!(!log.events().iter().any(|event| event == "in the handler"));
    }
    // One that is mended is looked at again, and says nothing.
    let (log, _listening) = Log::start();
    let layer = shop().lease(Duration::ZERO);
    let _: Router = Router::new().layer(layer.clone());
    log.take_events();
    let _: Router = Router::new()
        .route("/a", axum::routing::post(handler))
        .layer(layer.lease(day));
    assert_eq!(log.events(), [""; 0]);
}
