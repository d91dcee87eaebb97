//! What a fingerprint covers: two requests with one key and different payloads are two requests.

mod json;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Uri, header, request::Parts};
use serde::Serialize;

use crate::fingerprint::{Fingerprint, FingerprintError, encode};

/// What of a body counts, where a key comes again.
///
/// Method, path and query always count. The content type and the headers `If-Match`,
/// `If-None-Match` and `If-Unmodified-Since` count where the body does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Payload {
    /// JSON (`application/json`, `…+json`) counts by its value: the order of an object's members
    /// and blanks play no part, and `1` is `1.0`. `null` and an absent member differ. Every other
    /// body counts as [`Exact`](Self::Exact): also JSON with a name twice in one object, or with a
    /// number that neither an integer of 64 bits nor a double has in all its digits, such as
    /// `20000000000000000001` or `0.10000000000000001`. Write such amounts as texts.
    #[default]
    Json,
    /// Each byte counts.
    Exact,
    /// The body plays no part. It is not buffered, and may have any size. The same key with another
    /// body gets the recorded response.
    Ignored,
}

/// Appends what was chosen of a request.
type Choose = dyn Fn(&Parts, &Bytes, &mut Vec<u8>) -> Result<(), FingerprintError> + Send + Sync;

/// What counts: by [`Payload`], or as the application chooses.
#[derive(Clone)]
pub(super) enum Coverage {
    Payload(Payload),
    /// The body alone, as JSON whatever its type says.
    JsonBody,
    Chosen(Arc<Choose>),
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payload(payload) => payload.fmt(f),
            Self::JsonBody => f.write_str("JsonBody"),
            Self::Chosen(_) => f.write_str("Chosen"),
        }
    }
}

impl Coverage {
    pub(super) fn chosen<T: Serialize>(
        choose: impl Fn(&Parts, &Bytes) -> T + Send + Sync + 'static,
    ) -> Self {
        Self::Chosen(Arc::new(move |parts, body, encoding| {
            encode(&choose(parts, body), encoding)
        }))
    }

    /// Whether the body is to be read before anything else.
    pub(super) fn needs_body(&self) -> bool {
        !matches!(self, Self::Payload(Payload::Ignored))
    }

    pub(super) fn fingerprint(
        &self,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Fingerprint, FingerprintError> {
        if let Self::JsonBody = self {
            return json_body(body);
        }
        let uri = original_uri(parts);
        let mut encoding = Vec::with_capacity(256 + body.len());
        encoding.push(b'[');
        encode(parts.method.as_str(), &mut encoding)?;
        encode(uri.path(), &mut encoding)?;
        encode(&uri.query(), &mut encoding)?;
        match self {
            Self::Payload(Payload::Ignored) | Self::JsonBody => {}
            Self::Payload(payload) => {
                let content_type = content_type(&parts.headers);
                encode(&content_type.as_deref().map(Raw), &mut encoding)?;
                for name in [
                    header::IF_MATCH,
                    header::IF_NONE_MATCH,
                    header::IF_UNMODIFIED_SINCE,
                ] {
                    let values = parts.headers.get_all(name).iter();
                    let values: Vec<_> = values.map(|value| Raw(value.as_bytes())).collect();
                    encode(&values, &mut encoding)?;
                }
                let by_value = *payload == Payload::Json
                    && content_type.is_some_and(|it| is_json(&it))
                    && json::encode(body, &mut encoding);
                if !by_value {
                    encode(&Raw(body), &mut encoding)?;
                }
            }
            Self::Chosen(choose) => choose(parts, body, &mut encoding)?,
        }
        encoding.push(b']');
        Ok(Fingerprint::of_encoding(&encoding))
    }
}

/// A body that is JSON counts by its value, any other by its bytes.
fn json_body(body: &Bytes) -> Result<Fingerprint, FingerprintError> {
    let mut encoding = Vec::with_capacity(body.len());
    if !json::encode(body, &mut encoding) {
        encoding.clear();
        encode(&Raw(body), &mut encoding)?;
    }
    Ok(Fingerprint::of_encoding(&encoding))
}

/// Bytes that are no sequence of numbers.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// The address as the client has sent it. Inside of `nest`, axum shows a handler only the rest of
/// the path, and `/v1/orders` and `/v2/orders` would be one.
pub(super) fn original_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    &parts.uri
}

/// The content type without its parameters, in lower case.
fn content_type(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let essence = value.split(|&byte| byte == b';').next()?;
    Some(essence.trim_ascii().to_ascii_lowercase())
}

fn is_json(content_type: &[u8]) -> bool {
    content_type == b"application/json" || content_type.ends_with(b"+json")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::Request;

    use super::*;

    /// What is moved from one part to the next is another request.
    #[test]
    fn each_part_has_a_place_of_its_own() {
        let mut seen = HashSet::new();
        for payload in [Payload::Exact, Payload::Ignored] {
            for method in ["POST", "PATCH"] {
                for uri in ["/a", "/a?", "/a?b", "/a?b=c", "/ab?c", "/ab"] {
                    for content_type in [None, Some(""), Some("text/a"), Some("text/ab")] {
                        for body in ["", "a", "ab", "b"] {
                            let mut request = Request::builder().method(method).uri(uri);
                            if let Some(content_type) = content_type {
                                request = request.header("content-type", content_type);
                            }
                            let (parts, ()) = request.body(()).unwrap().into_parts();
                            let fingerprint = Coverage::Payload(payload)
                                .fingerprint(&parts, &body.into())
                                .unwrap();
                            let is_new = seen.insert(fingerprint);
                            let is_first = body.is_empty() && content_type.is_none();
                            assert_eq!(is_new, payload == Payload::Exact || is_first);
                        }
                    }
                }
            }
        }
    }

    /// Fingerprints outlive deploys: this request has this one for ever.
    #[test]
    fn the_form_is_frozen() {
        let request = Request::post("https://shop.example/pay?dry=1");
        let request = request
            .header("content-type", "Application/JSON; charset=utf-8")
            .header("if-match", "\"1\"");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let body = Bytes::from_static(br#"{"b":[1.0,null],"a":"x"}"#);
        let of = |payload| Coverage::Payload(payload).fingerprint(&parts, &body);
        let found = [Payload::Json, Payload::Exact, Payload::Ignored]
            .map(|payload| format!("{:?}", of(payload).unwrap()));
        assert_eq!(found, FROZEN);
    }

    const FROZEN: [&str; 3] = [
        "Fingerprint(1635327ead1d2f6516906d45b5994bf6)",
        "Fingerprint(5a019fe9106ba6902cbaf12e92edbe97)",
        "Fingerprint(4361b57bd4c416512475f7ce2e5a9119)",
    ];
}
