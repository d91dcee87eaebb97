//! The service: which requests pass, which are refused, and which have a key.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    IdempotencyKey, KeySyntaxError, Problem, ResponseBody, body::BoxError, config::Config,
    exchange::exchange, problem::Kind,
};

/// The service that [`IdempotencyLayer`](super::IdempotencyLayer) makes.
#[derive(Clone)]
pub struct Idempotency<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> Idempotency<S> {
    pub(super) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }
}

impl<S: fmt::Debug> fmt::Debug for Idempotency<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency")
            .field("scope", &self.config.scope)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// What is to be done with a request.
enum Admission {
    Passing,
    Refused(Response<Bytes>),
    Keyed(IdempotencyKey),
}

impl Config {
    /// Looks at the head of a request only: nothing is read, and no store is asked.
    fn admit<B>(&self, request: &Request<B>) -> Admission {
        if !self.methods.contains(request.method()) {
            return Admission::Passing;
        }
        let key = match IdempotencyKey::from_headers(request.headers(), &self.header) {
            Ok(None) if self.is_required => return self.refused(Problem::new(Kind::MissingKey)),
            Ok(None) => return Admission::Passing,
            Ok(Some(key)) if self.accept_key.is_none_or(|accept| accept(key.shared())) => key,
            Ok(Some(_)) => return self.refused(KeySyntaxError::Refused.into()),
            Err(error) => return self.refused(error.into()),
        };
        if is_grpc(request) {
            return Admission::Refused(grpc_refusal());
        }
        Admission::Keyed(key)
    }

    /// The key as it was sent, where the response repeats it.
    fn echo<B>(&self, request: &Request<B>) -> Option<(HeaderName, HeaderValue)> {
        self.contract.filter(|contract| contract.echoes_key())?;
        let sent = request.headers().get(&self.header)?;
        Some((self.header.clone(), sent.clone()))
    }

    fn refused(&self, problem: Problem) -> Admission {
        Admission::Refused(self.documented(problem).into_response())
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"))
}

/// Of a gRPC response, only the trailers say whether it has failed, and this layer looks at
/// statuses.
fn grpc_refusal() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert("grpc-status", HeaderValue::from_static("12"));
    let message =
        "the Idempotency-Key layer does not speak gRPC: annotate the method with #[idempotent]";
    headers.insert("grpc-message", HeaderValue::from_static(message));
    response
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Idempotency<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    ReqBody: Body + From<Bytes> + Send + 'static,
    ReqBody::Data: Send,
    ReqBody::Error: Into<BoxError>,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Send,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let answer = match self.config.admit(&request) {
            Admission::Passing => Answer::Passing {
                response: self.inner.call(request),
            },
            Admission::Refused(response) => Answer::Refused {
                response: Some(response),
            },
            Admission::Keyed(key) => {
                // The service that is ready may hold a place of a limit, and a duplicate only
                // waits: it is dropped here. Whoever runs the handler asks a fresh one.
                let fresh = self.inner.clone();
                drop(mem::replace(&mut self.inner, fresh.clone()));
                let config = Arc::clone(&self.config);
                let echo = config.echo(&request);
                let response = exchange(config, fresh, request, key);
                let response = async {
                    let mut response = response.await?;
                    response.headers_mut().extend(echo);
                    Ok(response)
                };
                Answer::Keyed {
                    response: Box::pin(response),
                }
            }
        };
        ResponseFuture { answer }
    }
}

pin_project! {
    /// The future of [`Idempotency`].
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        answer: Answer<F, B, E>,
    }
}

type Keyed<B, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, E>> + Send>>;

pin_project! {
    #[project = AnswerProjected]
    enum Answer<F, B, E> {
        Passing { #[pin] response: F },
        Refused { response: Option<Response<Bytes>> },
        Keyed { response: Keyed<B, E> },
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            AnswerProjected::Passing { response } => {
                let response = ready!(response.poll(cx));
                Poll::Ready(response.map(|response| response.map(ResponseBody::untouched)))
            }
            AnswerProjected::Refused { response } => {
                let response = response
                    .take()
                    .expect("a future is not polled after its end");
                Poll::Ready(Ok(response.map(ResponseBody::from)))
            }
            AnswerProjected::Keyed { response } => response.as_mut().poll(cx),
        }
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
