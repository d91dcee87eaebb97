//! The layer's options.

use std::{
    fmt::{self, Display},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Method, Response, request, response};
use serde::Serialize;
use tower_layer::Layer;

#[cfg(feature = "axum")]
use super::config::Extracted;
use super::{
    Contract, Finish, Idempotency, IdempotencyKey, Payload,
    config::{Config, Principal},
    payload::Coverage,
    recorded::{self, HeaderRules},
};
use crate::{
    CodecError, Error, OnCrash, Operation, SharedStore,
    codec::Format,
    operation::{ByFrom, result_policy::ResultPolicy},
};

/// Makes requests with an `Idempotency-Key` idempotent: the first one with a key is passed on, and
/// its response recorded. Every other one with that key gets the recorded response.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// # use axum::{Extension, Router, routing::post};
/// # use http::request::Parts;
/// # use idempotent_fn::http::IdempotencyLayer;
/// # #[derive(Clone)] struct User { id: u64 }
/// # async fn place() -> &'static str { "placed" }
/// // A layer outside of this one has logged the user in.
/// let idempotent = IdempotencyLayer::by_principal("orders", |parts: &Parts| {
///     parts.extensions.get::<User>().map(|user| user.id)
/// });
/// let app: Router = Router::new()
///     .route("/orders", post(place))
///     .route_layer(idempotent)
///     .layer(Extension(User { id: 7 }));
/// # }
/// ```
///
/// The scope is the durable name of the layer's records. The same key may be sent by two clients,
/// and by one client to two layers with different scopes. Within one scope and principal, the same
/// key on another endpoint, or with another body, is refused with 422. Two layers with one scope
/// and one store share their records.
///
/// A request with a key is never passed on unprotected: where the store does not answer, it gets
/// 503. A request without a key passes untouched, unless [`require_key`](Self::require_key) says
/// otherwise. So do methods other than POST and PATCH.
///
/// The handler is finished also where its client goes away, and its response recorded. Call
/// [`drain`](crate::drain) before the process ends.
///
/// Records hold responses, and are kept for the `ttl`: by default 24 hours from the completion.
#[derive(Clone)]
pub struct IdempotencyLayer {
    config: Arc<Config>,
}

impl IdempotencyLayer {
    fn new(scope: &'static str, principal: Principal) -> Self {
        Self {
            config: Arc::new(Config::new(scope, principal)),
        }
    }

    /// Keys belong to whoever `principal` names: what stays the same for a client across its
    /// retries, such as the id of a user or an account. Not a token or a session, which may be new
    /// in a retry, and not an address, which strangers share.
    ///
    /// A request with a key and without a principal (`None`, or an empty text) is refused with 403,
    /// before its body is read.
    pub fn by_principal<P: Display>(
        scope: &'static str,
        principal: impl Fn(&request::Parts) -> Option<P> + Send + Sync + 'static,
    ) -> Self {
        let principal = move |parts: &request::Parts| Some(principal(parts)?.to_string());
        Self::new(scope, Principal::Parts(Arc::new(principal)))
    }

    #[cfg(feature = "axum")]
    pub(super) fn by_extraction(
        scope: &'static str,
        extract: impl for<'a> Fn(&'a mut request::Parts) -> Extracted<'a> + Send + Sync + 'static,
    ) -> Self {
        Self::new(scope, Principal::Extractor(Arc::new(extract)))
    }

    /// All clients share their keys: for keys that nobody can guess, such as the ids of webhook
    /// deliveries. Whoever knows a key gets its response.
    #[must_use]
    pub fn shared(scope: &'static str) -> Self {
        Self::new(scope, Principal::Shared)
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        let config = Arc::make_mut(&mut self.config);
        change(config);
        config.checked = OnceLock::new();
        self
    }

    /// Refuses requests without a key with 400.
    #[must_use]
    pub fn require_key(self) -> Self {
        self.with(|config| config.is_required = true)
    }

    /// Behaves as a published contract says: its status codes, what is recorded, which requests need
    /// a key, and the form of refusals. Options that are set after it overrule it.
    ///
    /// ```
    /// # use idempotent_fn::http::{Contract, IdempotencyLayer};
    /// let checkout = IdempotencyLayer::by_principal("checkout", |parts| {
    ///     parts.extensions.get::<String>().cloned()
    /// })
    /// .contract(Contract::AgenticCheckout);
    /// ```
    #[must_use]
    pub fn contract(self, contract: Contract) -> Self {
        self.with(|config| contract.apply(config))
    }

    /// The header that has the key; by default `Idempotency-Key`.
    #[must_use]
    pub fn header(self, name: HeaderName) -> Self {
        self.with(|config| config.header = name)
    }

    /// The methods whose requests have keys; by default POST and PATCH. All others pass.
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.with(|config| config.methods = methods.into_iter().collect())
    }

    /// A rule for keys, besides the syntax. Keys that it answers `false` to are refused with 400.
    #[must_use]
    pub fn accept_key(self, rule: fn(&str) -> bool) -> Self {
        self.with(|config| config.accept_key = Some(rule))
    }

    /// What of a request counts when its key comes again; by default [`Payload::Json`].
    #[must_use]
    pub fn payload(self, payload: Payload) -> Self {
        self.with(|config| config.coverage = Coverage::Payload(payload))
    }

    /// What counts of headers and body: for multipart bodies, say, whose boundary is another in
    /// each request. Method, path and query count in any case.
    #[must_use]
    pub fn fingerprint<T: Serialize>(
        self,
        choose: impl Fn(&request::Parts, &Bytes) -> T + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| config.coverage = Coverage::chosen(choose))
    }

    /// The largest body of a request with a key, in bytes; by default 2 MiB. Larger ones are
    /// refused with 413.
    #[must_use]
    pub fn body_limit(self, bytes: u64) -> Self {
        self.with(|config| config.body_limit = bytes)
    }

    /// What a response means for the record, instead of [`Finish`]'s table. What the response
    /// itself says (`Finish` as an extension) comes before it.
    #[must_use]
    pub fn on_response(
        self,
        finish: impl Fn(&response::Parts) -> Finish + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| config.on_response = Some(Arc::new(finish)))
    }

    /// Records a header that is not recorded by itself: `Set-Cookie`, say. The cookie then lies in
    /// the store.
    #[must_use]
    pub fn keep_header(self, name: HeaderName) -> Self {
        self.with(|config| config.header_rules.kept.push(name))
    }

    /// Does not record a header. The first client gets it, replays do not have it.
    #[must_use]
    pub fn drop_header(self, name: HeaderName) -> Self {
        self.with(|config| config.header_rules.dropped.push(name))
    }

    /// Answers 503 (`still-running`) with `Retry-After` where it takes longer until there is a
    /// response. A handler that has begun goes on, and a retry gets its response. Where the store was
    /// silent and the handler has not begun, a retry begins it. For handlers that outlast the
    /// patience of a load balancer.
    #[must_use]
    pub fn answer_within(self, duration: Duration) -> Self {
        self.with(|config| config.answer_within = Some(duration))
    }

    /// Where your API documents its problems: the `type` of each is this address, `#`, and the
    /// problem's name.
    #[must_use]
    pub fn docs(self, address: impl Into<Arc<str>>) -> Self {
        self.with(|config| config.docs = Some(address.into()))
    }

    /// How long a response is replayed; see [`Operation::ttl`].
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(|config| config.ttl = Some(ttl))
    }

    /// How long a silent server is believed alive; see [`Operation::lease`].
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|config| config.lease = lease)
    }

    /// How long a duplicate waits for the first request's response, before it is answered with 409;
    /// see [`Operation::wait`].
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        self.with(|config| config.wait = wait)
    }

    /// What it means that a server vanished midway; see [`Operation::on_crash`].
    #[must_use]
    pub fn on_crash(self, on_crash: OnCrash) -> Self {
        self.with(|config| config.on_crash = on_crash)
    }

    /// This store instead of the default one.
    #[must_use]
    pub fn store(self, store: impl Into<SharedStore>) -> Self {
        self.with(|config| config.store = Some(store.into()))
    }

    /// The record of a key, for operators: to [`inspect`](Operation::inspect),
    /// [`forget`](Operation::forget) or [`resolve`](Operation::resolve) it. For a layer whose
    /// clients share their keys, the principal plays no part.
    ///
    /// ```
    /// # use idempotent_fn::{SharedStore, http::{IdempotencyKey, IdempotencyLayer}, operation::Resolution, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let layer = IdempotencyLayer::by_principal("orders", |_| Some(7)).store(SharedStore::new(MemoryStore::new()));
    /// let key = IdempotencyKey::new("7f3a")?;
    /// // The bank says that order 42 went through, which no server lived to record.
    /// let response = http::Response::builder().status(201).body(r#"{"number":42}"#.into())?;
    /// layer.operation(7, &key).resolve_unseen(Resolution::Done(response)).await?;
    /// assert!(layer.operation(7, &key).inspect().await?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn operation(
        &self,
        principal: impl Display,
        key: &IdempotencyKey,
    ) -> Operation<Response<Bytes>, Error> {
        self.operation_at("", principal, key)
    }

    /// The same, where a key belongs to one path ([`Contract::AgenticCheckout`]). There, an empty
    /// path is refused. In other layers the path plays no part.
    pub fn operation_at(
        &self,
        path: &str,
        principal: impl Display,
        key: &IdempotencyKey,
    ) -> Operation<Response<Bytes>, Error> {
        let principal = principal.to_string();
        let principal = match self.config.principal {
            Principal::Shared => None,
            _ => Some(&*principal),
        };
        Operation {
            options: self.config.options(principal, key, path),
            policy: ResultPolicy::new(Format {
                codec: recorded::CODEC,
                encode: encode_given,
                decode: |codec, bytes| {
                    (codec == recorded::CODEC).then(|| Ok(recorded::decode(bytes)?.0))
                },
                is_transient: |_| false,
            }),
            into_err: ByFrom,
        }
    }
}

/// A response that an operator gives has the headers that are recorded by themselves.
fn encode_given(response: &Response<Bytes>, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
    let (status, headers, body) = (response.status(), response.headers(), response.body());
    recorded::encode(status, headers, body, None, &HeaderRules::default(), bytes)
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = Idempotency<S>;

    fn layer(&self, inner: S) -> Idempotency<S> {
        self.config.check();
        Idempotency::new(inner, Arc::clone(&self.config))
    }
}

impl fmt::Debug for IdempotencyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyLayer")
            .field("scope", &self.config.scope)
            .field("methods", &self.config.methods)
            .field("coverage", &self.config.coverage)
            .finish_non_exhaustive()
    }
}
