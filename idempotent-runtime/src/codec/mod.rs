//! How results become bytes, and are read back.
//!
//! `MessagePack` is written by `writer`, which refuses what would not be read back as it is. It is
//! read by `plain`, which is fast and knows the common part, and otherwise by `rmp-serde`. If
//! neither can read it, `reader` tells why, without showing the value.

mod depth;
pub(crate) mod number;
mod plain;
#[cfg(test)]
mod plain_tests;
mod reader;
pub(crate) mod redact;
#[cfg(test)]
mod tests;
mod writer;

use std::{error, fmt};

use rmp_serde::{
    config::{DefaultConfig, HumanReadableConfig},
    decode::ReadRefReader,
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

/// Turns values of `T` into bytes and back: what `codec = Type` takes.
///
/// Implement it for a type of your own, for every serde type or for one that has no serde:
///
/// ```
/// use idempotent_fn::codec::{Codec, CodecError};
///
/// struct Plain;
///
/// impl Codec<std::net::IpAddr> for Plain {
///     const ID: u32 = 1001;
///     fn encode(value: &std::net::IpAddr, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
///         bytes.extend(value.to_string().into_bytes());
///         Ok(())
///     }
///     fn decode(bytes: &[u8]) -> Result<std::net::IpAddr, CodecError> {
///         std::str::from_utf8(bytes).map_err(CodecError::new)?.parse().map_err(CodecError::new)
///     }
/// }
/// ```
///
/// Choose a self-describing format, because records outlive deploys. A positional one (bincode,
/// postcard) reads a reordered field as wrong data, without an error.
pub trait Codec<T> {
    /// The id of the format, which every record has. To a function with another codec, the record
    /// is [`Error::Incompatible`](crate::Error::Incompatible). Numbers below 1000 are this
    /// library's own. Never change it.
    const ID: u32;

    /// Appends the value's bytes.
    ///
    /// # Errors
    /// If the value has no form in this format. The operation has run by then: its outcome is
    /// recorded without the result.
    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads the value back.
    ///
    /// # Errors
    /// If the bytes are no `T`. The caller gets
    /// [`Error::Incompatible`](crate::Error::Incompatible).
    fn decode(bytes: &[u8]) -> Result<T, CodecError>;
}

/// The default: `MessagePack` with field names (`rmp-serde`). A field may be added with
/// `#[serde(default)]`, reordered, or left out. Addresses, UUIDs and times are written as text, as
/// in JSON, so that they are also read back from inside tagged, untagged and flattened types.
///
/// A value that would not be read back as it is, is refused when it is encoded:
///
/// - `Some(())` and `Some(None)`, which would be read as `None`
/// - `u128` and `i128` inside a tagged or flattened type
/// - bytes that an untagged enum would read as text
/// - two flattened fields of one name
/// - more than 128 levels
///
/// The call that ran the body has its result, and a retry gets
/// [`Error::NotRecorded`](crate::Error::NotRecorded). To find out, a value with bytes, with such an
/// integer or with a flattened field is read back once before it is recorded.
///
/// In every format, serde may write two values of one type alike. Nothing in the bytes tells them
/// apart, so the type has to avoid it:
///
/// - two variants of an untagged enum: the first that fits is read
/// - a flattened `Option` of a map, or of a struct whose fields may all be missing: `None` is read
///   as `Some` of an empty one
/// - several flattened `Option`s whose fields have the same names: the first takes them
#[derive(Clone, Copy, Debug)]
pub struct MessagePack;

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for MessagePack {
    // 1 was its form when it was not human-readable. It is not used again.
    const ID: u32 = 4;

    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        encode_as::<T, T>(value, bytes)
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        if !depth::is_bounded(bytes) {
            return Err(CodecError::own("it is nested too deeply"));
        }
        if let Some(value) = plain::read(bytes) {
            return Ok(value);
        }
        let mut format = message_pack(bytes);
        let Ok(value) = T::deserialize(&mut format) else {
            return Err(decode_error::<T, _>(&mut message_pack(bytes)));
        };
        check_end(&mut format)?;
        Ok(value)
    }
}

/// The reader of `rmp-serde`, with our limit of depth.
fn message_pack(
    bytes: &[u8],
) -> rmp_serde::Deserializer<ReadRefReader<'_, [u8]>, HumanReadableConfig<DefaultConfig>> {
    let mut format = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    // Its limit counts from one.
    format.set_max_depth(writer::MAX_DEPTH + 1);
    format
}

/// The reason why no `T` can be read from `format`. It reads again, through [`reader`], which shows
/// no part of the value. The first reading does not use that reader, because it would cost a replay
/// in memory 30 ns of 220.
#[cold]
fn decode_error<'de, T: Deserialize<'de>, D: Deserializer<'de>>(format: D) -> CodecError {
    match reader::read::<T, D>(format) {
        Err(error) => error.into(),
        // The type reads the same bytes differently the second time.
        Ok(_) => CodecError::own(redact::HIDDEN),
    }
}

/// Appends `value` as `MessagePack`. It will be read as a `T`.
pub(crate) fn encode_as<T, V>(value: &V, bytes: &mut Vec<u8>) -> Result<(), CodecError>
where
    T: Serialize + DeserializeOwned,
    V: Serialize + ?Sized,
{
    let start = bytes.len();
    if writer::write(value, bytes)? {
        let write = |value: &T, bytes: &mut Vec<u8>| writer::write(value, bytes).is_ok();
        check_round_trip(&bytes[start..], MessagePack::decode, write)?;
    }
    Ok(())
}

/// Checks that a value can be read from `bytes` and is written as the same bytes again. An error
/// does not give the reader's reason, which may show the value.
fn check_round_trip<T>(
    bytes: &[u8],
    decode: fn(&[u8]) -> Result<T, CodecError>,
    write: impl FnOnce(&T, &mut Vec<u8>) -> bool,
) -> Result<(), CodecError> {
    let value = decode(bytes).map_err(|_| CodecError::own("it would not be read back"))?;
    let mut again = Vec::with_capacity(bytes.len());
    if write(&value, &mut again) && (again == bytes || byte_counts(&again) == byte_counts(bytes)) {
        Ok(())
    } else {
        Err(CodecError::own("it would come back as another value"))
    }
}

/// How often each byte occurs. It is the same for any order of entries, which differs between two
/// writings of a hash map.
fn byte_counts(bytes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    counts
}

/// Checks that no bytes are left: a record with bytes behind its value is damaged. The reader does
/// not tell its position, so this tries to read one more value.
fn check_end<C: rmp_serde::config::SerializerConfig>(
    reader: &mut rmp_serde::Deserializer<ReadRefReader<'_, [u8]>, C>,
) -> Result<(), CodecError> {
    match <()>::deserialize(reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(error))
            if error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            Ok(())
        }
        _ => Err(CodecError::own("there are bytes behind the value")),
    }
}

/// JSON: larger and slower than the default, but readable with the store's own tools.
///
/// As with [`MessagePack`], a value that would not be read back as it is, is refused when it is
/// encoded. Here that includes a number that is not finite, and a map inside a tagged or flattened
/// type whose keys are not text.
///
/// ```
/// # use idempotent_fn::{Error, codec, idempotent};
/// #[idempotent(key = order, codec = codec::Json)]
/// async fn charge(order: u64) -> Result<String, Error> {
///     Ok(format!("receipt {order}"))
/// }
/// # let _ = charge;
/// ```
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug)]
pub struct Json;

#[cfg(feature = "json")]
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    const ID: u32 = 2;

    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        let is_doubtful = writer::check_for_json(value)?;
        let start = bytes.len();
        serde_json::to_writer(&mut *bytes, value).map_err(CodecError::new)?;
        if is_doubtful {
            let write =
                |value: &T, bytes: &mut Vec<u8>| serde_json::to_writer(bytes, value).is_ok();
            check_round_trip(&bytes[start..], Self::decode, write)?;
        }
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        let mut format = serde_json::Deserializer::from_slice(bytes);
        let Ok(value) = T::deserialize(&mut format) else {
            let again = &mut serde_json::Deserializer::from_slice(bytes);
            return Err(decode_error::<T, _>(again));
        };
        format.end().map_err(CodecError::new)?;
        Ok(value)
    }
}

/// The reason why a value could not be encoded or decoded.
pub struct CodecError {
    reason: Box<dyn error::Error + Send + Sync>,
    is_own: bool,
    /// Whether the value could be encoded, and its codec withholds it on purpose.
    is_withheld: bool,
}

impl CodecError {
    /// Wraps an error or a text.
    ///
    /// It may quote the value. So this error's text and its `Debug`, logs and records show only the
    /// part that is known to be harmless. The whole is the [source](error::Error::source).
    pub fn new(reason: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self {
            reason: reason.into(),
            is_own: false,
            is_withheld: false,
        }
    }

    /// A refusal in this library's own words, which show no value. It is shown whole.
    pub(crate) fn own(text: impl Into<String>) -> Self {
        Self {
            reason: text.into().into(),
            is_own: true,
            is_withheld: false,
        }
    }

    /// A value that is withheld from the record on purpose. That is nobody's mistake.
    #[cfg(feature = "http")]
    pub(crate) fn withheld(why: &'static str) -> Self {
        Self {
            is_withheld: true,
            ..Self::own(why)
        }
    }

    pub(crate) fn is_withheld(&self) -> bool {
        self.is_withheld
    }

    /// What may be shown: our own text whole, and the harmless part of anybody else's.
    pub(crate) fn shape(&self) -> String {
        if self.is_own {
            return self.reason.to_string();
        }
        match self.reason.downcast_ref::<Self>() {
            Some(wrapped) => wrapped.shape(),
            None => redact::shape_of_text(&self.reason),
        }
    }
}

impl From<writer::Refused> for CodecError {
    fn from(refused: writer::Refused) -> Self {
        if refused.is_own {
            Self::own(refused.reason)
        } else {
            Self::new(refused)
        }
    }
}

impl From<reader::ReadError> for CodecError {
    /// The text shows no part of the value.
    fn from(error: reader::ReadError) -> Self {
        Self::own(error.to_string())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shape())
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CodecError").field(&self.shape()).finish()
    }
}

impl error::Error for CodecError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&*self.reason)
    }
}

type Decode<T> = fn(u32, &[u8]) -> Option<Result<T, CodecError>>;

/// A codec for one type, as plain functions.
pub(crate) struct Format<T> {
    pub(crate) codec: u32,
    pub(crate) encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
    /// Reads what the codec with this id has written; `None` if those bytes do not tell this value.
    pub(crate) decode: Decode<T>,
    /// See [`Recorded::is_transient`](crate::operation::Recorded::is_transient).
    pub(crate) is_transient: fn(&T) -> bool,
}

impl<T> Clone for Format<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Format<T> {}

impl<T> Format<T> {
    pub(crate) fn of<C: Codec<T>>() -> Self {
        Self {
            codec: C::ID,
            encode: C::encode,
            decode: |codec, bytes| (codec == C::ID).then(|| C::decode(bytes)),
            is_transient: |_| false,
        }
    }
}
