//! Values that cannot be decoded to the same value. They are refused when encoded, so that no
//! replay finds it out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use super::{comes_back, is_refused};

macro_rules! types {
    ($($(#[$meta:meta])* $kind:ident $name:ident { $($body:tt)* })*) => {
        $(#[derive(Debug, PartialEq, Serialize, Deserialize)] $(#[$meta])* $kind $name { $($body)* })*
    };
}

types! {
    #[serde(tag = "type")]
    enum Tagged { Wide { n: u128 }, Signed { n: i128 } }
    #[serde(untagged)]
    enum Untagged { Wide(u128), Text(String) }
    #[serde(untagged)]
    enum TextFirst { Text(String), Data(#[serde(with = "serde_bytes")] Vec<u8>) }
    #[serde(untagged)]
    enum AnyBytes { Data(bytes::Bytes), Text(String) }
    struct Inner { n: i128 }
    struct Flat { name: String, #[serde(flatten)] inner: Inner }
    struct TwoMaps { #[serde(flatten)] a: BTreeMap<String, u8>, #[serde(flatten)] b: BTreeMap<String, u8> }
    struct Twice { #[serde(flatten)] clash: Clash, #[serde(flatten)] all: BTreeMap<String, u8> }
    struct Clash { a: u8, #[serde(flatten)] rest: BTreeMap<String, u8> }
    #[serde(tag = "type")]
    enum TagClash { Map(BTreeMap<String, String>), Struct(HasType) }
    struct HasType { #[serde(rename = "type")] kind: String }
    struct Options { a: Option<Option<u8>> }
    #[serde(tag = "type")]
    #[cfg_attr(not(feature = "json"), allow(dead_code, reason = "JSON's own matter"))]
    enum Numbers { Map { by: BTreeMap<u32, u8> } }
    enum Chain { End, Next(Box<Chain>), More { next: Box<Chain> }, Two(Box<Chain>, u8) }
}

#[test]
fn a_wide_integer_inside_of_a_buffered_type() {
    is_refused(&Tagged::Wide { n: u128::MAX });
    is_refused(&Tagged::Signed { n: i128::MIN });
    is_refused(&Untagged::Wide(1 << 64));
    is_refused(&Flat {
        name: "n".into(),
        inner: Inner {
            n: i128::from(i64::MIN) - 1,
        },
    });
    is_refused(&Tagged::Wide { n: 1 });
    comes_back(&Inner { n: i128::MIN });
}

#[test]
fn bytes_that_would_come_back_as_text() {
    is_refused(&TextFirst::Data(b"text".to_vec()));
    comes_back(&TextFirst::Data(vec![0xff]));
    comes_back(&TextFirst::Text("text".into()));
}

#[test]
fn text_that_would_come_back_as_bytes() {
    // `Bytes` reads text too. Nothing tells that here but reading it, which text alone does not
    // give reason for.
    comes_back(&AnyBytes::Data(bytes::Bytes::from_static(b"text")));
}

#[test]
fn some_of_nothing() {
    is_refused(&Some(()));
    is_refused(&Some(None::<u8>));
    is_refused(&Some(Some(None::<u8>)));
    is_refused(&vec![Some(serde_json::Value::Null)]);
    is_refused(&Options { a: Some(None) });
    comes_back(&Options { a: None });
    comes_back(&Options { a: Some(Some(1)) });
}

#[test]
fn two_fields_of_one_name() {
    let map = |key: &str| BTreeMap::from([(key.to_owned(), 1_u8)]);
    is_refused(&TwoMaps {
        a: map("a"),
        b: map("b"),
    });
    is_refused(&Clash {
        a: 1,
        rest: map("a"),
    });
    comes_back(&Clash {
        a: 1,
        rest: map("b"),
    });
    is_refused(&Twice {
        clash: Clash {
            a: 1,
            rest: map("b"),
        },
        all: map("c"),
    });
    is_refused(&TagClash::Map(BTreeMap::from([(
        "type".into(),
        "x".into(),
    )])));
    is_refused(&TagClash::Struct(HasType { kind: "x".into() }));
    comes_back(&TagClash::Map(BTreeMap::from([(
        "other".into(),
        "x".into(),
    )])));
}

fn nest(levels: usize) -> Chain {
    (0..levels).fold(Chain::End, |next, _| Chain::Next(Box::new(next)))
}

#[test]
fn more_than_128_levels() {
    let lists =
        |levels| (1..levels).fold(serde_json::json!([]), |list, _| serde_json::json!([list]));
    super::comes_back_by::<idempotent_fn::codec::MessagePack, _>(&lists(128));
    comes_back(&lists(127));
    is_refused(&lists(129));
    super::comes_back_by::<idempotent_fn::codec::MessagePack, _>(&nest(128));
    is_refused(&nest(129));
    let structs = |levels| {
        (0..levels).fold(Chain::End, |next, _| Chain::More {
            next: Box::new(next),
        })
    };
    super::comes_back_by::<idempotent_fn::codec::MessagePack, _>(&structs(64));
    is_refused(&structs(65));
    let pairs = (0..65).fold(Chain::End, |next, _| Chain::Two(Box::new(next), 1));
    is_refused(&pairs);
}

/// A list whose links leave no trace in the bytes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Link(Option<Box<Link>>);

/// A list whose links are one level each, and a `Some` and a newtype besides.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    next: Option<Next>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Next(Box<Node>);

#[test]
fn wrappers_without_end() {
    for levels in [1, 1_000, 20_000] {
        let mut list = (0..levels).fold(Link(None), |list, _| Link(Some(Box::new(list))));
        is_refused(&list);
        #[cfg(feature = "json")]
        super::is_refused_by::<idempotent_fn::codec::Json, _>(&list);
        // Its own drop would take the stack too.
        while let Some(next) = list.0.take() {
            list = *next;
        }
    }
    let list = |levels| {
        (1..levels).fold(Node { next: None }, |list, _| Node {
            next: Some(Next(Box::new(list))),
        })
    };
    super::comes_back_by::<idempotent_fn::codec::MessagePack, _>(&list(128));
    is_refused(&list(129));
}

/// Bytes that nobody here wrote: a variant in a variant is no level to the reader, and took the
/// stack until it ended.
#[test]
fn variants_nested_without_end_are_an_error() {
    use idempotent_fn::codec::{Codec, MessagePack};
    for levels in [129, 1000, 1_000_000] {
        let bytes = [&b"\x81\xa4Next".repeat(levels)[..], b"\xa3End"].concat();
        <MessagePack as Codec<Chain>>::decode(&bytes).expect_err("it is too deep");
    }
}

/// It says three entries and gives two.
#[derive(Debug, PartialEq, Deserialize)]
struct Liar(BTreeMap<u8, u8>);

impl Serialize for Liar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry(&1, &1)?;
        map.serialize_entry(&2, &2)?;
        map.end()
    }
}

#[test]
fn a_length_that_is_not_kept() {
    is_refused(&Liar(BTreeMap::new()));
}

#[test]
fn a_word_of_another_format() {
    // `RawValue` is text that only `serde_json` knows how to read.
    let raw = serde_json::value::RawValue::from_string("[1]".into()).unwrap();
    let mut bytes = Vec::new();
    <idempotent_fn::codec::MessagePack as idempotent_fn::codec::Codec<_>>::encode(&raw, &mut bytes)
        .expect_err("it would not be read");
}

#[test]
fn a_map_that_serde_json_takes_for_a_word_of_its_own() {
    for text in ["1", "not json"] {
        let map = serde_json::json!({ "$serde_json::private::RawValue": text });
        is_refused(&map);
        is_refused(&vec![Some(map)]);
    }
    super::comes_back(&serde_json::json!({ "$ref": "#/a", "$defs": { "a": 1 } }));
}

#[cfg(feature = "json")]
#[test]
fn what_json_has_no_word_for() {
    use super::is_refused_by;
    use idempotent_fn::codec::Json;
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        is_refused_by::<Json, _>(&float);
        is_refused_by::<Json, _>(&Some(float));
    }
    is_refused_by::<Json, _>(&Some(f32::NAN));
    is_refused_by::<Json, _>(&Some(()));
    is_refused_by::<Json, _>(&Numbers::Map {
        by: [(1, 1)].into(),
    });
    super::comes_back_by::<Json, _>(&BTreeMap::from([(1_u32, 1_u8)]));
    is_refused_by::<Json, _>(&Tagged::Wide { n: u128::MAX });
}
