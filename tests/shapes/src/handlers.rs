//! axum handlers under `#[axum::debug_handler]`.
#![expect(
    clippy::diverging_sub_expression,
    unreachable_pub,
    reason = "what `debug_handler` writes beside any handler diverges, and holds a copy of it"
)]

use axum::extract::Path;
use axum::http::StatusCode;
use idempotent_fn::idempotent;

use crate::fresh;

/// An axum handler, checked above.
///
/// # Errors
/// As any handler.
#[axum::debug_handler]
#[idempotent(key = id, map_err = |_| StatusCode::CONFLICT)]
pub async fn handler_above(Path(id): Path<u64>) -> Result<String, StatusCode> {
    std::future::ready(()).await;
    Ok(format!("{id} {}", fresh()))
}

/// An axum handler, checked below.
///
/// # Errors
/// As any handler.
#[idempotent(key = id, map_err = |_| StatusCode::CONFLICT)]
#[axum::debug_handler]
pub async fn handler_below(Path(id): Path<u64>) -> Result<String, StatusCode> {
    std::future::ready(()).await;
    Ok(format!("{id} {}", fresh()))
}
