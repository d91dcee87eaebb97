//! The serializer that writes the canonical encoding. The table in the parent module is its
//! specification.

use serde::ser::{self, Serialize};
use sha2::{Digest, Sha256};

use super::FingerprintError;
use crate::codec::number::{self, Number};

type Written = Result<(), FingerprintError>;

/// Where the encoding goes: the hash, or a map's buffer while its entries wait to be sorted.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Sha256 {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// As deeply as a value may be nested. Each level takes stack, some 1 KiB of it in a debug build,
/// and running out of it ends the process.
const MAX_DEPTH: usize = 512;

/// Writes one value.
pub(super) struct Encoder<'a> {
    sink: &'a mut dyn Sink,
    /// How many levels the value may have inside.
    levels_left: usize,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(sink: &'a mut dyn Sink) -> Self {
        Self {
            sink,
            levels_left: MAX_DEPTH,
        }
    }

    /// The level inside.
    fn enter(self) -> Result<Self, FingerprintError> {
        let Some(levels_left) = self.levels_left.checked_sub(1) else {
            return Err(FingerprintError::own(&format!(
                "it is nested more deeply than {MAX_DEPTH} levels"
            )));
        };
        Ok(Self {
            levels_left,
            ..self
        })
    }

    /// Another value of the same level.
    fn again(&mut self) -> Encoder<'_> {
        Encoder {
            sink: &mut *self.sink,
            levels_left: self.levels_left,
        }
    }

    fn sized(&mut self, tag: u8, bytes: &[u8]) {
        self.sink.put(&[tag]);
        self.sink.put(&(bytes.len() as u64).to_be_bytes());
        self.sink.put(bytes);
    }

    fn integer(self, negative: bool, magnitude: u128) {
        let mut bytes = [if negative { b'-' } else { b'+' }; 17];
        bytes[1..].copy_from_slice(&magnitude.to_be_bytes());
        self.sink.put(&bytes);
    }

    fn sequence(self) -> Result<Sequence<'a>, FingerprintError> {
        let inside = self.enter()?;
        inside.sink.put(b"[");
        Ok(Sequence { inside })
    }

    fn map(self) -> Result<Map<'a>, FingerprintError> {
        let inside = self.enter()?;
        Ok(Map {
            inside,
            entries: Vec::new(),
            starts: Vec::new(),
            key_waits: false,
            is_number: false,
        })
    }

    fn number(self, number: Number) -> Written {
        match number {
            Number::Unsigned(number) => ser::Serializer::serialize_u64(self, number),
            Number::Negative(number) => ser::Serializer::serialize_i64(self, number),
            Number::Float(number) => ser::Serializer::serialize_f64(self, number),
        }
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty, $negative:expr, $magnitude:expr;)*) => {$(
        fn $method(self, value: $type) -> Written {
            self.integer($negative(value), $magnitude(value).into());
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for Encoder<'a> {
    type Ok = ();
    type Error = FingerprintError;
    type SerializeSeq = Sequence<'a>;
    type SerializeTuple = Sequence<'a>;
    type SerializeTupleStruct = Sequence<'a>;
    type SerializeTupleVariant = Sequence<'a>;
    type SerializeMap = Map<'a>;
    type SerializeStruct = Map<'a>;
    type SerializeStructVariant = Map<'a>;

    integers! {
        serialize_i8: i8, i8::is_negative, i8::unsigned_abs;
        serialize_i16: i16, i16::is_negative, i16::unsigned_abs;
        serialize_i32: i32, i32::is_negative, i32::unsigned_abs;
        serialize_i64: i64, i64::is_negative, i64::unsigned_abs;
        serialize_i128: i128, i128::is_negative, i128::unsigned_abs;
        serialize_u8: u8, |_| false, u128::from;
        serialize_u16: u16, |_| false, u128::from;
        serialize_u32: u32, |_| false, u128::from;
        serialize_u64: u64, |_| false, u128::from;
        serialize_u128: u128, |_| false, u128::from;
    }

    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_bool(self, value: bool) -> Written {
        self.sink.put(if value { b"T" } else { b"F" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Written {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Written {
        let bits = match value {
            value if value.is_nan() => 0x7ff8_0000_0000_0000,
            0.0 => 0, // -0.0 too
            value => value.to_bits(),
        };
        self.sink.put(b".");
        self.sink.put(&bits.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Written {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(mut self, value: &str) -> Written {
        self.sized(b's', value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(mut self, value: &[u8]) -> Written {
        self.sized(b'b', value);
        Ok(())
    }

    fn serialize_none(self) -> Written {
        self.sink.put(b"N");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        self.sink.put(b"S");
        value.serialize(self.enter()?)
    }

    fn serialize_unit(self) -> Written {
        self.sink.put(b"U");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        self.serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Written {
        value.serialize(self.enter()?)
    }

    fn serialize_unit_variant(mut self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.sized(b'e', variant.as_bytes());
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        self.sized(b'v', variant.as_bytes());
        value.serialize(self.enter()?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Sequence<'a>, FingerprintError> {
        self.sequence()
    }

    fn serialize_tuple(self, _: usize) -> Result<Sequence<'a>, FingerprintError> {
        self.sequence()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Sequence<'a>, FingerprintError> {
        self.sequence()
    }

    fn serialize_tuple_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Sequence<'a>, FingerprintError> {
        self.sized(b'v', variant.as_bytes());
        self.sequence()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map<'a>, FingerprintError> {
        self.map()
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Map<'a>, FingerprintError> {
        let mut map = self.map()?;
        map.is_number = name == number::TOKEN;
        Ok(map)
    }

    fn serialize_struct_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Map<'a>, FingerprintError> {
        self.sized(b'v', variant.as_bytes());
        self.map()
    }
}

/// Between `[` and `]`.
pub(super) struct Sequence<'a> {
    inside: Encoder<'a>,
}

macro_rules! sequences {
    ($($trait:ident: $method:ident;)*) => {$(
        impl ser::$trait for Sequence<'_> {
            type Ok = ();
            type Error = FingerprintError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
                value.serialize(self.inside.again())
            }

            fn end(self) -> Written {
                self.inside.sink.put(b"]");
                Ok(())
            }
        }
    )*};
}

sequences! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

/// Between `{` and `}`: collects the entries, to write them sorted.
pub(super) struct Map<'a> {
    inside: Encoder<'a>,
    entries: Vec<u8>,
    /// Where in `entries` each key begins.
    starts: Vec<usize>,
    key_waits: bool,
    /// It may stand for a number.
    is_number: bool,
}

/// What stands before a text: its tag and its length.
const TEXT_HEAD: usize = 9;

impl Map<'_> {
    /// The number that this stands for, if a number says as much.
    fn number(&self) -> Option<Number> {
        let text = self
            .entries
            .get(TEXT_HEAD + number::TOKEN.len() + TEXT_HEAD..);
        let text = text.filter(|_| self.is_number && self.starts.len() == 1)?;
        Number::exactly(str::from_utf8(text).ok()?)
    }

    /// Writes a key or a value.
    fn entry(&mut self) -> Encoder<'_> {
        Encoder {
            sink: &mut self.entries,
            levels_left: self.inside.levels_left,
        }
    }

    fn write_sorted(self) -> Written {
        if let Some(number) = self.number() {
            return self.inside.number(number);
        }
        let sink = self.inside.sink;
        sink.put(b"{");
        if self.key_waits {
            return Err(FingerprintError::own(
                "a map ended after a key without its value",
            ));
        }
        let ends = self
            .starts
            .iter()
            .skip(1)
            .copied()
            .chain([self.entries.len()]);
        let mut sorted: Vec<&[u8]> = self
            .starts
            .iter()
            .zip(ends)
            .map(|(&start, end)| &self.entries[start..end])
            .collect();
        // No key's encoding begins another's, so this order is that of the keys.
        sorted.sort_unstable();
        for entry in sorted {
            sink.put(entry);
        }
        sink.put(b"}");
        Ok(())
    }
}

impl ser::SerializeMap for Map<'_> {
    type Ok = ();
    type Error = FingerprintError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        if std::mem::replace(&mut self.key_waits, true) {
            return Err(FingerprintError::own("a map gave a key without its value"));
        }
        self.starts.push(self.entries.len());
        key.serialize(self.entry())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        if !std::mem::replace(&mut self.key_waits, false) {
            return Err(FingerprintError::own("a map gave a value without its key"));
        }
        value.serialize(self.entry())
    }

    fn end(self) -> Written {
        self.write_sorted()
    }
}

macro_rules! structs {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Map<'_> {
            type Ok = ();
            type Error = FingerprintError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Written {
                ser::SerializeMap::serialize_entry(self, name, value)
            }

            fn end(self) -> Written {
                self.write_sorted()
            }
        }
    )*};
}

structs! { SerializeStruct SerializeStructVariant }
