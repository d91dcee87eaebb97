//! How results become bytes.

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
/// Choose a self-describing format: records outlive deploys, and a positional one (bincode, postcard) reads a reordered
/// field into wrong data without an error.
pub trait Codec<T> {
    /// Names the format in every record; a record of another format is
    /// [`Error::Incompatible`](crate::Error::Incompatible). Below 1000 is ours. Never change it.
    const ID: u32;

    /// Appends the value's bytes.
    ///
    /// # Errors
    /// When the value has no such form. The operation has run by then: its outcome is recorded without the result.
    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads the value back.
    ///
    /// # Errors
    /// When the bytes are not such a value; the caller gets [`Error::Incompatible`](crate::Error::Incompatible).
    fn decode(bytes: &[u8]) -> Result<T, CodecError>;
}

/// The default: `MessagePack` with field names (`rmp-serde`). A field may be added with `#[serde(default)]`, reordered, or
/// left out. Addresses, UUIDs and times are written as text, as in JSON, so that they come back from inside of tagged,
/// untagged and flattened types too.
///
/// What would not come back as it is, is refused when it is encoded: `Some(())` and `Some(None)`, which would be `None`;
/// `u128` and `i128` inside of a tagged or flattened type; bytes that an untagged enum would read as text; two
/// flattened fields of one name; more than 128 levels. The call that ran the body has its result, and a retry gets
/// [`Error::NotRecorded`](crate::Error::NotRecorded). To know it, a value that has bytes, such an integer or a flattened
/// field is read back once before it is recorded.
///
/// Two values of one type that serde writes alike are the type's own matter, in every format, because nothing in the bytes
/// tells them apart. Two variants of an untagged enum: the first that fits is read. A flattened `Option` of a map, or of a
/// struct whose fields may all be missing: `None` is read as `Some` of an empty one. Several flattened `Option`s whose
/// fields have the same names: the first takes them.
#[derive(Clone, Copy, Debug)]
pub struct MessagePack;

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for MessagePack {
    // 1 was written as not human-readable.
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

fn message_pack(
    bytes: &[u8],
) -> rmp_serde::Deserializer<ReadRefReader<'_, [u8]>, HumanReadableConfig<DefaultConfig>> {
    let mut format = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    // It counts from one.
    format.set_max_depth(writer::MAX_DEPTH + 1);
    format
}

/// Why no `T` is read from this. It is read again for that, through a reader that shows nothing of what it reads: to read
/// everything so costs a replay in memory 30 ns of 220.
#[cold]
fn decode_error<'de, T: Deserialize<'de>, D: Deserializer<'de>>(format: D) -> CodecError {
    match reader::read::<T, D>(format) {
        Err(error) => error.into(),
        // A type that reads the same bytes in two ways.
        Ok(_) => CodecError::own(redact::HIDDEN),
    }
}

/// Appends `value`, which will be read as `T`.
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

/// The value that these bytes are comes back from them: it is read, and written again as the same. Why it does not, is
/// not said: the reader's text may show what it read.
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

/// How often each byte is there. A hash map's entries come in any order, which this does not see.
fn byte_counts(bytes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    counts
}

/// Nobody wrote more than the value: what has bytes behind it is damaged. The reader does not say where it stands, but
/// asking for one more value tells.
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

/// JSON: larger and slower than the default, readable with the store's own tools.
///
/// What would not come back as it is, is refused when it is encoded, as with [`MessagePack`]. That is also a number that is
/// not finite, and a map inside of a tagged or flattened type whose keys are not text.
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

/// Why a value has no bytes, or bytes no value.
pub struct CodecError {
    reason: Box<dyn error::Error + Send + Sync>,
    is_own: bool,
    /// The value has bytes, and is kept from being recorded on purpose.
    is_withheld: bool,
}

impl CodecError {
    /// Wraps an error or a text.
    ///
    /// It may quote the value. So this error's text and `Debug`, logs and records show of it only
    /// what is known to be harmless; all of it is the [source](error::Error::source).
    pub fn new(reason: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self {
            reason: reason.into(),
            is_own: false,
            is_withheld: false,
        }
    }

    /// A refusal in words of this library's own, which hold nothing of a value: it is shown whole.
    pub(crate) fn own(text: impl Into<String>) -> Self {
        Self {
            reason: text.into().into(),
            is_own: true,
            is_withheld: false,
        }
    }

    /// A value that is not to be recorded, on purpose: that is no mistake of anybody's.
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

    /// What may be shown: our own words whole, of anybody else's the harmless part.
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
    /// It is made so that nothing of the value is in it.
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

/// A codec chosen for one type, as plain functions.
pub(crate) struct Format<T> {
    pub(crate) codec: u32,
    pub(crate) encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
    pub(crate) decode: fn(&[u8]) -> Result<T, CodecError>,
    /// Whether this `Ok` value stands for a passing failure, to be released instead of recorded.
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
            decode: C::decode,
            is_transient: |_| false,
        }
    }
}
