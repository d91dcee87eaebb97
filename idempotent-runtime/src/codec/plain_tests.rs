//! What the plain reader reads, `rmp-serde` reads as the same.

use std::{collections::BTreeMap, fmt, fmt::Debug};

use proptest::{collection::vec, prelude::*};
use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor},
};

use super::{check_end, message_pack, plain, writer};

/// Reads through `rmp-serde` alone.
fn reference<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Option<T> {
    let mut format = message_pack(bytes);
    let value = T::deserialize(&mut format).ok()?;
    check_end(&mut format).ok().map(|()| value)
}

/// Both readers agree, or the plain one refuses. Whether it read it.
fn agrees<'de, T: Deserialize<'de> + Debug>(bytes: &'de [u8]) -> bool {
    let Some(read) = plain::read::<T>(bytes) else {
        return false;
    };
    // By their texts: a float may be no number.
    let (read, wanted) = (
        format!("{:?}", Some(read)),
        format!("{:?}", reference::<T>(bytes)),
    );
    assert_eq!(read, wanted, "of {bytes:02x?}");
    true
}

/// Which methods of a visitor were called, in which order.
#[derive(Debug)]
#[allow(dead_code, reason = "shown")]
enum Calls<'de> {
    One(&'static str, String),
    Text(&'de str),
    Some(Box<Calls<'de>>),
    Sequence(Option<usize>, Vec<Calls<'de>>),
    Map(Option<usize>, Vec<(Calls<'de>, Calls<'de>)>),
}

struct Recorder;

macro_rules! record {
    ($($method:ident: $type:ty)*) => {$(
        fn $method<E>(self, value: $type) -> Result<Calls<'de>, E> {
            Ok(Calls::One(stringify!($method), format!("{value:?}")))
        }
    )*};
}

impl<'de> Visitor<'de> for Recorder {
    type Value = Calls<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    record! {
        visit_bool: bool visit_i8: i8 visit_i16: i16 visit_i32: i32 visit_i64: i64
        visit_u8: u8 visit_u16: u16 visit_u32: u32 visit_u64: u64 visit_f32: f32 visit_f64: f64
        visit_str: &str visit_bytes: &[u8] visit_borrowed_bytes: &'de [u8]
    }

    fn visit_unit<E>(self) -> Result<Calls<'de>, E> {
        Ok(Calls::One("visit_unit", String::new()))
    }

    fn visit_none<E>(self) -> Result<Calls<'de>, E> {
        Ok(Calls::One("visit_none", String::new()))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Calls<'de>, E> {
        Ok(Calls::Text(text))
    }

    fn visit_some<D: Deserializer<'de>>(self, inside: D) -> Result<Calls<'de>, D::Error> {
        Calls::deserialize(inside).map(|inside| Calls::Some(Box::new(inside)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Calls<'de>, A::Error> {
        let (hint, mut seen) = (entries.size_hint(), Vec::new());
        while let Some(entry) = entries.next_element()? {
            seen.push(entry);
        }
        Ok(Calls::Sequence(hint, seen))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Calls<'de>, A::Error> {
        let (hint, mut seen) = (entries.size_hint(), Vec::new());
        while let Some(entry) = entries.next_entry()? {
            seen.push(entry);
        }
        Ok(Calls::Map(hint, seen))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<Calls<'de>, A::Error> {
        let (name, data) = variant.variant::<Calls<'de>>()?;
        let name = (name, data.newtype_variant::<Calls<'de>>()?);
        Ok(Calls::Map(None, vec![name]))
    }
}

impl<'de> Deserialize<'de> for Calls<'de> {
    fn deserialize<D: Deserializer<'de>>(format: D) -> Result<Self, D::Error> {
        format.deserialize_any(Recorder)
    }
}

/// Asks for an option, or for a variant.
macro_rules! asks {
    ($name:ident: $method:ident($($argument:expr),*)) => {
        #[derive(Debug)]
        #[allow(dead_code, reason = "shown")]
        struct $name<'de>(Calls<'de>);

        impl<'de> Deserialize<'de> for $name<'de> {
            fn deserialize<D: Deserializer<'de>>(format: D) -> Result<Self, D::Error> {
                format.$method($($argument,)* Recorder).map(Self)
            }
        }
    };
}

asks!(AnOption: deserialize_option());
asks!(AnEnum: deserialize_enum("AnEnum", &["a"]));
asks!(AUnit: deserialize_unit_struct("AUnit"));

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    One(Box<Tree>),
    Two(Box<Tree>, Option<Box<Tree>>),
    Named { left: Vec<Tree>, size: i64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(u64),
    Text(String),
    Nested {
        inner: Option<Box<Loose>>,
        sizes: Vec<i16>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Card { last: u16, name: String },
    Cash { cents: f64, note: Option<char> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    id: u64,
    note: Option<String>,
    lines: Vec<(String, i32, f64)>,
    totals: BTreeMap<String, f32>,
    tree: Tree,
    loose: Loose,
    #[serde(default)]
    paid: Option<Tagged>,
    done: bool,
    unit: (),
}

fn tree() -> impl Strategy<Value = Tree> {
    Just(Tree::Leaf).prop_recursive(6, 24, 3, |tree| {
        let boxed = tree.clone().prop_map(Box::new);
        prop_oneof![
            boxed.clone().prop_map(Tree::One),
            (boxed.clone(), proptest::option::of(boxed)).prop_map(|(a, b)| Tree::Two(a, b)),
            (vec(tree, 0..3), any::<i64>()).prop_map(|(left, size)| Tree::Named { left, size }),
        ]
    })
}

fn loose() -> impl Strategy<Value = Loose> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Loose::Number),
        ".{0,40}".prop_map(Loose::Text)
    ];
    leaf.prop_recursive(4, 8, 1, |loose| {
        let inner = proptest::option::of(loose.prop_map(Box::new));
        (inner, vec(any::<i16>(), 0..20)).prop_map(|(inner, sizes)| Loose::Nested { inner, sizes })
    })
}

fn tagged() -> impl Strategy<Value = Tagged> {
    prop_oneof![
        (any::<u16>(), ".{0,9}").prop_map(|(last, name)| Tagged::Card { last, name }),
        (any::<f64>(), any::<Option<char>>())
            .prop_map(|(cents, note)| Tagged::Cash { cents, note }),
    ]
}

fn receipt() -> impl Strategy<Value = Receipt> {
    let parts = (
        any::<u64>(),
        proptest::option::of(".{0,300}"),
        vec((".{0,40}", any::<i32>(), any::<f64>()), 0..20),
        proptest::collection::btree_map(".{0,9}", any::<f32>(), 0..5),
        tree(),
        loose(),
        proptest::option::of(tagged()),
        any::<bool>(),
    );
    parts.prop_map(
        |(id, note, lines, totals, tree, loose, paid, done)| Receipt {
            id,
            note,
            lines,
            totals,
            tree,
            loose,
            paid,
            done,
            unit: (),
        },
    )
}

fn all_agree(bytes: &[u8]) {
    agrees::<Calls<'_>>(bytes);
    agrees::<AnOption<'_>>(bytes);
    agrees::<AnEnum<'_>>(bytes);
    agrees::<AUnit<'_>>(bytes);
    agrees::<Receipt>(bytes);
    agrees::<Tree>(bytes);
    agrees::<Loose>(bytes);
    agrees::<Tagged>(bytes);
    agrees::<Vec<u8>>(bytes);
    agrees::<(u8, Option<u16>)>(bytes);
    agrees::<BTreeMap<u64, Option<bool>>>(bytes);
    agrees::<u128>(bytes);
    agrees::<Option<Option<()>>>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(receipt in receipt(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = Vec::new();
        writer::write(&receipt, &mut bytes).expect("a plain value");
        prop_assert!(agrees::<Receipt>(&bytes), "it was refused");
        all_agree(&bytes);
        let at = cut.index(bytes.len());
        all_agree(&bytes[..at]);
        let before = std::mem::replace(&mut bytes[at], byte);
        all_agree(&bytes);
        bytes[at] = before;
        bytes.push(byte);
        all_agree(&bytes);
    }

    #[test]
    fn whatever_is_read_is_read_alike(bytes in vec(prop_oneof![any::<u8>(), 0x80..=0xc3_u8, Just(0x81), Just(0xa1), Just(b'a')], 0..40)) {
        all_agree(&bytes);
    }
}

/// Each marker, with as many bytes behind it as it may want.
#[test]
fn every_marker_is_read_alike() {
    for marker in 0..=u8::MAX {
        for behind in [0_u8, 1, 2, b'a', 0xa1, 0xc0, 0xff] {
            for length in 0..20 {
                let mut bytes = vec![behind; length];
                bytes.insert(0, marker);
                all_agree(&bytes);
            }
        }
    }
}

#[test]
fn it_reads_as_deeply_as_is_written() {
    let nested = |depth: usize| {
        let mut bytes = vec![0x91; depth];
        bytes.push(0xc0);
        bytes
    };
    let at_most = nested(writer::MAX_DEPTH);
    assert!(agrees::<Calls<'_>>(&at_most));
    assert!(!agrees::<Calls<'_>>(&nested(writer::MAX_DEPTH + 1)));
}

/// Passes over an error that it got.
#[derive(Debug)]
struct Careless;

impl<'de> Deserialize<'de> for Careless {
    fn deserialize<D: Deserializer<'de>>(format: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Careless;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pair")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Careless, A::Error> {
                while let Ok(Some(de::IgnoredAny)) | Err(_) = entries.next_element() {}
                Ok(Careless)
            }
        }
        format.deserialize_seq(Pair)
    }
}

#[test]
fn an_error_that_is_passed_over_is_an_error() {
    // Two entries: bytes, which are refused, and nothing behind them.
    assert!(!agrees::<Careless>(&[0x92, 0xc4, 0xc0]));
}

/// The name by which `rmp-serde` knows an extension.
#[derive(Debug, Deserialize)]
#[serde(rename = "_ExtStruct")]
struct Extension(#[allow(dead_code, reason = "shown")] (i8, String));

#[test]
fn an_extension_is_left_to_rmp_serde() {
    let pair = [0x92, 0x01, 0xa1, b'a'];
    assert!(agrees::<(i8, String)>(&pair));
    assert!(!agrees::<Extension>(&pair));
}
