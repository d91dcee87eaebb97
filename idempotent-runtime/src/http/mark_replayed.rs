//! Marks the responses of annotated handlers that are replays.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::mark_as_replayed;
use crate::{Observed, observe};

/// A layer for annotated handlers: it adds `Idempotent-Replayed: true` to a response that was
/// recorded before.
///
/// A handler may call several idempotent functions. What counts is the one that ends last: for an
/// annotated handler, itself. [`Problem`](super::Problem)s are not marked.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// # use axum::{Json, Router, routing::post};
/// # use idempotent_fn::{Error, http::{IdempotencyKey, MarkReplayed}, idempotent};
/// #[idempotent(key = key.shared())]
/// async fn place(key: IdempotencyKey) -> Result<Json<u64>, Error> {
///     Ok(Json(4711))
/// }
///
/// let app: Router = Router::new().route("/orders", post(place)).layer(MarkReplayed);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MarkReplayed;

impl<S> Layer<S> for MarkReplayed {
    type Service = Marking<S>;

    fn layer(&self, inner: S) -> Marking<S> {
        Marking { inner }
    }
}

/// The service that [`MarkReplayed`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Marking<S> {
    inner: S,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Marking<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Future: Send + 'static,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ResBody>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let response = observe(self.inner.call(request));
        Box::pin(async move {
            let (response, seen) = response.await;
            let mut response = response?;
            if let Observed::Replayed | Observed::Shared | Observed::Adopted = seen.outcome {
                mark_as_replayed(&mut response);
            }
            Ok(response)
        })
    }
}
