//! What may be shown of an error about a value: its shape, and never the value.
//!
//! serde's texts quote what they found ("unknown variant `…`", "invalid type: string \"…\""), and
//! results are as personal as keys. So only known texts pass: the kind of the error, the kind of
//! what was found, and what the type expected. All other text of a `Serialize`, a `Deserialize` or
//! a codec stays out of logs, errors and records.

use std::fmt::Display;

use crate::CodecError;

/// Replaces a text that may show a value.
pub(crate) const HIDDEN: &str = "the reason may show a value, so it is not shown";

/// serde's names for the kinds of what was found.
const KINDS: &[&str] = &[
    "boolean",
    "integer",
    "floating point",
    "character",
    "string",
    "byte array",
    "unit value",
    "Option value",
    "newtype struct",
    "sequence",
    "map",
    "enum",
    "unit variant",
    "newtype variant",
    "tuple variant",
    "struct variant",
    "null",
];

/// Texts of `rmp-serde` and `serde_json` that show no value. This library's own texts are told by
/// their type.
const HARMLESS: &[&str] = &[
    "depth limit exceeded",
    "attempt to serialize struct, sequence or map with unknown length",
    "invalid value write",
    "out of range integral type conversion attempted",
    "wrong msgpack marker",
    "IO error while reading marker",
    "IO error while reading data",
    "EOF while parsing",
    "expected value",
    "expected ident",
    "trailing characters",
    "trailing comma",
    "key must be a string",
    "number out of range",
    "recursion limit exceeded",
    "invalid number",
    "invalid utf-8 sequence",
    "i128 is not supported",
    "u128 is not supported",
];

/// What types expect: how serde's own text begins, and what is shown for it. What comes after the
/// beginning may be anybody's text.
const EXPECTED: &[(&str, &str)] = &[
    ("a string", "a string"),
    ("a borrowed string", "a string"),
    ("a character", "a character"),
    ("a boolean", "a boolean"),
    ("a sequence", "a sequence"),
    ("a map", "a map"),
    ("a tuple", "a tuple"),
    ("an array", "an array"),
    ("an empty array", "an empty array"),
    ("a byte array", "a byte array"),
    ("a borrowed byte array", "a byte array"),
    ("a nonzero", "a number that is not zero"),
    ("unit variant", "a variant"),
    ("newtype variant", "a variant"),
    ("tuple variant", "a variant"),
    ("struct variant", "a variant"),
    ("variant i", "a variant"),
    ("field i", "a field"),
    ("unit struct", "a struct"),
    ("tuple struct", "a struct"),
    ("struct", "a struct"),
    ("enum", "an enum"),
    ("internally tagged enum", "an enum"),
    ("adjacently tagged enum", "an enum"),
    ("unit", "a unit"),
    ("option", "an option"),
    ("i8", "i8"),
    ("i16", "i16"),
    ("i32", "i32"),
    ("i64", "i64"),
    ("i128", "i128"),
    ("isize", "isize"),
    ("u8", "u8"),
    ("u16", "u16"),
    ("u32", "u32"),
    ("u64", "u64"),
    ("u128", "u128"),
    ("usize", "usize"),
    ("f32", "f32"),
    ("f64", "f64"),
    ("IP", "an IP address"),
    ("IPv4", "an IP address"),
    ("IPv6", "an IP address"),
    ("path", "a path"),
    ("UUID", "a UUID"),
];

/// What may be shown of an error of this library or of a codec.
pub(crate) fn shape_of(error: &CodecError) -> String {
    error.shape()
}

/// What may be shown of somebody's text. The text may imitate any other, so only texts from this
/// file are shown.
pub(crate) fn shape_of_text(error: &impl Display) -> String {
    let text = error.to_string();
    let text = text.as_str();
    for (start, found) in [
        ("invalid type", true),
        ("invalid value", true),
        ("invalid length", false),
        ("unknown variant", false),
        ("unknown field", false),
    ] {
        if let Some(rest) = text.strip_prefix(start) {
            let found = found.then(|| kind(rest)).flatten();
            let expected = rest.rsplit_once(", expected ");
            return mismatch(start, found, expected.map_or("", |(_, expected)| expected));
        }
    }
    for start in ["missing field", "duplicate field"] {
        if text.starts_with(start) {
            return start.to_owned();
        }
    }
    let harmless = HARMLESS
        .iter()
        .find(|harmless| text.starts_with(**harmless));
    (*harmless.unwrap_or(&HIDDEN)).to_owned()
}

/// A text of what was found and what was expected, as far as that is known.
pub(crate) fn mismatch(what: &str, found: Option<&'static str>, expected: &str) -> String {
    let found = found.map_or_else(String::new, |kind| format!(": {kind}"));
    let known = EXPECTED
        .iter()
        .filter(|(start, _)| expected.starts_with(start))
        .max_by_key(|(start, _)| start.len());
    let expected = known.map_or_else(String::new, |(_, shown)| format!(", expected {shown}"));
    format!("{what}{found}{expected}")
}

/// The kind of what was found, in `: string "…", expected …`.
fn kind(rest: &str) -> Option<&'static str> {
    let found = rest.strip_prefix(": ")?;
    KINDS.iter().find(|kind| found.starts_with(**kind)).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::{
        Deserialize,
        de::{DeserializeOwned, Error, Unexpected, value},
    };

    use super::*;

    const SECRET: &str = "SecretPatientName";

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read by serde")]
    struct Receipt {
        id: u64,
        state: State,
    }

    #[derive(Debug, Deserialize)]
    enum State {
        Paid,
        Open,
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Checked;

    impl TryFrom<String> for Checked {
        type Error = String;

        fn try_from(text: String) -> Result<Self, String> {
            Err(format!("missing patient {text}"))
        }
    }

    #[derive(Debug, Deserialize)]
    enum Never {}

    fn shape<T: DeserializeOwned + std::fmt::Debug>(written: &impl serde::Serialize) -> String {
        let bytes = rmp_serde::to_vec_named(written).expect("it is encoded");
        let error = rmp_serde::from_slice::<T>(&bytes).expect_err("it is not of this type");
        let shape = shape_of_text(&error);
        assert!(
            !shape.contains("Secret") && !shape.contains("4711"),
            "{error} became {shape}"
        );
        shape
    }

    #[test]
    fn no_value_is_shown_whatever_is_wrong_with_it() {
        let trap = format!("{SECRET}`, expected {SECRET}");
        for text in [SECRET, &trap, "SecretPatientName\", expected Secret"] {
            shape::<u64>(&text);
            shape::<State>(&text);
            shape::<Never>(&text);
            shape::<Checked>(&text);
            shape::<Receipt>(&HashMap::from([(text, 1)]));
            shape::<Vec<u8>>(&text);
            shape::<std::net::IpAddr>(&text);
            shape::<char>(&text);
            shape::<(u8, u8)>(&[text, text, text]);
        }
        for number in [4711_u64, u64::MAX] {
            shape::<String>(&number);
            shape::<u8>(&number);
            shape::<State>(&number);
            shape::<std::num::NonZeroU8>(&number);
        }
        shape::<bool>(&4711.5_f64);
        for (unexpected, expected) in [
            (Unexpected::Other(SECRET), "a pair"),
            (Unexpected::Str(SECRET), "a pair"),
            (Unexpected::Char('x'), "a pair"),
        ] {
            let error: value::Error = Error::invalid_value(unexpected, &expected);
            // What was expected may be anybody's words.
            assert!(shape_of_text(&error).starts_with("invalid value"));
            assert!(!shape_of_text(&error).contains("pair"));
        }
        let custom: value::Error = Error::custom(format_args!("no such patient: {SECRET}"));
        assert_eq!(shape_of_text(&custom), HIDDEN);
    }

    #[test]
    fn of_somebodys_text_only_words_of_our_own_are_shown() {
        assert_eq!(
            shape::<String>(&4711),
            "invalid type: integer, expected a string"
        );
        assert_eq!(shape::<State>(&SECRET), "unknown variant");
        let other = HashMap::from([("id", 1)]);
        assert_eq!(shape::<Receipt>(&other), "missing field");
        let more = HashMap::from([(SECRET, 1)]);
        assert_eq!(shape::<Receipt>(&more), "unknown field");
    }
}
