//! What may be said of a value that is not as it should be: its shape, and never what it holds.
//!
//! serde's texts quote what they met ("unknown variant `…`", "invalid type: string \"…\""), and results are as personal as
//! keys are. So only what is known to be harmless passes: the kind of the error, what kind of thing was met, and what the
//! type wanted instead. Whatever else somebody's `Serialize`, `Deserialize` or codec has to say stays out of logs, errors
//! and records.

use std::fmt::Display;

/// What stands in place of a text that may show a value.
const HIDDEN: &str = "the reason may show a value, so it is not shown";

/// What serde calls the things it meets.
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

/// Texts that hold nothing of a value, of this library and of the formats it uses.
const HARMLESS: &[&str] = &[
    "there are bytes behind the value",
    "errors are not recorded here",
    "it is an `Err`, and this function records none",
    "there is no result",
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

/// The harmless part of an error's text.
pub(crate) fn shape_of(error: &impl Display) -> String {
    let text = error.to_string();
    let text = text.as_str();
    for (start, met) in [
        ("invalid type", true),
        ("invalid value", true),
        ("invalid length", false),
        ("unknown variant", false),
        ("unknown field", false),
    ] {
        if let Some(rest) = text.strip_prefix(start) {
            let met = met.then(|| kind(rest)).flatten();
            let met = met.map_or_else(String::new, |kind| format!(": {kind}"));
            let wanted =
                wanted(rest).map_or_else(String::new, |wanted| format!(", expected {wanted}"));
            return format!("{start}{met}{wanted}");
        }
    }
    if let Some(name) = text.strip_prefix("missing field `") {
        // A field's name stands in the type.
        let name = name.split('`').next().unwrap_or_default();
        if name
            .chars()
            .all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
        {
            return format!("missing field `{name}`");
        }
    }
    if text.starts_with("duplicate field") {
        return "duplicate field".to_owned();
    }
    let harmless = HARMLESS
        .iter()
        .find(|harmless| text.starts_with(**harmless));
    (*harmless.unwrap_or(&HIDDEN)).to_owned()
}

/// What kind of thing was met, of `: string "…", expected …`.
fn kind(rest: &str) -> Option<&'static str> {
    let met = rest.strip_prefix(": ")?;
    KINDS.iter().find(|kind| met.starts_with(**kind)).copied()
}

/// What was wanted: it stands last, and is the type's own.
fn wanted(rest: &str) -> Option<&str> {
    let expected = rest.rfind(", expected ")?;
    // Of an enum without variants nothing is wanted, and what looks like it is the value's.
    let is_last = rest
        .rfind(", there are no ")
        .is_none_or(|none| none < expected);
    is_last.then(|| &rest[expected + ", expected ".len()..])
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
        let shape = shape_of(&error);
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
        for (unexpected, wanted) in [
            (Unexpected::Other(SECRET), "a pair"),
            (Unexpected::Str(SECRET), "a pair"),
            (Unexpected::Char('x'), "a pair"),
        ] {
            let error: value::Error = Error::invalid_value(unexpected, &wanted);
            let shape = shape_of(&error);
            assert!(
                !shape.contains("Secret") && shape.ends_with("expected a pair"),
                "{shape}"
            );
        }
        let custom: value::Error = Error::custom(format_args!("no such patient: {SECRET}"));
        assert_eq!(shape_of(&custom), HIDDEN);
    }

    #[test]
    fn what_was_wanted_and_what_kind_of_thing_was_there_is_shown() {
        assert_eq!(
            shape::<String>(&4711),
            "invalid type: integer, expected a string"
        );
        assert_eq!(
            shape::<State>(&SECRET),
            "unknown variant, expected `Paid` or `Open`"
        );
        let other = HashMap::from([("id", 1)]);
        assert_eq!(shape::<Receipt>(&other), "missing field `state`");
        let more = HashMap::from([(SECRET, 1)]);
        assert_eq!(
            shape::<Receipt>(&more),
            "unknown field, expected `id` or `state`"
        );
    }
}
