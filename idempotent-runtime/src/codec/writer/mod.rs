//! Writes values as `MessagePack`, and refuses those that would not come back as they are.
//!
//! What serde buffers before it knows the type (untagged, internally and adjacently tagged enums, `flatten`) is always read
//! as human-readable, so everything is written so: an address is text inside an enum and outside.
//!
//! Three kinds of values are told apart:
//!
//! | the value | what happens |
//! |---|---|
//! | surely comes back | it is written |
//! | surely does not: `Some(None)`, too deep, a length that is a lie | it is refused here |
//! | may not, which only the type knows: bytes, `u128` and `i128`, `flatten` | it is written and said to be doubtful: the caller reads it back |

mod compound;

use std::fmt;

use rmp::encode;
use serde::ser::{self, Serialize};

use self::compound::{Entries, Fields, Shape};
use super::number::{self, Number};

/// As deeply as values may be nested. Each level takes stack when it is read, and running out of it ends the process.
pub(super) const MAX_DEPTH: usize = 128;

/// Appends `value`. True: it may not come back as it is, and has to be read to know.
pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    bytes: &mut Vec<u8>,
) -> Result<bool, Refused> {
    Writer::new(bytes, Target::MessagePack).write_whole(value)
}

/// The same for a value that JSON is to carry; nothing is written.
#[cfg(feature = "json")]
pub(super) fn check_for_json<T: Serialize + ?Sized>(value: &T) -> Result<bool, Refused> {
    Writer::new(&mut Vec::new(), Target::Json).write_whole(value)
}

/// Why a value is not written.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Box<str>,
    /// The words are ours, and not of somebody's `Serialize`: they may be shown.
    pub(super) is_own: bool,
}

impl Refused {
    #[cold]
    fn own(reason: impl fmt::Display) -> Self {
        Self {
            reason: reason.to_string().into(),
            is_own: true,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self {
            reason: reason.to_string().into(),
            is_own: false,
        }
    }
}

type Written = Result<(), Refused>;

const NIL: u8 = 0xc0;
const OTHER_LENGTH: &str = "its `Serialize` says another length than it gives";

/// Where the value goes in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    MessagePack,
    #[cfg(feature = "json")]
    Json,
}

impl Target {
    fn max_depth(self) -> usize {
        match self {
            Self::MessagePack => MAX_DEPTH,
            // `serde_json` reads one level less than the 128 that it counts down from.
            #[cfg(feature = "json")]
            Self::Json => MAX_DEPTH - 1,
        }
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    target: Target,
    depth: usize,
    /// Only the type knows whether it comes back.
    is_doubtful: bool,
    /// A `Serialize` implementation may pass over an error that it got, and leave half a value behind.
    has_refused: bool,
}

/// Writing to a vector cannot fail; the markers' functions do not know it.
fn infallible<T, E>(_: Result<T, E>) {}

impl<'a> Writer<'a> {
    fn new(out: &'a mut Vec<u8>, target: Target) -> Self {
        Self {
            out,
            target,
            depth: 0,
            is_doubtful: false,
            has_refused: false,
        }
    }

    fn write_whole<T: Serialize + ?Sized>(mut self, value: &T) -> Result<bool, Refused> {
        value.serialize(&mut self)?;
        if self.has_refused || self.depth != 0 {
            return Err(Refused::own("its `Serialize` went on after an error"));
        }
        Ok(self.is_doubtful)
    }

    #[cold]
    fn refuse(&mut self, reason: impl fmt::Display) -> Refused {
        self.has_refused = true;
        Refused::own(reason)
    }

    #[inline]
    fn enter(&mut self) -> Written {
        self.depth += 1;
        let limit = self.target.max_depth();
        if self.depth > limit {
            return Err(self.refuse(format_args!("it is nested more deeply than {limit} levels")));
        }
        Ok(())
    }

    #[inline]
    fn write_header(&mut self, shape: Shape, len: usize) -> Written {
        let Ok(len) = u32::try_from(len) else {
            return Err(self.refuse("it has too many entries"));
        };
        match shape {
            Shape::Sequence => infallible(encode::write_array_len(self.out, len)),
            Shape::Map => infallible(encode::write_map_len(self.out, len)),
        }
        Ok(())
    }

    /// Names are short, and there are many.
    #[inline]
    fn write_text(&mut self, text: &str) {
        match u8::try_from(text.len()) {
            Ok(len @ 0..=31) => {
                self.out.push(0xa0 | len);
                self.out.extend_from_slice(text.as_bytes());
            }
            _ => infallible(encode::write_str(self.out, text)),
        }
    }

    /// Begins `shape`. Where the length is not said, its header is put in at the end.
    #[inline]
    fn begin<'w>(
        &'w mut self,
        shape: Shape,
        declared: Option<usize>,
    ) -> Result<Entries<'w, 'a>, Refused> {
        self.enter()?;
        let at = self.out.len();
        if let Some(len) = declared {
            self.write_header(shape, len)?;
        }
        Ok(Entries {
            writer: self,
            shape,
            declared,
            at,
            levels: 1,
            count: 0,
            first_key: 0..0,
        })
    }

    /// Begins a struct.
    #[inline]
    fn begin_fields<'w>(&'w mut self, len: usize) -> Result<Fields<'w, 'a>, Refused> {
        self.enter()?;
        let at = self.out.len();
        self.write_header(Shape::Map, len)?;
        Ok(Fields {
            writer: self,
            at,
            left: len,
            first: None,
            levels: 1,
            is_number: false,
        })
    }

    /// A variant with data is a map of one entry: its name and the data.
    fn begin_variant(&mut self, variant: &str) -> Written {
        self.enter()?;
        infallible(encode::write_map_len(self.out, 1));
        infallible(encode::write_str(self.out, variant));
        Ok(())
    }

    /// Writes, in place of the map that stands from `at` on, the number whose text is the map's only value, if a number
    /// says as much.
    fn replace_by_number(&mut self, at: usize) {
        use rmp::decode::read_str_from_slice;
        let entry = read_str_from_slice(self.out.get(at + 1..).unwrap_or_default());
        let value = entry.and_then(|(_, rest)| read_str_from_slice(rest));
        let Some(number) = value.ok().and_then(|(value, _)| Number::exactly(value)) else {
            self.is_doubtful = true;
            return;
        };
        self.out.truncate(at);
        match number {
            Number::Unsigned(number) => infallible(encode::write_uint(self.out, number)),
            Number::Negative(number) => infallible(encode::write_sint(self.out, number)),
            Number::Float(number) => infallible(encode::write_f64(self.out, number)),
        }
    }

    /// Names such as `$serde_json::private::RawValue` are words between a type and one format; this one does not know them.
    fn check_name(&mut self, name: &str) {
        self.is_doubtful |= name.starts_with(['$', '_']);
    }

    /// Refuses a float that the format has no word for.
    #[cfg(feature = "json")]
    fn check_finite(&mut self, is_finite: bool) -> Written {
        if self.target == Target::Json && !is_finite {
            return Err(self.refuse("JSON has no word for a number that is not finite"));
        }
        Ok(())
    }
}

macro_rules! small_integers {
    ($($method:ident: $type:ty => $write:ident)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Written {
            infallible(encode::$write(self.out, value.into()));
            Ok(())
        }
    )*};
}

impl<'w, 'a> ser::Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Entries<'w, 'a>;
    type SerializeTuple = Entries<'w, 'a>;
    type SerializeTupleStruct = Entries<'w, 'a>;
    type SerializeTupleVariant = Entries<'w, 'a>;
    type SerializeMap = Entries<'w, 'a>;
    type SerializeStruct = Fields<'w, 'a>;
    type SerializeStructVariant = Fields<'w, 'a>;

    small_integers! {
        serialize_i8: i8 => write_sint
        serialize_i16: i16 => write_sint
        serialize_i32: i32 => write_sint
        serialize_i64: i64 => write_sint
        serialize_u8: u8 => write_uint
        serialize_u16: u16 => write_uint
        serialize_u32: u32 => write_uint
        serialize_u64: u64 => write_uint
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_i128(self, value: i128) -> Written {
        self.serialize_bytes(&value.to_be_bytes())
    }

    fn serialize_u128(self, value: u128) -> Written {
        self.serialize_bytes(&value.to_be_bytes())
    }

    fn serialize_bool(self, value: bool) -> Written {
        infallible(encode::write_bool(self.out, value));
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Written {
        infallible(encode::write_f32(self.out, value));
        #[cfg(feature = "json")]
        self.check_finite(value.is_finite())?;
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Written {
        infallible(encode::write_f64(self.out, value));
        #[cfg(feature = "json")]
        self.check_finite(value.is_finite())?;
        Ok(())
    }

    fn serialize_char(self, value: char) -> Written {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Written {
        if u32::try_from(value.len()).is_err() {
            return Err(self.refuse("it is too long"));
        }
        self.write_text(value);
        Ok(())
    }

    /// Doubtful: an untagged enum may read them as text, and buffered integers of 128 bits are not read from them.
    fn serialize_bytes(self, value: &[u8]) -> Written {
        if u32::try_from(value.len()).is_err() {
            return Err(self.refuse("it is too long"));
        }
        self.is_doubtful = true;
        infallible(encode::write_bin(self.out, value));
        Ok(())
    }

    fn serialize_none(self) -> Written {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        let at = self.out.len();
        value.serialize(&mut *self)?;
        if self.out[at..] == [NIL] {
            let reason = "it has a `Some` of nothing (`Some(None)`, `Some(())`), which would come back as `None`";
            return Err(self.refuse(reason));
        }
        Ok(())
    }

    fn serialize_unit(self) -> Written {
        self.out.push(NIL);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Written {
        self.check_name(name);
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        self.begin_variant(variant)?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Entries<'w, 'a>, Refused> {
        self.begin(Shape::Sequence, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Entries<'w, 'a>, Refused> {
        self.begin(Shape::Sequence, Some(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Entries<'w, 'a>, Refused> {
        self.check_name(name);
        self.begin(Shape::Sequence, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Entries<'w, 'a>, Refused> {
        self.begin_variant(variant)?;
        Ok(self.begin(Shape::Sequence, Some(len))?.of_variant())
    }

    /// A struct with flattened fields is a map whose length is not said: two of its fields may have one name.
    fn serialize_map(self, len: Option<usize>) -> Result<Entries<'w, 'a>, Refused> {
        self.is_doubtful |= len.is_none();
        self.begin(Shape::Map, len)
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Fields<'w, 'a>, Refused> {
        let is_number = name == number::TOKEN && len == 1 && self.target == Target::MessagePack;
        if !is_number {
            self.check_name(name);
        }
        let mut fields = self.begin_fields(len)?;
        fields.is_number = is_number;
        Ok(fields)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'w, 'a>, Refused> {
        self.begin_variant(variant)?;
        let mut fields = self.begin_fields(len)?;
        fields.levels = 2;
        Ok(fields)
    }
}
