//! Reads values, and tells why one cannot be read without showing any part of it.
//!
//! The text of a serde error does not tell which part of it is a value: a type's own message may
//! look like any of serde's. So a type is read through [`Reader`], whose error has no text of
//! others. It is made from what serde passes separately: the names in the type, and the kind of
//! what was found.
//!
//! [`Reader`] wraps every object that the type and the format pass to each other (deserializer,
//! visitor, seed, access). The format's error can carry only a text from the inner types to the
//! outer ones, so a [`ReadError`] is carried past it in a cell, [`CarriedError`].

mod wrap;

use std::{cell::Cell, fmt};

use serde::de::{self, Deserialize, Deserializer, Expected, Unexpected};

use super::redact;

/// Reads a `T` from `format`.
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

/// Why a value cannot be read. It shows no part of the value.
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
    /// The text is not shown: it is the type's own, and may show the value.
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

/// Lists the names that stand in the type.
fn one_of(names: &'static [&'static str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => format!(", expected {one}"),
        [one, other] => format!(", expected {one} or {other}"),
        all => format!(", expected one of {}", all.join(", ")),
    }
}

/// The kind of what was found, without its value.
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

/// The type's last error, on its way past the format's own error.
#[derive(Default)]
struct CarriedError(Cell<Option<ReadError>>);

impl CarriedError {
    /// Stores the type's error, and returns an error of the format in its place.
    #[cold]
    fn carry<E: de::Error>(&self, error: ReadError) -> E {
        self.0.set(Some(error));
        E::custom("")
    }

    /// The type's error if one was carried, or else what may be shown of the format's `error`.
    #[cold]
    fn take_or(&self, error: impl fmt::Display) -> ReadError {
        let carried = self.0.take();
        carried.unwrap_or_else(|| ReadError::of(redact::shape_of_text(&error)))
    }
}

/// Wraps an object that the type and the format pass to each other.
struct Reader<'s, X> {
    inner: X,
    carried: &'s CarriedError,
}
