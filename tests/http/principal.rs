//! Whose a key is.

use axum::{
    extract::{FromRequestParts, Request},
    http::{StatusCode, request::Parts},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use idempotent_fn::{SharedStore, http::IdempotencyLayer};

use crate::{
    common::faulty::Faulty,
    support::{by_user, counted, memory, number, serve, serve_counted},
};

#[tokio::test]
async fn two_clients_one_key_two_runs() {
    let (server, runs) = serve_counted(by_user().store(memory()), number).await;
    let pay = |user| server.post("/pay").key("k").user(user).json("{}");
    for (user, run) in [("ann", "1"), ("bob", "2"), ("ann", "1"), ("bob", "2")] {
        assert_eq!(pay(user).send().await.body(), run);
    }
    assert_eq!(runs.count(), 2);
}

#[tokio::test]
async fn without_a_principal_nothing_is_read_and_no_store_is_asked() {
    let store = Faulty::new();
    let layer = by_user().store(SharedStore::new(store.clone()));
    let (server, runs) = serve_counted(layer, number).await;
    for request in [
        server.post("/pay").key("k"),
        server.post("/pay").key("k").user(""),
        // The body never comes.
        server.post("/pay").key("k").header("Content-Length", "9"),
    ] {
        let reply = request.send().await;
        assert_eq!((reply.status, &*reply.problem()), (403, "no-principal"));
    }
    assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
}

#[tokio::test]
async fn a_refreshed_token_is_the_same_principal() {
    let (server, runs) = serve_counted(by_user().store(memory()), number).await;
    for token in ["one", "two"] {
        let pay = server.post("/pay").key("k").user("ann");
        let pay = pay.header("Authorization", format!("Bearer {token}"));
        assert_eq!(pay.send().await.body(), "1");
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn nothing_meets() {
    let (server, runs) = serve_counted(by_user().store(memory()), number).await;
    let pairs = [
        ("a", "b/c"),
        ("a/b", "c"),
        ("a", "b|c"),
        ("a|b", "c"),
        ("a%2Fb", "c"),
        ("a", "%2Fb/c"),
        ("{a}", "c"),
        ("a", "{c}"),
        ("a", "~"),
        ("~", "a"),
        ("shop", "a"),
        ("a", "shop"),
    ];
    for (run, (user, key)) in (1_u64..).zip(pairs) {
        for _ in 0..2 {
            let reply = server.post("/pay").user(user).key(key).send().await;
            assert_eq!(reply.body(), run.to_string(), "{user} {key}");
        }
    }
    assert_eq!(runs.count(), pairs.len() as u64);
}

struct User(String);

impl FromRequestParts<&'static str> for User {
    type Rejection = (StatusCode, String);

    async fn from_request_parts(
        parts: &mut Parts,
        realm: &&'static str,
    ) -> Result<Self, Self::Rejection> {
        match parts.headers.get("x-user") {
            Some(user) => Ok(Self(user.to_str().unwrap().to_owned())),
            None => Err((StatusCode::UNAUTHORIZED, format!("log in to {realm}"))),
        }
    }
}

#[tokio::test]
async fn an_extractor_finds_the_principal_or_its_refusal_is_the_answer() {
    let store = Faulty::new();
    let layer = IdempotencyLayer::by_extractor("shop", "the shop", |user: User| user.0);
    let layer = layer.store(SharedStore::new(store.clone()));
    let (server, runs) = serve_counted(layer, number).await;
    let refused = server.post("/pay").key("k").send().await;
    assert_eq!(
        (refused.status, refused.body()),
        (401, "log in to the shop")
    );
    assert_eq!(
        refused.text("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!((runs.count(), store.sent_in_all()), (0, 0));
    for (user, run) in [("ann", "1"), ("bob", "2"), ("ann", "1")] {
        let reply = server.post("/pay").key("k").user(user).send().await;
        assert_eq!(reply.body(), run);
    }
    assert_eq!(runs.count(), 2);
    // Without a key, the layer asks nobody.
    assert_eq!(server.post("/pay").send().await.body(), "3");
}

async fn authenticate(request: Request, next: Next) -> Response {
    match request.headers().get("authorization") {
        Some(token) if token == "good" => next.run(request).await,
        _ => StatusCode::UNAUTHORIZED.into_response(),
    }
}

#[tokio::test]
async fn a_revoked_client_does_not_get_its_record() {
    let (app, runs) = counted(number);
    let app = app
        .layer(by_user().store(memory()))
        .layer(from_fn(authenticate));
    let server = serve(app).await;
    for (token, status) in [("good", 200), ("bad", 401), ("good", 200)] {
        let pay = server.post("/pay").key("k").user("ann");
        assert_eq!(
            pay.header("Authorization", token).send().await.status,
            status
        );
    }
    assert_eq!(runs.count(), 1);
}

#[tokio::test]
async fn operators_find_the_record_by_principal_and_key() {
    use idempotent_fn::{http::IdempotencyKey, operation::Resolution};

    let layer = by_user().store(memory());
    let (server, runs) = serve_counted(layer.clone(), number).await;
    let key = IdempotencyKey::new("k").unwrap();
    let pay = || server.post("/pay").key("k").user("ann");
    let operation = || layer.operation("ann", &key);
    assert!(operation().inspect().await.unwrap().is_none());
    assert_eq!(pay().send().await.body(), "1");
    assert!(operation().inspect().await.unwrap().is_some());
    operation().forget().await.unwrap();
    assert_eq!(pay().send().await.body(), "2");
    operation().forget().await.unwrap();
    let given = http::Response::builder().status(202).header("x-by", "hand");
    let given = given.body("settled".into()).unwrap();
    operation().resolve(Resolution::Done(given)).await.unwrap();
    let reply = pay().send().await;
    assert!(reply.is_replay());
    assert_eq!(
        (reply.status, reply.body(), reply.text("x-by")),
        (202, "settled", Some("hand"))
    );
    assert_eq!(runs.count(), 2);
}
