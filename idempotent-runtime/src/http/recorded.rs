//! A response as a record has it: its status, headers, body and trailers.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{self, CONNECTION},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use super::IDEMPOTENT_REPLAYED;
use crate::{
    CodecError,
    codec::{Codec, MessagePack},
};

/// The form below, in every record.
pub(super) const CODEC: u32 = 6;

/// Headers that belong to one connection, one client or one exchange, in lower case.
const NOT_RECORDED: &[&str] = &[
    // The connection's.
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    // Who is logged in.
    "www-authenticate",
    "authentication-info",
    "set-cookie",
    "set-cookie2",
    // Made anew for each response.
    "content-length",
    "date",
    "age",
    "x-request-id",
    "request-id",
    "traceparent",
    "tracestate",
    "server-timing",
    "idempotent-replayed",
];

/// Which headers are recorded, where it is not the list above that says so.
#[derive(Clone, Debug, Default)]
pub(super) struct HeaderRules {
    pub(super) kept: Vec<HeaderName>,
    pub(super) dropped: Vec<HeaderName>,
}

impl HeaderRules {
    fn keeps(&self, name: &HeaderName) -> bool {
        if self.dropped.contains(name) {
            return false;
        }
        self.kept.contains(name) || !NOT_RECORDED.contains(&name.as_str())
    }
}

/// Appends the record of a response.
pub(super) fn encode(
    status: StatusCode,
    headers: &HeaderMap,
    body: &Bytes,
    trailers: Option<&HeaderMap>,
    rules: &HeaderRules,
    bytes: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let connection = headers.get_all(CONNECTION).iter();
    let named: Vec<_> = connection
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(|name| name.trim_ascii().to_ascii_lowercase())
        .collect();
    let is_kept = |name: &HeaderName| {
        rules.keeps(name) && !named.iter().any(|it| it == name.as_str().as_bytes())
    };
    let fields = |headers: &HeaderMap| -> Vec<(String, Raw)> {
        let kept = headers.iter().filter(|(name, _)| is_kept(name));
        kept.map(|(name, value)| {
            let value = Bytes::copy_from_slice(value.as_bytes());
            (name.as_str().to_owned(), Raw(value))
        })
        .collect()
    };
    let kept = headers.iter().filter(|(name, _)| is_kept(name)).enumerate();
    let sensitive = kept.filter(|(_, (_, value))| value.is_sensitive());
    let stored = Stored {
        status: status.as_u16(),
        headers: fields(headers),
        sensitive: sensitive.map(|(at, _)| at).collect(),
        body: Raw(body.clone()),
        trailers: trailers.map(fields).unwrap_or_default(),
    };
    bytes.reserve(body.len() + 64);
    let mut format = rmp_serde::Serializer::new(bytes).with_struct_map();
    stored.serialize(&mut format).map_err(CodecError::new)
}

/// A recorded response, with its trailers.
pub(super) fn decode(bytes: &[u8]) -> Result<(Response<Bytes>, Option<HeaderMap>), CodecError> {
    let stored: Stored = MessagePack::decode(bytes)?;
    let mut response = Response::new(stored.body.0);
    *response.status_mut() = StatusCode::from_u16(stored.status)
        .map_err(|_| CodecError::own("its status is none of HTTP's"))?;
    *response.headers_mut() = header_map(stored.headers, &stored.sensitive)?;
    let trailers = header_map(stored.trailers, &[])?;
    Ok((response, Some(trailers).filter(|it| !it.is_empty())))
}

fn header_map(fields: Vec<(String, Raw)>, sensitive: &[usize]) -> Result<HeaderMap, CodecError> {
    let mut headers = HeaderMap::with_capacity(fields.len().min(64));
    for (at, (name, value)) in fields.into_iter().enumerate() {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_maybe_shared(value.0);
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Err(CodecError::own("one of its headers is none of HTTP's"));
        };
        value.set_sensitive(sensitive.contains(&at));
        // A marker in a record would be somebody else's.
        if name != IDEMPOTENT_REPLAYED
            && name != header::CONTENT_LENGTH
            && headers.try_append(name, value).is_err()
        {
            return Err(CodecError::own("it has too many headers"));
        }
    }
    Ok(headers)
}

/// The record's form. A reader ignores names that it does not know.
#[derive(Serialize, Deserialize)]
struct Stored {
    status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, Raw)>,
    /// Which of the headers are sensitive: their `Debug` shows no value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sensitive: Vec<usize>,
    body: Raw,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<(String, Raw)>,
}

/// Bytes that are no sequence of numbers.
struct Raw(Bytes);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(RawVisitor)
    }
}

struct RawVisitor;

impl Visitor<'_> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Raw, E> {
        Ok(Raw(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Raw, E> {
        Ok(Raw(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_response_comes_back() {
        let mut sent = headers(&[
            ("content-type", b"text/plain"),
            ("link", b"<a>"),
            ("link", b"<b>"),
            ("x-bytes", b"\xff\x80"),
            ("connection", b"close, X-Hop"),
            ("x-hop", b"gone"),
            ("set-cookie", b"gone"),
            ("x-secret", b"gone"),
            ("date", b"kept"),
        ]);
        sent.get_mut("x-bytes").unwrap().set_sensitive(true);
        let trailers = headers(&[("x-sum", b"1"), ("x-hop", b"gone")]);
        let rules = HeaderRules {
            kept: vec![header::DATE],
            dropped: vec![HeaderName::from_static("x-secret")],
        };
        let (body, mut bytes) = (Bytes::from_static(b"\x00\xff"), Vec::new());
        encode(
            StatusCode::ACCEPTED,
            &sent,
            &body,
            Some(&trailers),
            &rules,
            &mut bytes,
        )
        .unwrap();
        let (response, found) = decode(&bytes).unwrap();
        assert_eq!(
            (response.status(), response.body()),
            (StatusCode::ACCEPTED, &body)
        );
        let expected = headers(&[
            ("content-type", b"text/plain"),
            ("link", b"<a>"),
            ("link", b"<b>"),
            ("x-bytes", b"\xff\x80"),
            ("date", b"kept"),
        ]);
        assert_eq!(response.headers(), &expected);
        for (name, value) in response.headers() {
            assert_eq!(value.is_sensitive(), name == "x-bytes", "{name}");
        }
        assert_eq!(found, Some(headers(&[("x-sum", b"1")])));
    }

    /// Records outlive deploys: these bytes are read for ever.
    #[test]
    fn the_form_is_frozen() {
        let bytes = b"\x83\xa6status\xcc\xc9\xa7headers\x91\x92\xa1a\xc4\x01b\xa4body\xc4\x02ok";
        let (response, trailers) = decode(bytes).unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.body()[..]),
            (201, &b"ok"[..])
        );
        assert_eq!(
            (&response.headers()["a"], trailers),
            (&HeaderValue::from_static("b"), None)
        );
        let mut written = Vec::new();
        let rules = HeaderRules::default();
        let (parts, body) = response.into_parts();
        encode(
            parts.status,
            &parts.headers,
            &body,
            None,
            &rules,
            &mut written,
        )
        .unwrap();
        assert_eq!(written, bytes);
        let later = b"\x83\xa6status\xcc\xc9\xa4body\xc4\x00\xa5later\x01";
        assert!(decode(later).is_ok(), "a name that is not known");
    }

    #[test]
    fn damage_is_an_error() {
        for bytes in [
            &b""[..],
            b"\x82\xa6status\x01\xa4body\xc4\x00",
            b"\x81\xa6status\xcc\xc9",
            b"\x82\xa6status\xcc\xc9\xa4body\xa0x",
            b"\x83\xa6status\xcc\xc9\xa7headers\x91\x92\xa3a b\xc4\x01b\xa4body\xc4\x00",
            b"\x83\xa6status\xcc\xc9\xa7headers\x91\x92\xa1a\xc4\x01\n\xa4body\xc4\x00",
        ] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
