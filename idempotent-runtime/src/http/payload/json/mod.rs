//! JSON text → the canonical encoding of its value, without a tree of values between.

mod decimal;

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{codec::number::TOKEN, fingerprint};

/// A whole number up to here is the same as a double.
const WHOLE: f64 = 9_007_199_254_740_992.0; // 2^53

/// A transcoder that has grown larger is given back.
const LARGEST_KEPT: usize = 64 * 1024;

thread_local! {
    static KEPT: Cell<Transcoder> = Cell::new(Transcoder::default());
}

/// Appends the encoding of the value that `text` is. `false`, and nothing is appended, where it is
/// no JSON that counts by its value: it is malformed, deeper than 128 levels, has a number that no
/// double has in all its digits, an object with a name twice, or more behind it. Two such texts
/// with different values would have one encoding.
pub(super) fn encode(text: &[u8], encoding: &mut Vec<u8>) -> bool {
    let mut transcoder = KEPT.try_with(Cell::take).unwrap_or_default();
    let is_json = transcoder.transcode(text);
    if is_json {
        encoding.extend_from_slice(&transcoder.encoding);
    }
    if transcoder.encoding.capacity() <= LARGEST_KEPT {
        let _ = KEPT.try_with(|kept| kept.set(transcoder));
    }
    is_json
}

#[derive(Default)]
struct Transcoder {
    encoding: Vec<u8>,
    /// The members of the objects that are being read.
    members: Vec<Member>,
    /// The members of one object, as they are sorted, with their ends.
    order: Vec<(Member, usize)>,
    sorted: Vec<u8>,
    /// How many numbers there were.
    numbers: usize,
    /// Whether one of them was a float, or came as text.
    has_floats: bool,
    has_name_twice: bool,
}

/// Where a member begins in the encoding, and its value.
#[derive(Clone, Copy)]
struct Member {
    name: usize,
    value: usize,
}

impl Transcoder {
    fn transcode(&mut self, text: &[u8]) -> bool {
        self.encoding.clear();
        self.members.clear();
        (self.numbers, self.has_floats, self.has_name_twice) = (0, false, false);
        let mut reader = serde_json::Deserializer::from_slice(text);
        let is_json = Value(self).deserialize(&mut reader).is_ok() && reader.end().is_ok();
        is_json
            && !self.has_name_twice
            && (!self.has_floats || decimal::are_exact(text, self.numbers))
    }

    /// Appends what serde's data model has, in the format of fingerprints.
    fn put<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        // Numbers and texts are written by the encoder's own functions, and none of them fails.
        let _ = fingerprint::encode(value, &mut self.encoding);
    }

    fn put_float(&mut self, value: f64) {
        self.has_floats = true;
        if value.fract() == 0.0 && value.abs() <= WHOLE {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is whole, and small enough"
            )]
            self.put(&(value as i64));
        } else {
            self.put(&value);
        }
    }

    /// Puts the members `members[base..]` in the order of their encodings.
    fn sort(&mut self, base: usize) {
        let members = &self.members[base..];
        let Some(first) = members.first().map(|member| member.name) else {
            return;
        };
        let ends = members.iter().skip(1).map(|next| next.name);
        let ends = ends.chain([self.encoding.len()]);
        let bytes = &self.encoding;
        self.order.clear();
        self.order.extend(members.iter().copied().zip(ends));
        let whole = |&(member, end): &(Member, usize)| &bytes[member.name..end];
        if !self.order.is_sorted_by(|a, b| whole(a) <= whole(b)) {
            self.order.sort_unstable_by(|a, b| whole(a).cmp(whole(b)));
            self.sorted.clear();
            for member in &self.order {
                self.sorted.extend_from_slice(whole(member));
            }
        }
        // No name's encoding begins with another name's, so equal names are neighbours.
        let name = |&(member, _): &(Member, usize)| &bytes[member.name..member.value];
        self.has_name_twice |= self
            .order
            .windows(2)
            .any(|two| name(&two[0]) == name(&two[1]));
        if !self.sorted.is_empty() {
            self.encoding[first..].copy_from_slice(&self.sorted);
            self.sorted.clear();
        }
        self.members.truncate(base);
    }
}

struct Value<'a>(&'a mut Transcoder);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.put(&());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.put(&value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.numbers += 1;
        self.0.put(&value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.numbers += 1;
        self.0.put(&value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.numbers += 1;
        self.0.put_float(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.put(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.0.encoding.push(b'[');
        while elements.next_element_seed(Value(self.0))?.is_some() {}
        self.0.encoding.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (base, start) = (self.0.members.len(), self.0.encoding.len());
        self.0.encoding.push(b'{');
        while let Some(name) = members.next_key_seed(Name(self.0))? {
            if name == Is::Number && self.0.members.len() == base + 1 {
                self.0.members.truncate(base);
                self.0.encoding.truncate(start);
                return number(self.0, members);
            }
            members.next_value_seed(Value(self.0))?;
        }
        self.0.sort(base);
        self.0.encoding.push(b'}');
        Ok(())
    }
}

/// A number as text, as `serde_json` hands it on where any crate of the program turns on its
/// `arbitrary_precision`. An object of a client can look like one. Then there are more numbers than
/// the text has, and it does not count by its value.
fn number<'de, A: MapAccess<'de>>(to: &mut Transcoder, mut members: A) -> Result<(), A::Error> {
    let text: String = members.next_value()?;
    if members.next_key::<IgnoredAny>()?.is_some() {
        return Err(A::Error::custom("it is no number"));
    }
    to.numbers += 1;
    to.has_floats = true;
    match (
        text.parse::<u64>(),
        text.parse::<i64>(),
        text.parse::<f64>(),
    ) {
        (Ok(number), ..) => to.put(&number),
        (_, Ok(number), _) => to.put(&number),
        (.., Ok(number)) if number.is_finite() => to.put_float(number),
        _ => return Err(A::Error::custom("it is beyond the doubles")),
    }
    Ok(())
}

/// The name of an object's member, as it is written.
struct Name<'a>(&'a mut Transcoder);

#[derive(PartialEq)]
enum Is {
    Name,
    Number,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Is;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Is, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Is;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Is, E> {
        let start = self.0.encoding.len();
        self.0.put(name);
        let value = self.0.encoding.len();
        self.0.members.push(Member { name: start, value });
        Ok(if name == TOKEN { Is::Number } else { Is::Name })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Number, Value};

    use super::*;
    use crate::fingerprint::Fingerprint;

    fn of(text: &str) -> Option<Fingerprint> {
        let mut encoding = Vec::new();
        encode(text.as_bytes(), &mut encoding).then(|| Fingerprint::of_encoding(&encoding))
    }

    #[test]
    fn members_count_by_name_and_not_by_order() {
        let one = of(r#"{"a":1,"b":{"c":[2,null],"d":"x"}}"#).unwrap();
        assert_eq!(
            of(r#" {"b" : {"d":"\u0078","c":[2, null]}, "a":1.0}"#),
            Some(one)
        );
        for other in [
            r#"{"a":1,"b":{"c":[null,2],"d":"x"}}"#,
            r#"{"a":1,"b":{"c":[2,null],"d":"y"}}"#,
            r#"{"a":1,"b":{"c":[2,null]}}"#,
            r#"{"a":"1","b":{"c":[2,null],"d":"x"}}"#,
        ] {
            assert_ne!(of(other).unwrap(), one, "{other}");
        }
    }

    #[test]
    fn numbers_count_by_value() {
        for (a, b) in [
            ("1", "1.0"),
            ("1e2", "100"),
            ("-0.0", "0"),
            ("9007199254740992.0", "9007199254740992"),
            ("0.1", "1e-1"),
            ("0.1", "0.1000"),
            ("20000000000000000000.0", "2e19"),
            ("0", "0e99999999999999999999"),
        ] {
            assert_eq!(of(a).unwrap(), of(b).unwrap(), "{a} {b}");
        }
        for (a, b) in [
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551615", "18446744073709551614"),
            ("-1", "1"),
            ("1.5", "1"),
            ("1", "\"1\""),
        ] {
            assert_ne!(of(a).unwrap(), of(b).unwrap(), "{a} {b}");
        }
    }

    /// The double of such a number is another number's too.
    #[test]
    fn a_number_that_is_not_its_double_does_not_count_by_value() {
        for text in [
            "20000000000000000001",
            "-20000000000000000001",
            "0.10000000000000001",
            "9007199254740993.0",
            "900719925474099300e-2",
            "9007199254740993e0",
            "1e-400",
            "1e-99999999999999999999",
            "4.9e-324",
            "0.30000000000000004440892098500626",
        ] {
            assert_eq!(of(text), None, "{text}");
            assert_eq!(of(&format!("{{\"a\":[\"0\",{text}]}}")), None, "{text}");
            // In a text, digits are no number.
            assert!(of(&format!("[0.5,\"\\\"{text}\\\\\"]")).is_some(), "{text}");
        }
    }

    #[test]
    fn an_object_with_a_name_twice_does_not_count_by_value() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":2,"a":1}"#,
            r#"{"a":1,"b":2,"\u0061":3}"#,
            r#"[{"c":{"a":[],"b":{},"ab":0,"a":""}},{}]"#,
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        assert!(of(r#"[{"a":1,"ab":{"a":1,"":2}},{"a":1}]"#).is_some());
    }

    /// `serde_json` marks a number so that it hands on as text.
    #[test]
    fn an_object_that_looks_like_a_number_does_not_count_by_value() {
        for number in ["1", "0.1", "0.10000000000000001", "x"] {
            let text = format!(r#"[5,{{"{TOKEN}":"{number}"}}]"#);
            assert_eq!(of(&text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_does_not_count_by_value() {
        let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert!(of(&deep(127)).is_some());
        for text in [
            "",
            "{",
            "1 2",
            "{\"a\":1}x",
            "1e400",
            "nul",
            "\"\\ud800\"",
            &deep(129),
        ] {
            assert_eq!(of(text), None, "{text}");
        }
        // What was begun leaves nothing behind.
        assert_eq!(of(r#"{"b":{"a":1,"a":0.10000000000000001,"c"#), None);
        assert_eq!(of(r#"{"b":0.5,"a":1}"#), of(r#"{"a":1,"b":5e-1}"#));
        assert_eq!(of("[1]"), of(" [1] "));
    }

    fn normalised(value: Value) -> Value {
        match value {
            Value::Number(number) => {
                let float = number.as_f64().filter(|_| number.is_f64());
                let whole = float.filter(|it| it.fract() == 0.0 && it.abs() <= WHOLE);
                #[expect(clippy::cast_possible_truncation, reason = "it is whole")]
                whole.map_or(Value::Number(number), |whole| (whole as i64).into())
            }
            Value::Array(elements) => elements.into_iter().map(normalised).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (name, normalised(value)))
                .collect(),
            other => other,
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            any::<i64>().prop_map(Number::from),
            any::<u64>().prop_map(Number::from),
            any::<f64>().prop_filter_map("finite", Number::from_f64),
            (-100_i32..100).prop_filter_map("finite", |it| Number::from_f64(f64::from(it) / 2.0)),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            number.prop_map(Value::Number),
            ".{0,12}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((".{0,4}", inner), 0..6).prop_map(|members| {
                    Value::Object(members.into_iter().collect::<Map<_, _>>())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_the_fingerprint_of_the_tree(value in values()) {
            let text = serde_json::to_string(&value).unwrap();
            let tree = Fingerprint::of(&normalised(value)).unwrap();
            prop_assert_eq!(of(&text), Some(tree));
        }

        /// One encoding is one value, however near the two are.
        #[test]
        fn two_values_are_two_fingerprints(
            digits in "[1-9][0-9]{0,20}",
            (one, other) in (1..10, 1..10),
            zeros in 0_i32..8,
            exponent in -330_i32..290,
        ) {
            let zeros_of = "0".repeat(zeros.unsigned_abs() as usize);
            let value = of(&format!("{digits}{one}e{exponent}"));
            let spelled = of(&format!("{digits}{one}{zeros_of}e{}", exponent - zeros));
            prop_assert_eq!(value, spelled);
            let other_value = of(&format!("{digits}{other}e{exponent}"));
            prop_assert!(one == other || value.is_none() || value != other_value);
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:0-9a-z. ]{0,40}") {
            let _ = of(&text);
        }
    }
}
