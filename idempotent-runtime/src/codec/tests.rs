//! What is shown of a value that cannot be written or read: our own words whole, of the value
//! nothing.

use std::{collections::HashMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
    ser::{self, SerializeSeq},
};

#[cfg(feature = "json")]
use super::Json;
use super::{Codec, CodecError, MessagePack, redact::shape_of};

const SECRET: &str = "SecretPatientName";

fn refusal<C: Codec<T>, T>(value: &T) -> String {
    let error = C::encode(value, &mut Vec::new()).expect_err("it does not come back");
    shape_of(&error)
}

/// Says that it has two entries, and gives one.
#[derive(Deserialize)]
struct Liar;

impl Serialize for Liar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = serializer.serialize_seq(Some(2))?;
        entries.serialize_element(&1)?;
        entries.end()
    }
}

/// Gives up in words of its own.
#[derive(Deserialize)]
struct Talker(String);

impl Serialize for Talker {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom(&self.0))
    }
}

#[derive(Serialize, Deserialize)]
struct Nest(Option<Box<(Nest,)>>);

fn nest(levels: usize) -> Nest {
    (0..levels).fold(Nest(None), |inner, _| Nest(Some(Box::new((inner,)))))
}

#[test]
fn our_own_refusals_are_shown_whole() {
    type Pair = (Option<()>, Option<Option<u8>>);
    for (shown, part) in [
        (refusal::<MessagePack, _>(&Some(())), "`Some` of nothing"),
        (refusal::<MessagePack, _>(&Some(None::<u8>)), "`Some(None)`"),
        (
            refusal::<MessagePack, Pair>(&(None, Some(None))),
            "come back as `None`",
        ),
        (
            refusal::<MessagePack, _>(&nest(200)),
            "nested more deeply than 128 levels",
        ),
        (refusal::<MessagePack, _>(&Liar), "says another length"),
        #[cfg(feature = "json")]
        (refusal::<Json, _>(&f64::NAN), "not finite"),
        #[cfg(feature = "json")]
        (
            refusal::<Json, _>(&Some(serde_json::Value::Null)),
            "`Some` of nothing",
        ),
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let mut behind = Vec::new();
    MessagePack::encode(&1_u8, &mut behind).expect("a number");
    behind.push(1);
    let error = <MessagePack as Codec<u8>>::decode(&behind).expect_err("bytes behind");
    assert!(shape_of(&error).contains("bytes behind the value"));
    // Also where a codec of somebody's hands it on.
    let wrapped = CodecError::new(error);
    assert!(shape_of(&wrapped).contains("bytes behind the value"));
}

#[test]
fn a_serialize_that_imitates_our_words_is_not_believed() {
    for text in [
        format!("it has a `Some` of nothing in {SECRET}"),
        format!("it is nested more deeply than {SECRET} levels"),
        format!("missing field `{SECRET}`"),
        SECRET.to_owned(),
    ] {
        let shown = refusal::<MessagePack, _>(&Talker(text));
        assert!(!shown.contains("Secret"), "{shown}");
    }
}

/// Reads a text, and refuses it by the words of `W`.
struct Picky<W>(PhantomData<W>);

trait Words {
    fn refuse<E: de::Error>(text: &str) -> E;
}

impl<W> Serialize for Picky<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de, W: Words> Deserialize<'de> for Picky<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Err(W::refuse(&String::deserialize(deserializer)?))
    }
}

macro_rules! words {
    ($($name:ident: |$text:ident| $error:expr;)*) => {
        $(
            struct $name;

            impl Words for $name {
                fn refuse<E: de::Error>($text: &str) -> E {
                    $error
                }
            }
        )*

        fn all_imitations<C: AllPicky>() -> Vec<(&'static str, String)> {
            vec![$((stringify!($name), C::shown::<Picky<$name>>())),*]
        }
    };
}

words! {
    Missing: |text| E::custom(format_args!("missing field `{text}`"));
    Duplicate: |text| E::custom(format_args!("duplicate field `{text}`"));
    Owner: |text| E::custom(format_args!("invalid value for the account, expected the owner of {text}"));
    Kind: |text| E::custom(format_args!("invalid type: string {text}, expected struct {text} with 2 elements"));
    Length: |text| E::custom(format_args!("invalid length 2, expected a tuple of {text}"));
    Unknown: |text| E::custom(format_args!("unknown variant `{text}`, expected `{text}`"));
    Field: |text| E::custom(format_args!("unknown field `{text}`, expected one of `{text}`"));
    Bare: |text| E::custom(text);
    Harmless: |text| E::custom(format_args!("EOF while parsing {text}"));
    Wanted: |text| E::invalid_value(de::Unexpected::Str(text), &format!("the owner of {text}").as_str());
    Other: |text| E::invalid_type(de::Unexpected::Other(text), &format!("struct {text}").as_str());
    Variant: |text| E::unknown_variant(text, &["Paid"]);
    FieldOf: |text| E::unknown_field(text, &["id"]);
}

trait AllPicky {
    fn shown<T: Serialize + DeserializeOwned>() -> String;
}

impl AllPicky for MessagePack {
    fn shown<T: Serialize + DeserializeOwned>() -> String {
        let bytes = rmp_serde::to_vec_named(&[HashMap::from([("name", SECRET)])]).expect("a text");
        let error = <Self as Codec<Vec<HashMap<String, T>>>>::decode(&bytes);
        shape_of(&error.err().expect("it is refused"))
    }
}

#[cfg(feature = "json")]
impl AllPicky for Json {
    fn shown<T: Serialize + DeserializeOwned>() -> String {
        let bytes = format!("[{{\"name\":\"{SECRET}\"}}]");
        let error = <Self as Codec<Vec<HashMap<String, T>>>>::decode(bytes.as_bytes());
        shape_of(&error.err().expect("it is refused"))
    }
}

/// A codec of somebody's, whose error is the format's own.
struct Theirs;

impl AllPicky for Theirs {
    fn shown<T: Serialize + DeserializeOwned>() -> String {
        let bytes = rmp_serde::to_vec_named(SECRET).expect("a text");
        let error = rmp_serde::from_slice::<T>(&bytes).map(drop);
        shape_of(&CodecError::new(error.expect_err("it is refused")))
    }
}

#[test]
fn no_recorded_value_is_shown_whatever_words_a_type_has_for_it() {
    let mut all = all_imitations::<MessagePack>();
    all.extend(all_imitations::<Theirs>());
    #[cfg(feature = "json")]
    all.extend(all_imitations::<Json>());
    for (name, shown) in all {
        assert!(!shown.contains("Secret"), "{name}: {shown}");
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipt {
    id: u64,
    state: State,
}

#[derive(Debug, Serialize, Deserialize)]
enum State {
    Paid,
    Open,
}

/// As `MessagePack` tells, and JSON alike.
fn explanation<T: Serialize + DeserializeOwned + fmt::Debug>(written: &impl Serialize) -> String {
    let bytes = rmp_serde::to_vec_named(written).expect("it is encoded");
    let error = <MessagePack as Codec<T>>::decode(&bytes).expect_err("not of this type");
    let explanation = shape_of(&error);
    #[cfg(feature = "json")]
    {
        let bytes = serde_json::to_vec(written).expect("it is encoded");
        let error = <Json as Codec<T>>::decode(&bytes).expect_err("not of this type");
        assert_eq!(shape_of(&error), explanation);
    }
    explanation
}

#[test]
fn names_that_stand_in_the_type_are_shown() {
    let without = HashMap::from([("id", 1)]);
    assert_eq!(explanation::<Receipt>(&without), "missing field `state`");
    assert_eq!(
        explanation::<Vec<Receipt>>(&[without]),
        "missing field `state`"
    );
    let more = HashMap::from([(SECRET, 1)]);
    assert_eq!(
        explanation::<Receipt>(&more),
        "unknown field, expected `id` or `state`"
    );
    assert_eq!(
        explanation::<State>(&SECRET),
        "unknown variant, expected `Paid` or `Open`"
    );
    assert_eq!(
        explanation::<String>(&4711),
        "invalid type: integer, expected a string"
    );
    assert_eq!(
        explanation::<Vec<String>>(&[4711]),
        "invalid type: integer, expected a string"
    );
}
