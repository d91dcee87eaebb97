//! Reads values, and says why one cannot be read without anything of what it holds.
//!
//! An error's text does not tell what of it is a value: a type's own message may look like any of serde's. So the format is
//! read through [`Reader`], whose error is made of what serde hands over apart: names that stand in the type, the kind of the
//! thing that was met, and, of everything else, nothing.

use std::{cell::Cell, fmt};

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::redact;

/// Reads a `T` from what `format` reads.
pub(super) fn read<'de, T, D>(format: D) -> Result<T, ReadError>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let carried = CarriedError::default();
    T::deserialize(Reader {
        inner: format,
        carried: &carried,
    })
}

/// Why a value cannot be read. Nothing of the value is in it.
#[derive(Debug)]
pub(super) struct ReadError(Box<str>);

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ReadError {}

impl ReadError {
    #[cold]
    fn of(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }
}

impl de::Error for ReadError {
    /// The type's own words may show the value.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::of(redact::HIDDEN)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(redact::mismatch(
            "invalid type",
            Some(kind(found)),
            &expected.to_string(),
        ))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(redact::mismatch(
            "invalid value",
            Some(kind(found)),
            &expected.to_string(),
        ))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::of(redact::mismatch(
            "invalid length",
            None,
            &expected.to_string(),
        ))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::of(format!("unknown variant{}", one_of(expected)))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::of(format!("unknown field{}", one_of(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of(format!("missing field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::of(format!("duplicate field `{field}`"))
    }
}

/// The names that stand in the type.
fn one_of(names: &'static [&'static str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => format!(", expected {one}"),
        [one, other] => format!(", expected {one} or {other}"),
        all => format!(", expected one of {}", all.join(", ")),
    }
}

/// What kind of thing was met, without what it holds.
fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "integer",
        Unexpected::Float(_) => "floating point",
        Unexpected::Char(_) => "character",
        Unexpected::Str(_) => "string",
        Unexpected::Bytes(_) => "byte array",
        Unexpected::Unit => "unit value",
        Unexpected::Option => "Option value",
        Unexpected::NewtypeStruct => "newtype struct",
        Unexpected::Seq => "sequence",
        Unexpected::Map => "map",
        Unexpected::Enum => "enum",
        Unexpected::UnitVariant => "unit variant",
        Unexpected::NewtypeVariant => "newtype variant",
        Unexpected::TupleVariant => "tuple variant",
        Unexpected::StructVariant => "struct variant",
        Unexpected::Other(_) => "something else",
    }
}

/// What the type carried last. The format's error stands between the type and whoever reads it, and can only carry a text.
#[derive(Default)]
struct CarriedError(Cell<Option<ReadError>>);

impl CarriedError {
    /// Keeps what the type carried, behind an error of the format's.
    #[cold]
    fn carry<E: de::Error>(&self, error: ReadError) -> E {
        self.0.set(Some(error));
        E::custom("")
    }

    /// What the type carried, or else what can be shown of the format's error.
    #[cold]
    fn take_or(&self, error: impl fmt::Display) -> ReadError {
        let carried = self.0.take();
        carried.unwrap_or_else(|| ReadError::of(redact::shape_of_text(&error)))
    }
}

/// Stands between a type and its format, in every place where one calls the other.
struct Reader<'s, X> {
    inner: X,
    carried: &'s CarriedError,
}

macro_rules! deserialize {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, ReadError> {
            let carried = self.carried;
            let visitor = Reader { inner: visitor, carried };
            self.inner.$method($($name,)* visitor).map_err(|error| carried.take_or(error))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Reader<'_, D> {
    type Error = ReadError;

    deserialize! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char()
        deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
        deserialize_option() deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier() deserialize_ignored_any()
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty)*) => {$(
        #[inline]
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value).map_err(|error| self.carried.carry(error))
        }
    )*};
}

macro_rules! visit_inside {
    ($($method:ident: $trait:ident)*) => {$(
        #[inline]
        fn $method<A: $trait<'de>>(self, inside: A) -> Result<V::Value, A::Error> {
            let carried = self.carried;
            let inside = Reader { inner: inside, carried };
            self.inner.$method(inside).map_err(|error| carried.carry(error))
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Reader<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool
        visit_i8: i8 visit_i16: i16 visit_i32: i32 visit_i64: i64 visit_i128: i128
        visit_u8: u8 visit_u16: u16 visit_u32: u32 visit_u64: u64 visit_u128: u128
        visit_f32: f32 visit_f64: f64 visit_char: char
        visit_str: &str visit_borrowed_str: &'de str visit_string: String
        visit_bytes: &[u8] visit_borrowed_bytes: &'de [u8] visit_byte_buf: Vec<u8>
    }

    #[inline]
    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        let carried = self.carried;
        self.inner
            .visit_none()
            .map_err(|error| carried.carry(error))
    }

    #[inline]
    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        let carried = self.carried;
        self.inner
            .visit_unit()
            .map_err(|error| carried.carry(error))
    }

    visit_inside! {
        visit_some: Deserializer
        visit_newtype_struct: Deserializer
        visit_seq: SeqAccess
        visit_map: MapAccess
        visit_enum: EnumAccess
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Reader<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, format: D) -> Result<S::Value, D::Error> {
        let carried = self.carried;
        let format = Reader {
            inner: format,
            carried,
        };
        self.inner
            .deserialize(format)
            .map_err(|error| carried.carry(error))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Reader<'_, A> {
    type Error = ReadError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        let next = self.inner.next_element_seed(seed);
        next.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Reader<'_, A> {
    type Error = ReadError;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        let next = self.inner.next_key_seed(seed);
        next.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        let next = self.inner.next_value_seed(seed);
        next.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 's, A: EnumAccess<'de>> EnumAccess<'de> for Reader<'s, A> {
    type Error = ReadError;
    type Variant = Reader<'s, A::Variant>;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        match self.inner.variant_seed(seed) {
            Ok((value, inner)) => Ok((value, Reader { inner, carried })),
            Err(error) => Err(carried.take_or(error)),
        }
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Reader<'_, A> {
    type Error = ReadError;

    #[inline]
    fn unit_variant(self) -> Result<(), ReadError> {
        let carried = self.carried;
        self.inner
            .unit_variant()
            .map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, ReadError> {
        let carried = self.carried;
        let seed = Reader {
            inner: seed,
            carried,
        };
        let value = self.inner.newtype_variant_seed(seed);
        value.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ReadError> {
        let carried = self.carried;
        let visitor = Reader {
            inner: visitor,
            carried,
        };
        let value = self.inner.tuple_variant(len, visitor);
        value.map_err(|error| carried.take_or(error))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let carried = self.carried;
        let visitor = Reader {
            inner: visitor,
            carried,
        };
        let value = self.inner.struct_variant(fields, visitor);
        value.map_err(|error| carried.take_or(error))
    }
}
