//! A shop whose customers click twice, reload, lose answers and open two tabs, and pay once.
//!
//! ```text
//! cargo run --example shop --features axum           # then open http://localhost:3000
//! cargo run --example shop --features axum,redis     # records in Redis: stop it midway, start it, reload
//! ```
//!
//! Paying is an annotated handler, refunds are behind the layer. The page (`page.html`) makes a key
//! when a cart is first paid, and keeps it until it has the receipt.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{FromRequestParts, Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{Next, from_fn},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use idempotent_fn::{
    Error,
    http::{IdempotencyKey, IdempotencyLayer, MarkReplayed},
    idempotent,
};
use serde::{Deserialize, Serialize};

/// What is sold: a name, and a price in cents.
const GOODS: [(&str, u64); 3] = [
    ("Darjeeling, first flush", 1450),
    ("Genmaicha", 890),
    ("A cup with a handle", 1200),
];

/// How many of each of the goods, in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cart {
    counts: [u32; 3],
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) number: usize,
    pub(crate) cents: u64,
    pub(crate) is_refunded: bool,
}

/// The shop's books, and its bank. Both would be databases and services elsewhere.
#[derive(Clone)]
pub(crate) struct Shop {
    books: Arc<Mutex<Books>>,
    /// How long the bank takes.
    bank: Duration,
}

#[derive(Default)]
struct Books {
    /// Each with its customer.
    orders: Vec<(String, Receipt)>,
    charges: usize,
    refunds: usize,
}

impl Shop {
    pub(crate) fn new(bank: Duration) -> Self {
        let books = Arc::default();
        Self { books, bank }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("nobody panics with the books")
    }

    /// Charges and refunds so far.
    #[allow(dead_code, reason = "for the tests")]
    pub(crate) fn moved(&self) -> (usize, usize) {
        let books = self.books();
        (books.charges, books.refunds)
    }
}

/// Who buys. This shop believes what a header says; yours has a login.
pub(crate) struct Customer(String);

impl<S: Sync> FromRequestParts<S> for Customer {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let name = parts.headers.get("x-customer").map(HeaderValue::to_str);
        match name {
            Some(Ok(name)) if !name.is_empty() => Ok(Self(name.to_owned())),
            _ => Err((StatusCode::UNAUTHORIZED, "who are you?")),
        }
    }
}

/// Charges the cart once per key. A cart that was changed under the same key is refused.
#[idempotent(scope = "shop.pay", key = key.of(&customer.0), fingerprint = cart)]
async fn pay(
    State(shop): State<Shop>,
    customer: Customer,
    key: IdempotencyKey,
    Json(cart): Json<Cart>,
) -> Result<(StatusCode, Json<Receipt>), Error> {
    tokio::time::sleep(shop.bank).await;
    let prices = GOODS.iter().zip(cart.counts);
    let cents = prices.map(|((_, cents), count)| cents * u64::from(count));
    let mut books = shop.books();
    books.charges += 1;
    let receipt = Receipt {
        number: books.orders.len() + 1,
        cents: cents.sum(),
        is_refunded: false,
    };
    books.orders.push((customer.0, receipt.clone()));
    Ok((StatusCode::CREATED, Json(receipt)))
}

/// Behind the layer: what it answers is recorded by its status.
async fn refund(
    State(shop): State<Shop>,
    customer: Customer,
    Path(number): Path<usize>,
) -> Result<Json<Receipt>, StatusCode> {
    tokio::time::sleep(shop.bank).await;
    let mut books = shop.books();
    let mut orders = books.orders.iter_mut();
    let order = orders.find(|(owner, order)| *owner == customer.0 && order.number == number);
    let (_, order) = order.ok_or(StatusCode::NOT_FOUND)?;
    order.is_refunded = true;
    let receipt = order.clone();
    books.refunds += 1;
    Ok(Json(receipt))
}

#[derive(Serialize)]
struct Account {
    goods: [(&'static str, u64); 3],
    orders: Vec<Receipt>,
    charges: usize,
}

async fn account(State(shop): State<Shop>, customer: Customer) -> Json<Account> {
    let books = shop.books();
    let own = books
        .orders
        .iter()
        .filter(|(owner, _)| *owner == customer.0);
    Json(Account {
        goods: GOODS,
        orders: own.map(|(_, receipt)| receipt.clone()).collect(),
        charges: books.charges,
    })
}

/// Loses an answer on its way, if the page asks for it: its head arrives, its body does not.
async fn lose(request: Request, next: Next) -> Response {
    let is_to_be_lost = request.headers().contains_key("x-lose-answer");
    let mut response = next.run(request).await;
    if is_to_be_lost {
        let lost = Err::<&str, _>(std::io::Error::other("lost on its way"));
        *response.body_mut() = Body::from_stream(stream::iter([lost]));
    }
    response
}

/// Lets pages of other origins use the shop: they may send the key, and see what a retry needs.
async fn cors(request: Request, next: Next) -> Response {
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let mut allow = HeaderMap::new();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "content-type, idempotency-key, x-customer, x-lose-answer",
        ),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "idempotent-replayed, retry-after",
        ),
    ] {
        allow.insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().extend(allow);
    response
}

pub(crate) fn app(shop: Shop) -> Router {
    let refunds =
        IdempotencyLayer::by_extractor("shop.refund", (), |customer: Customer| customer.0)
            .require_key();
    Router::new()
        .route("/orders/{number}/refund", post(refund))
        .route_layer(refunds)
        .route("/pay", post(pay).layer(MarkReplayed))
        .route("/account", get(account))
        .route("/", get(async || Html(include_str!("page.html"))))
        .layer(from_fn(lose))
        .layer(from_fn(cors))
        .with_state(shop)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("open http://localhost:{}", listener.local_addr()?.port());
    axum::serve(listener, app(Shop::new(Duration::from_millis(800))))
        .with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await })
        .await?;
    idempotent_fn::drain(Duration::from_secs(30)).await;
    Ok(())
}
