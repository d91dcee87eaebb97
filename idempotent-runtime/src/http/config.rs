//! What a layer is told, as its services see it.

use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Method, Response, request, response};

use super::{
    Contract, Finish, IDEMPOTENCY_KEY, IdempotencyKey, Payload, Problem, payload::Coverage,
    recorded::HeaderRules,
};
use crate::{
    DEFAULT_LEASE, DEFAULT_WAIT, OnCrash, SharedStore, events, operation::options::Options,
};

/// As axum's own limit: the layer refuses nothing that a handler would have taken.
const DEFAULT_BODY_LIMIT: u64 = 2 * 1024 * 1024;

/// A response's meaning, as the application sees it.
type OnResponse = dyn Fn(&response::Parts) -> Finish + Send + Sync;
type ByParts = dyn Fn(&request::Parts) -> Option<String> + Send + Sync;
/// The principal, or the extractor's refusal.
pub(super) type Extracted<'a> =
    Pin<Box<dyn Future<Output = Result<String, Response<Bytes>>> + Send + 'a>>;
type ByExtractor = dyn for<'a> Fn(&'a mut request::Parts) -> Extracted<'a> + Send + Sync;

#[derive(Clone)]
pub(super) enum Principal {
    /// All clients share their keys.
    Shared,
    Parts(Arc<ByParts>),
    #[cfg_attr(
        not(feature = "axum"),
        expect(dead_code, reason = "only axum has extractors")
    )]
    Extractor(Arc<ByExtractor>),
}

#[derive(Clone)]
pub(super) struct Config {
    pub(super) scope: &'static str,
    pub(super) principal: Principal,
    pub(super) header: HeaderName,
    pub(super) methods: Vec<Method>,
    pub(super) is_required: bool,
    pub(super) accept_key: Option<fn(&str) -> bool>,
    pub(super) coverage: Coverage,
    pub(super) body_limit: u64,
    pub(super) contract: Option<Contract>,
    pub(super) on_response: Option<Arc<OnResponse>>,
    pub(super) header_rules: HeaderRules,
    pub(super) answer_within: Option<Duration>,
    pub(super) docs: Option<Arc<str>>,
    pub(super) on_crash: OnCrash,
    pub(super) ttl: Option<Duration>,
    pub(super) lease: Duration,
    pub(super) wait: Duration,
    pub(super) store: Option<SharedStore>,
    /// Set once the options have been checked.
    pub(super) checked: OnceLock<()>,
}

impl Config {
    pub(super) fn new(scope: &'static str, principal: Principal) -> Self {
        Self {
            scope,
            principal,
            header: IDEMPOTENCY_KEY,
            methods: vec![Method::POST, Method::PATCH],
            is_required: false,
            accept_key: None,
            coverage: Coverage::Payload(Payload::default()),
            body_limit: DEFAULT_BODY_LIMIT,
            contract: None,
            on_response: None,
            header_rules: HeaderRules::default(),
            answer_within: None,
            docs: None,
            on_crash: OnCrash::Rerun,
            ttl: None,
            lease: DEFAULT_LEASE,
            wait: DEFAULT_WAIT,
            store: None,
            checked: OnceLock::new(),
        }
    }

    /// What a response means for the record: as it says itself, else as the application says, else
    /// by its status.
    pub(super) fn finish(&self, parts: &response::Parts) -> Meaning {
        if let Some(said) = parts.extensions.get::<Finish>() {
            return Meaning::Said(*said);
        }
        if let Some(on_response) = &self.on_response {
            return Meaning::Said(on_response(parts));
        }
        Meaning::ByStatus(match self.contract {
            Some(contract) => contract.finish(parts.status, self.on_crash),
            None => Finish::of(parts.status, self.on_crash),
        })
    }

    /// The options of the operation with this key. `path` counts only where a contract says so.
    pub(super) fn options(
        &self,
        principal: Option<&str>,
        key: &IdempotencyKey,
        path: &str,
    ) -> Options {
        let of_principal;
        let key: &dyn Display = match principal {
            Some(principal) => {
                of_principal = key.of(principal);
                &of_principal
            }
            None => &key.shared(),
        };
        let mut options = if self.contract.is_some_and(Contract::has_keys_per_path) {
            Options::new(self.scope, &[key, &path])
        } else {
            Options::new(self.scope, &[key])
        };
        options.store.clone_from(&self.store);
        options.on_crash = self.on_crash;
        options.ttl = self.ttl;
        options.lease = self.lease;
        options.wait = self.wait;
        options
    }

    /// The problem in the application's words: with its documentation, in its contract's form.
    pub(super) fn documented(&self, problem: Problem) -> Problem {
        let problem = problem.in_form_of(self.contract);
        match &self.docs {
            Some(docs) => problem.with_docs(Arc::clone(docs)),
            None => problem,
        }
    }

    /// Emits an event if an option is out of its range, once. Each request with a key is refused
    /// then, and nobody should need a request to learn of it.
    pub(super) fn check(&self) {
        self.checked.get_or_init(|| {
            let any = IdempotencyKey::any();
            if let Err(error) = self.options(None, &any, "/").check_options() {
                events::layer_refuses_all(self.scope, &error);
            }
        });
    }
}

/// What a response means for the record, and who says so.
pub(super) enum Meaning {
    /// The response or the application.
    Said(Finish),
    ByStatus(Finish),
}
