//! Annotated axum handlers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Request, State},
    http::{StatusCode, request::Parts},
    middleware::{Next, from_fn},
    routing::post,
};
use idempotent_fn::{
    Error,
    http::{IdempotencyKey, MarkReplayed},
    idempotent, operation, with_store,
};
use serde::{Deserialize, Serialize};

use crate::support::{Server, memory, serve};

#[derive(Clone, Default)]
struct Shop {
    placed: Arc<AtomicU64>,
}

impl Shop {
    fn place(&self) -> u64 {
        self.placed.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn placed(&self) -> u64 {
        self.placed.load(Ordering::Relaxed)
    }
}

struct User {
    id: String,
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let id = parts
            .headers
            .get("x-user")
            .ok_or(StatusCode::UNAUTHORIZED)?;
        let id = id.to_str().unwrap().to_owned();
        Ok(Self { id })
    }
}

#[derive(Serialize, Deserialize)]
struct Order {
    cents: u64,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    user: String,
    number: u64,
}

#[idempotent(scope = "http.handlers.place", key = key.of(&user.id), fingerprint = order.cents)]
async fn place(
    State(shop): State<Shop>,
    user: User,
    key: IdempotencyKey,
    Json(order): Json<Order>,
) -> Result<(StatusCode, Json<Receipt>), Error> {
    tokio::task::yield_now().await;
    let number = shop.place();
    let user = user.id;
    Ok((StatusCode::CREATED, Json(Receipt { user, number })))
}

#[idempotent(scope = "http.handlers.maybe", key = key.as_ref().map(|key| key.of(&user.id)), optional_key = true)]
async fn maybe(
    State(shop): State<Shop>,
    user: User,
    key: Option<IdempotencyKey>,
) -> Result<Json<u64>, Error> {
    Ok(Json(shop.place()))
}

#[derive(Debug)]
enum AppError {
    Library(Error),
    SoldOut,
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl axum::response::IntoResponse for AppError {
    fn into_response(self) -> axum::response::Response {
        match self {
            Self::Library(error) => error.into_response(),
            Self::SoldOut => StatusCode::GONE.into_response(),
        }
    }
}

#[idempotent(scope = "http.handlers.failing", key = key.shared())]
async fn failing(State(shop): State<Shop>, key: IdempotencyKey) -> Result<Json<u64>, AppError> {
    match shop.place() {
        1 => Err(AppError::SoldOut),
        number => Ok(Json(number)),
    }
}

/// Two idempotent calls in a handler that is none.
async fn nested(key: IdempotencyKey) -> Result<Json<u64>, Error> {
    let first = operation::<Result<u64, Error>, _>("http.handlers.nested", &[&key.shared()]);
    first.run(async { Ok(1) }).await?;
    let second = operation::<Result<u64, Error>, _>("http.handlers.fresh", &[&fresh()]);
    Ok(Json(second.run(async { Ok(2) }).await?))
}

fn fresh() -> String {
    IdempotencyKey::random().shared().to_owned()
}

async fn shop() -> (Server, Shop) {
    let (shop, store) = (Shop::default(), memory());
    let app = Router::new()
        .route("/orders", post(place))
        .route("/maybe", post(maybe))
        .route("/failing", post(failing))
        .route("/nested", post(nested))
        .with_state(shop.clone())
        .layer(MarkReplayed)
        .layer(from_fn(move |request: Request, next: Next| {
            // Whatever store this program would choose by itself.
            with_store(store.clone(), next.run(request))
        }));
    (serve(app).await, shop)
}

const ORDER: &str = r#"{"cents":500}"#;

#[tokio::test]
async fn a_handler_runs_once_per_principal_and_key() {
    let (server, shop) = shop().await;
    let key = fresh();
    let order = || server.post("/orders").key(&key).json(ORDER);
    let first = order().user("ann").send().await;
    assert_eq!((first.status, first.is_replay()), (201, false), "{first:?}");
    let again = order().user("ann").send().await;
    assert!(again.is_replay());
    assert_eq!((again.status, &again.body), (201, &first.body));
    // Another user who knows the key has a run of his own.
    let theirs = order().user("bob").send().await;
    assert_eq!((theirs.status, theirs.is_replay()), (201, false));
    assert_eq!(theirs.json()["user"], "bob");
    assert_eq!(shop.placed(), 2);
    let other = server.post("/orders").key(&key).user("ann");
    let other = other.json(r#"{"cents":5000}"#).send().await;
    assert_eq!(other.status, 422);
    assert_eq!(other.problem(), "key-reused");
    // Who is refused by an extractor never gets a record's answer.
    assert_eq!(order().send().await.status, 401);
    assert_eq!(shop.placed(), 2);
}

#[tokio::test]
async fn a_handler_needs_its_key_unless_it_is_optional() {
    let (server, shop) = shop().await;
    let missing = server.post("/orders").user("ann").json(ORDER).send().await;
    assert_eq!((missing.status, &*missing.problem()), (400, "missing-key"));
    let empty = server
        .post("/orders")
        .user("ann")
        .key("")
        .json(ORDER)
        .send()
        .await;
    assert_eq!((empty.status, &*empty.problem()), (400, "malformed-key"));
    assert_eq!(shop.placed(), 0);

    for number in 1..3 {
        let reply = server.post("/maybe").user("ann").send().await;
        assert_eq!(reply.json(), number);
    }
    let malformed = server.post("/maybe").user("ann").key("\"open").send().await;
    assert_eq!(
        (malformed.status, &*malformed.problem()),
        (400, "malformed-key")
    );
    let key = fresh();
    for is_replay in [false, true] {
        let reply = server.post("/maybe").user("ann").key(&key).send().await;
        assert_eq!((reply.is_replay(), reply.json()), (is_replay, 3.into()));
    }
    assert_eq!(shop.placed(), 3);
}

#[tokio::test]
async fn an_empty_principal_is_refused() {
    let (server, shop) = shop().await;
    let reply = server.post("/maybe").user("").key(fresh()).send().await;
    assert_eq!((reply.status, &*reply.problem()), (403, "no-principal"));
    assert_eq!(shop.placed(), 0);
}

#[tokio::test]
async fn an_error_of_ones_own_has_its_own_response() {
    let (server, shop) = shop().await;
    let key = fresh();
    for (status, is_replay) in [(410, false), (200, false), (200, true)] {
        let reply = server.post("/failing").key(&key).send().await;
        assert_eq!((reply.status, reply.is_replay()), (status, is_replay));
    }
    assert_eq!(shop.placed(), 2);
}

#[tokio::test]
async fn a_response_is_marked_by_the_call_that_ends_last() {
    let (server, _) = shop().await;
    let key = fresh();
    for _ in 0..2 {
        assert!(!server.post("/nested").key(&key).send().await.is_replay());
    }
}
