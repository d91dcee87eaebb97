//! HTTP: idempotent handlers, and the header `Idempotency-Key`.
//!
//! A client POSTs, the answer is lost, and the client POSTs again. With the code in this module the
//! second POST gets the answer of the first.
//! [docs/HTTP.md](https://github.com/idempotent-fn/idempotent-fn/blob/main/docs/HTTP.md) has the
//! whole picture.
//!
//! An axum handler is annotated as it stands, with an [`IdempotencyKey`] among its arguments
//! (feature `axum`). This library's [`Error`](crate::Error) is a response, so a handler may return
//! it:
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! # use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
//! # use idempotent_fn::{Error, http::IdempotencyKey, idempotent};
//! # #[derive(Clone)] struct Shop;
//! # #[derive(Clone)] struct User { id: u64 }
//! # impl<S: Sync> axum::extract::FromRequestParts<S> for User {
//! #     type Rejection = StatusCode;
//! #     async fn from_request_parts(_: &mut axum::http::request::Parts, _: &S) -> Result<Self, StatusCode> { Ok(User { id: 7 }) }
//! # }
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Order { cents: u64 }
//! # #[derive(serde::Serialize, serde::Deserialize)] struct Receipt { cents: u64 }
//! #[idempotent(scope = "orders.place", key = key.of(user.id), fingerprint = order)]
//! async fn place(
//!     State(shop): State<Shop>, user: User, key: IdempotencyKey, Json(order): Json<Order>,
//! ) -> Result<(StatusCode, Json<Receipt>), Error> {
//!     Ok((StatusCode::CREATED, Json(Receipt { cents: order.cents })))
//! }
//!
//! let app: Router = Router::new().route("/orders", post(place)).with_state(Shop);
//! # }
//! ```

#[cfg(feature = "axum")]
mod axum;
mod body;
mod config;
mod contract;
mod exchange;
mod finish;
mod key;
mod layer;
mod mark_replayed;
mod payload;
mod problem;
mod recorded;
mod service;

use http::{HeaderName, HeaderValue, Response};

pub use body::ResponseBody;
pub use contract::Contract;
pub use finish::Finish;
pub use key::{IdempotencyKey, KeySyntaxError, PrincipalKey};
pub use layer::IdempotencyLayer;
pub use mark_replayed::{MarkReplayed, Marking};
pub use payload::Payload;
pub use problem::Problem;
pub use service::{Idempotency, ResponseFuture};

/// The header that clients send their key in.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header that a replay has, with the value `true`. Browsers show it to scripts of another
/// origin where it is among `Access-Control-Expose-Headers`.
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An extension of responses that are replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed;

fn mark_as_replayed<B>(response: &mut Response<B>) {
    let marker = HeaderValue::from_static("true");
    response.headers_mut().insert(IDEMPOTENT_REPLAYED, marker);
    response.extensions_mut().insert(Replayed);
}
