//! What is answered instead of a handler's response.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Contract, Finish, KeySyntaxError};
use crate::{Error, InvalidKeyError, key::KeyDigest};

/// Where the problems are documented, unless a server says where.
const DOCS: &str = "https://github.com/idempotent-fn/idempotent-fn/blob/main/docs/HTTP.md";

/// The longest `Retry-After` that a duplicate is given: its next request waits for the result
/// again, so there is no need for long pauses.
const LONGEST_RETRY: u64 = 2;

/// A refusal as an HTTP response: `application/problem+json` (RFC 9457).
///
/// Made from an [`Error`], or from a [`KeySyntaxError`]. With the feature `axum`, it and `Error`
/// are responses as they stand. Where there is no axum:
///
/// ```
/// # use idempotent_fn::http::{KeySyntaxError, Problem};
/// let problem = Problem::from(KeySyntaxError::Empty);
/// assert_eq!(problem.status(), 400);
/// let response: http::Response<Vec<u8>> = problem.into_response();
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    /// Which rule was broken.
    reason: Option<KeySyntaxError>,
    is_retryable: bool,
    /// In seconds.
    retry_after: Option<u64>,
    instance: Option<KeyDigest>,
    docs: Option<Arc<str>>,
    /// Whose form and status it has.
    contract: Option<Contract>,
    /// What it was made from.
    error: Option<Box<Error>>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal $status:ident $title:literal $detail:literal)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($(#[$doc])* $kind),* }

        impl Kind {
            /// All, for the tests of the documentation.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$kind),*];

            const fn text(self) -> (&'static str, StatusCode, &'static str, &'static str) {
                match self { $(Self::$kind => ($name, StatusCode::$status, $title, $detail)),* }
            }
        }
    };
}

kinds! {
    MissingKey "missing-key" BAD_REQUEST "The idempotency key is missing"
        "This request needs the header Idempotency-Key: a text that is new for each operation and the same for its retries."
    MalformedKey "malformed-key" BAD_REQUEST "The idempotency key is malformed"
        "The idempotency key cannot be used."
    NoPrincipal "no-principal" FORBIDDEN "Nobody is known to whom the idempotency key belongs"
        "A request with an idempotency key must be authenticated."
    BodyTooLarge "body-too-large" PAYLOAD_TOO_LARGE "The body is too large"
        "A request with an idempotency key may not have a body of this size. Nothing was done."
    BodyIncomplete "body-incomplete" BAD_REQUEST "The body is incomplete"
        "The body of the request broke off. Nothing was done."
    KeyReused "key-reused" UNPROCESSABLE_ENTITY "The idempotency key was used for another request"
        "This idempotency key was used before with another request. Use a new key for a new request."
    InFlight "in-flight" CONFLICT "A request with this idempotency key is being processed"
        "The first request with this idempotency key has not ended yet. Send the same request again to get its response."
    StillRunning "still-running" SERVICE_UNAVAILABLE "The request has not ended yet"
        "The request has not ended in the time that this server waits. It may be going on. Send the same request again: it gets the response, and nothing runs twice."
    TimedOut "timed-out" GATEWAY_TIMEOUT "The operation was stopped because it took too long"
        "The operation took too long and was stopped midway. Sending the same request again starts it anew."
    Indeterminate "indeterminate" CONFLICT "It is not known whether the operation took effect"
        "An earlier attempt stopped midway or fell silent, and nobody knows whether it took effect. Ask the operator of this service. Sending the request again does not run it again; it gets a response once the matter is settled."
    NotRecorded "not-recorded" CONFLICT "The operation has run, but its response was not kept"
        "The operation has run, and its response was not kept. It is not run again."
    Unavailable "unavailable" SERVICE_UNAVAILABLE "The record of requests cannot be reached"
        "The operation was not started, because the record of earlier requests cannot be reached."
    ResponseLost "response-lost" INTERNAL_SERVER_ERROR "The response broke off"
        "The operation has run, but its response broke off and was not kept. It is not run again."
    Internal "internal" INTERNAL_SERVER_ERROR "The server is set up wrongly"
        "The request cannot be processed safely, and sending it again does not help. The operator of this service can find out why."
}

impl Problem {
    pub(crate) fn new(kind: Kind) -> Self {
        let is_passing = matches!(
            kind,
            Kind::InFlight | Kind::StillRunning | Kind::Unavailable
        );
        Self {
            kind,
            reason: None,
            is_retryable: is_passing || kind == Kind::BodyIncomplete,
            retry_after: is_passing.then_some(1),
            instance: None,
            docs: None,
            contract: None,
            error: None,
        }
    }

    pub(super) fn in_form_of(self, contract: Option<Contract>) -> Self {
        Self { contract, ..self }
    }

    /// The problem's name: the end of its `type`.
    ///
    /// ```
    /// # use idempotent_fn::http::{KeySyntaxError, Problem};
    /// assert_eq!(Problem::from(KeySyntaxError::TooLong).name(), "malformed-key");
    /// ```
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.text().0
    }

    /// The response's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        let other = self
            .contract
            .and_then(|contract| contract.status(self.kind));
        other.unwrap_or(self.kind.text().1)
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.is_retryable
    }

    /// Where your API documents its problems: `type` is this address, `#` and the problem's name.
    #[must_use]
    pub fn with_docs(self, docs: impl Into<Arc<str>>) -> Self {
        Self {
            docs: Some(docs.into()),
            ..self
        }
    }

    /// The response's headers.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        let is_own = self.body_of_contract().is_some();
        let json = HeaderValue::from_static(if is_own {
            "application/json"
        } else {
            "application/problem+json"
        });
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        let link = format!("<{}>; rel=\"describedby\"", self.address());
        if let Ok(link) = HeaderValue::try_from(link) {
            headers.insert(header::LINK, link);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        headers
    }

    /// The response's body.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let body = match self.body_of_contract() {
            Some(body) => serde_json::to_vec(&body),
            None => serde_json::to_vec(self),
        };
        body.unwrap_or_default().into()
    }

    fn body_of_contract(&self) -> Option<serde_json::Value> {
        let status = self.status().as_u16();
        let detail = self.detail();
        self.contract?.body(self.kind, self.name(), status, &detail)
    }

    /// What happened and what to do, with the rule that was broken.
    fn detail(&self) -> String {
        let detail = self.kind.text().3;
        match self.reason {
            Some(reason) => format!("{detail} The reason: {reason}."),
            None => detail.to_owned(),
        }
    }

    /// The whole response. Made from an [`Error`], it has that as an extension, which is not sent: for
    /// a log or a metric of your own, outside.
    ///
    /// ```
    /// # use idempotent_fn::{Error, http::Problem, operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// // An empty scope is refused.
    /// let call = operation::<Result<u64, Error>, _>("", &[&"k"]).store(MemoryStore::new());
    /// let error = call.run(async { Ok(1) }).await.unwrap_err();
    /// let response = Problem::from(error).into_response::<Vec<u8>>();
    /// assert_eq!(response.status(), 500);
    /// if let Some(error) = response.extensions().get::<Error>() {
    ///     eprintln!("answered {}: {error}", response.status());
    /// }
    /// # assert!(response.extensions().get::<Error>().is_some());
    /// # }
    /// ```
    #[must_use]
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.body()));
        *response.status_mut() = self.status();
        *response.headers_mut() = self.headers();
        // Inside of a layer it is the response of a handler, and never one to be recorded.
        response.extensions_mut().insert(self.finish());
        if let Some(error) = self.error {
            response.extensions_mut().insert(*error);
        }
        response
    }

    /// Before these, nothing was done.
    fn finish(&self) -> Finish {
        match self.kind {
            Kind::MissingKey | Kind::MalformedKey | Kind::NoPrincipal => Finish::Release,
            _ => Finish::Abandon,
        }
    }

    fn address(&self) -> String {
        format!("{}#{}", self.docs.as_deref().unwrap_or(DOCS), self.name())
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let title = self.kind.text().2;
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("type", &self.address())?;
        members.serialize_entry("title", title)?;
        members.serialize_entry("status", &self.status().as_u16())?;
        members.serialize_entry("detail", &self.detail())?;
        members.serialize_entry("retryable", &self.is_retryable)?;
        if let Some(digest) = self.instance {
            let instance = format_args!("urn:idempotency-key:{digest}").to_string();
            members.serialize_entry("instance", &instance)?;
        }
        members.end()
    }
}

impl From<KeySyntaxError> for Problem {
    fn from(reason: KeySyntaxError) -> Self {
        Self {
            reason: Some(reason),
            ..Self::new(Kind::MalformedKey)
        }
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let kind = match error {
            Error::InFlight { .. } | Error::Superseded { .. } => Kind::InFlight,
            Error::KeyReused { .. } => Kind::KeyReused,
            Error::TimedOut { .. } if error.is_retryable() => Kind::TimedOut,
            Error::Indeterminate { .. }
            | Error::TimedOut { .. }
            | Error::TransactionEnded { .. } => Kind::Indeterminate,
            Error::NotRecorded { .. } => Kind::NotRecorded,
            Error::Unavailable { .. } | Error::Uncommitted { .. } => Kind::Unavailable,
            Error::InvalidKey {
                reason: InvalidKeyError::EmptyPart(_),
                ..
            } => Kind::NoPrincipal,
            _ => Kind::Internal,
        };
        let mut problem = Self::new(kind);
        problem.is_retryable = error.is_retryable();
        problem.instance = error.operation().digest();
        problem.error = Some(Box::new(error.clone()));
        problem.retry_after = problem.is_retryable.then(|| {
            let after = error.retry_after().unwrap_or_default();
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            seconds.clamp(1, LONGEST_RETRY)
        });
        problem
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/HTTP.md");
        let Ok(text) = std::fs::read_to_string(path) else {
            return; // a published package
        };
        for kind in Kind::ALL {
            let (name, status, ..) = kind.text();
            assert!(text.contains(&format!("\n### {name}\n")), "{name}");
            let row = format!("| [`{name}`](#{name}) | {} |", status.as_u16());
            assert!(text.contains(&row), "{row}");
        }
    }
}
