//! axum's side: the key as an extractor, errors and problems as responses, principals by
//! extractors.

use std::fmt::Display;

use axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};

use bytes::Bytes;
use http_body_util::BodyExt;

use super::{IDEMPOTENCY_KEY, IdempotencyKey, IdempotencyLayer, Problem, problem::Kind};
use crate::Error;

/// Answers 400 where the header is missing or malformed.
#[cfg(feature = "axum")]
impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        find(parts)?.ok_or_else(|| Problem::new(Kind::MissingKey))
    }
}

/// `None` where the header is missing. Answers 400 where it is malformed.
#[cfg(feature = "axum")]
impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        find(parts)
    }
}

/// The key that a layer has read already, or that of the header. A layer may call its header by
/// another name.
fn find(parts: &Parts) -> Result<Option<IdempotencyKey>, Problem> {
    match parts.extensions.get::<IdempotencyKey>() {
        Some(key) => Ok(Some(key.clone())),
        None => Ok(IdempotencyKey::from_headers(
            &parts.headers,
            &IDEMPOTENCY_KEY,
        )?),
    }
}

#[cfg(feature = "axum")]
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Self::into_response::<Body>(self)
    }
}

/// The response of the [`Problem`] that it is.
#[cfg(feature = "axum")]
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(&self).into_response::<Body>()
    }
}

#[cfg(feature = "axum")]
impl IdempotencyLayer {
    /// Keys belong to whoever an extractor finds: `principal` names what stays the same for a
    /// client across its retries. Where the extractor refuses a request with a key, its response is
    /// the answer.
    ///
    /// ```
    /// # use axum::{Router, extract::FromRequestParts, http::{StatusCode, request::Parts}, routing::post};
    /// # use idempotent_fn::http::IdempotencyLayer;
    /// # struct User { id: u64 }
    /// # impl<S: Sync> FromRequestParts<S> for User {
    /// #     type Rejection = StatusCode;
    /// #     async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, StatusCode> { Ok(User { id: 7 }) }
    /// # }
    /// # async fn place() -> &'static str { "placed" }
    /// let idempotent = IdempotencyLayer::by_extractor("orders", (), |user: User| user.id);
    /// let app: Router = Router::new().route("/orders", post(place)).route_layer(idempotent);
    /// ```
    pub fn by_extractor<E, S, P>(
        scope: &'static str,
        state: S,
        principal: impl Fn(E) -> P + Clone + Send + Sync + 'static,
    ) -> Self
    where
        E: FromRequestParts<S> + Send,
        S: Clone + Send + Sync + 'static,
        P: Display,
    {
        Self::by_extraction(scope, move |parts| {
            let (state, principal) = (state.clone(), principal.clone());
            Box::pin(async move {
                let extracted = E::from_request_parts(parts, &state).await;
                // Before anything else is waited for: neither need be `Send`.
                let found = extracted.map(|extracted| principal(extracted).to_string());
                match found.map_err(IntoResponse::into_response) {
                    Ok(principal) => Ok(principal),
                    Err(refusal) => Err(whole(refusal).await),
                }
            })
        })
    }
}

/// A refusal, which is short.
async fn whole(response: Response) -> http::Response<Bytes> {
    let (parts, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => http::Response::from_parts(parts, body.to_bytes()),
        Err(_) => Problem::new(Kind::Internal).into_response::<Bytes>(),
    }
}
