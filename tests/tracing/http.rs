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
