//! axum's response types as results, if they carry data that can be replayed.
//!
//! A response that says "try again" (5xx, 408, 425, 429) is returned to the caller and not
//! recorded, and the key is released. Under `on_crash = fail` the key is in doubt instead, unless
//! `on_err = rerun` says that nothing happened.

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::result::Recorded;
use crate::{
    Codec, CodecError,
    codec::{self, MessagePack},
};

/// The marker of the implementations for axum's types, found by inference.
#[cfg(feature = "axum")]
#[derive(Clone, Copy, Debug)]
pub struct Axum;

/// The recorded form of a response. It is the same for all three types, so that a function may add
/// headers later.
#[derive(Serialize, Deserialize)]
struct Parts<T> {
    status: u16,
    #[serde(default)]
    headers: Vec<(String, Vec<u8>)>,
    /// The indexes of the headers that are sensitive: their `Debug` shows no value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sensitive: Vec<usize>,
    body: T,
}

// 3 was written as not human-readable.
const CODEC: u32 = 5;

fn encode<T: Serialize + DeserializeOwned>(
    status: StatusCode,
    headers: Option<&HeaderMap>,
    body: &T,
    bytes: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let all = || headers.into_iter().flatten();
    let sensitive = all()
        .enumerate()
        .filter(|(_, (_, value))| value.is_sensitive());
    let sensitive = sensitive.map(|(at, _)| at).collect();
    let headers = all()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    let parts = Parts {
        status: status.as_u16(),
        headers,
        sensitive,
        body,
    };
    codec::encode_as::<Parts<T>, _>(&parts, bytes)
}

fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
) -> Result<(StatusCode, HeaderMap, T), CodecError> {
    let parts: Parts<T> = MessagePack::decode(bytes)?;
    let mut headers = HeaderMap::new();
    for (at, (name, value)) in parts.headers.into_iter().enumerate() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(CodecError::new)?;
        let mut value = HeaderValue::from_bytes(&value).map_err(CodecError::new)?;
        value.set_sensitive(parts.sensitive.contains(&at));
        headers.append(name, value);
    }
    Ok((
        StatusCode::from_u16(parts.status).map_err(CodecError::new)?,
        headers,
        parts.body,
    ))
}

fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        )
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Recorded<Axum> for Json<T> {
    const CODEC: u32 = CODEC;

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        encode(StatusCode::OK, None, &self.0, bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes).map(|(_, _, body)| Self(body))
    }

    /// The value without the `Json` around it. The other types have a status too, which that does not
    /// tell.
    fn decode_from(codec: u32, bytes: &[u8]) -> Option<Result<Self, CodecError>> {
        (codec == <MessagePack as Codec<T>>::ID).then(|| MessagePack::decode(bytes).map(Self))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Recorded<Axum> for (StatusCode, Json<T>) {
    const CODEC: u32 = CODEC;

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        encode(self.0, None, &self.1.0, bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes).map(|(status, _, body)| (status, Json(body)))
    }

    fn is_transient(&self) -> bool {
        is_transient(self.0)
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Recorded<Axum> for (StatusCode, HeaderMap, Json<T>) {
    const CODEC: u32 = CODEC;

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        encode(self.0, Some(&self.1), &self.2.0, bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes).map(|(status, headers, body)| (status, headers, Json(body)))
    }

    fn is_transient(&self) -> bool {
        is_transient(self.0)
    }
}
