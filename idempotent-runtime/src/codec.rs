//! How results become bytes.

use std::{error, fmt};

use rmp_serde::decode::ReadRefReader;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Turns values of `T` into bytes and back: what `codec = Type` takes.
///
/// Implement it for a type of your own, for every serde type or for one that has no serde:
///
/// ```
/// use idempotent_runtime::{Codec, CodecError};
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

/// How deeply values may be nested, as in JSON's usual reader: each level takes stack, of which a thread has little, and
/// running out of it ends the process.
const MAX_DEPTH: usize = 128;

/// The default: `MessagePack` with field names (`rmp-serde`). A field may be added with `#[serde(default)]`, reordered, or
/// left out.
///
/// As in every serde format without a word for it, `Some(())` and `Some(None)` come back as `None`. A value that is nested
/// more deeply than 128 levels does not come back: [`Error::Incompatible`](crate::Error::Incompatible).
#[derive(Clone, Copy, Debug)]
pub struct MessagePack;

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for MessagePack {
    const ID: u32 = 1;

    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        rmp_serde::encode::write_named(bytes, value).map_err(CodecError::new)
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
        reader.set_max_depth(MAX_DEPTH);
        let value = T::deserialize(&mut reader).map_err(CodecError::new)?;
        expect_end(&mut reader)?;
        Ok(value)
    }
}

/// Nobody wrote more than the value: what has bytes behind it is damaged. The reader does not say where it stands, but
/// asking for one more value tells.
fn expect_end(
    reader: &mut rmp_serde::Deserializer<ReadRefReader<'_, [u8]>>,
) -> Result<(), CodecError> {
    match <()>::deserialize(reader) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(error))
            if error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            Ok(())
        }
        _ => Err(CodecError::new("there are bytes behind the value")),
    }
}

/// JSON: larger and slower than the default, readable with the store's own tools.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug)]
pub struct Json;

#[cfg(feature = "json")]
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    const ID: u32 = 2;

    fn encode(value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(bytes, value).map_err(CodecError::new)
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(CodecError::new)
    }
}

/// Why a value has no bytes, or bytes no value.
#[derive(Debug)]
pub struct CodecError(Box<dyn error::Error + Send + Sync>);

impl CodecError {
    /// Wraps an error or a text.
    pub fn new(reason: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl error::Error for CodecError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source()
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
