//! axum's side: the key as an extractor, errors and problems as responses.

use axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::request::Parts,
    response::{IntoResponse, Response},
};

use super::{IDEMPOTENCY_KEY, IdempotencyKey, Problem, problem::Kind};
use crate::Error;

/// Answers 400 where the header is missing or malformed.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        find(parts)?.ok_or_else(|| Problem::new(Kind::MissingKey))
    }
}

/// `None` where the header is missing. Answers 400 where it is malformed.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        find(parts)
    }
}

/// The key that a layer has read already, or that of the header. A layer may call its header by another name.
fn find(parts: &Parts) -> Result<Option<IdempotencyKey>, Problem> {
    match parts.extensions.get::<IdempotencyKey>() {
        Some(key) => Ok(Some(key.clone())),
        None => Ok(IdempotencyKey::from_headers(
            &parts.headers,
            &IDEMPOTENCY_KEY,
        )?),
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Self::into_response::<Body>(self)
    }
}

/// The response of the [`Problem`] that it is.
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(&self).into_response::<Body>()
    }
}
