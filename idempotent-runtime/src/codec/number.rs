//! Numbers that `serde_json` passes on as text.
//!
//! If any crate of a program turns on `serde_json/arbitrary_precision`, `serde_json` gives serde
//! its numbers as a struct of the name [`TOKEN`] with their text. The same value would then have
//! another fingerprint, and other bytes, than in a program without that feature. So a text that is
//! exactly a number of 64 bits is written as that number.

/// The name of that struct, and of its only field.
pub(crate) const TOKEN: &str = "$serde_json::private::Number";

/// A number of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Unsigned(u64),
    Negative(i64),
    Float(f64),
}

impl Number {
    /// The number that is written exactly like `text`. `None` if there is none, because the text
    /// says more than a number of 64 bits.
    pub(crate) fn exactly(text: &str) -> Option<Self> {
        let is_written_so = |written: String| written == text;
        if let Ok(number) = text.parse::<u64>() {
            return is_written_so(number.to_string()).then_some(Self::Unsigned(number));
        }
        if let Ok(number) = text.parse::<i64>() {
            return is_written_so(number.to_string()).then_some(Self::Negative(number));
        }
        let number = text
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())?;
        is_written_so(format!("{number:?}")).then_some(Self::Float(number))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Serialize, Serializer, ser::SerializeStruct};

    use super::*;
    use crate::{
        codec::{Codec, MessagePack},
        fingerprint::Fingerprint,
    };

    /// As `serde_json` writes a number under `arbitrary_precision`.
    struct Marked(&'static str);

    impl Serialize for Marked {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut fields = serializer.serialize_struct(TOKEN, 1)?;
            fields.serialize_field(TOKEN, self.0)?;
            fields.end()
        }
    }

    impl<'de> serde::Deserialize<'de> for Marked {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self(""))
        }
    }

    fn bytes<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        MessagePack::encode(value, &mut bytes).expect("it has bytes");
        bytes
    }

    fn fingerprint(value: &impl Serialize) -> Fingerprint {
        Fingerprint::of(value).expect("it has a fingerprint")
    }

    #[test]
    fn a_number_as_text_is_the_number_in_results_and_fingerprints() {
        fn same<T: Serialize + serde::de::DeserializeOwned + Clone>(text: &'static str, number: T) {
            assert_eq!(
                bytes(&vec![Marked(text)]),
                bytes(&vec![number.clone()]),
                "{text}"
            );
            assert_eq!(
                fingerprint(&(1, Marked(text))),
                fingerprint(&(1, number)),
                "{text}"
            );
        }
        same("0", 0_u64);
        same("3", 3_u64);
        same("18446744073709551615", u64::MAX);
        same("-3", -3_i64);
        same("19.5", 19.5_f64);
        same("1.0", 1.0_f64);
        same("-2.5e-7", -2.5e-7_f64);
    }

    #[test]
    fn a_text_that_says_more_than_a_number_stays_as_it_is() {
        for (text, near) in [
            ("19.50", 19.5),
            ("0.10000000000000000001", 0.1),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("1e400", f64::MAX),
        ] {
            assert_eq!(Number::exactly(text), None, "{text}");
            assert_ne!(fingerprint(&Marked(text)), fingerprint(&near), "{text}");
        }
    }
}
