use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
};

use proptest::{collection::vec, prelude::*};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use super::Fingerprint;

fn of<T: Serialize + ?Sized>(value: &T) -> Fingerprint {
    Fingerprint::of(value).expect("a fingerprint")
}

#[derive(Serialize)]
enum Payment {
    Cash,
    Card(&'static str),
    Split(u8, u8),
    Wire { iban: &'static str },
}

#[derive(Serialize)]
struct Order {
    id: &'static str,
    amount: u32,
    tags: [&'static str; 2],
    note: Option<&'static str>,
    pay: Payment,
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Frozen: computed by another program from the table in the module's documentation. A change here
/// breaks retries across a deploy.
#[test]
fn test_vectors_of_format_v1() {
    #[track_caller]
    fn is(value: impl Serialize, hex: &str) {
        assert_eq!(format!("{:?}", of(&value)), format!("Fingerprint({hex})"));
    }
    is((), "551e8548d3b0ae708d7261d21c613cba");
    is(true, "716ed4bef13e2bf35ca848f8e9d95cf6");
    is(0, "3033f5f4642c13673e26795f862c0c58");
    is(42_u16, "d64c047e074eb626ed6f98bdd78055ef");
    is(-1, "03566d401b80a07e9d95bc6048921a74");
    is(u128::MAX, "a55dee8815e03be9f4b64db9d9c057c2");
    is(i128::MIN, "c23f051c9ab8f9121ea371383cb0dfbb");
    is(1.5_f32, "f9b3de23b08d53687ffe290a1c4a0b6c");
    is(f64::NAN, "217dd7793dcad3006635a54fb5560f2a");
    is(-0.0, "a521beac804ef9d779314bf1226a1f6d");
    is("", "dbb9e28b7a50acc68ae0ea849660b5b0");
    is("grüße", "1dcce90497aff81cd13bc2c509d6e071");
    is(Bytes(b"\x00\xff"), "7b6c72c932fc2a79dcf486f9e88fc6c4");
    is(None::<u8>, "029a5829319385a347952ba98617426a");
    is(Some(7), "978887dc58147e1db1dbce58d2000f01");
    is((42, "EUR"), "3575710d919688ce511aba1300ff634b");
    is([0_u8; 0], "39ca860e6e8d30caa6001fce8e5d8735");
    is(
        BTreeMap::from([("b", 2), ("a", 1)]),
        "b59075408f241275f824356759061a4e",
    );
    is(
        BTreeMap::<u8, u8>::new(),
        "633ebea7a69e4b7a912d2fff090a8dcd",
    );
    is(Payment::Cash, "8536b7360069974418ea24c69e4aaf92");
    is(Payment::Card("visa"), "d7110e93e2cc6a778253dea8fb941d8d");
    is(Payment::Split(1, 2), "d5af59cb371a00da6d7d64befbfdeca3");
    is(
        Payment::Wire { iban: "DE00" },
        "71aa162e4d0f9943f820683007f1c30b",
    );
    let order = Order {
        id: "order-42",
        amount: 1999,
        tags: ["a", "b"],
        note: None,
        pay: Payment::Cash,
    };
    is(order, "4dc9f3968087c63cfec5d4e1e79ec837");
}

#[test]
fn integers_are_one_kind_and_floats_another() {
    assert_eq!(of(&7_u8), of(&7_i128));
    assert_eq!(of(&-7_i8), of(&-7_i64));
    assert_eq!(of(&1.5_f32), of(&1.5_f64));
    assert_eq!(of(&-0.0_f32), of(&0.0_f64));
    assert_eq!(of(&-f32::NAN), of(&f64::from_bits(0x7ff0_0000_0000_0001)));
    assert_ne!(of(&1), of(&1.0));
    assert_ne!(of(&0.1_f32), of(&0.1_f64));
    assert_ne!(of(&1), of(&-1));
    assert_ne!(of(&i128::MIN), of(&(1_u128 << 127)));
}

#[test]
fn a_struct_is_the_map_of_its_fields_in_any_order() {
    #[derive(Serialize)]
    struct Ab {
        a: u8,
        b: &'static str,
    }
    #[derive(Serialize)]
    struct Ba {
        b: String,
        a: u64,
    }
    #[derive(Serialize)]
    struct Flat {
        b: &'static str,
        #[serde(flatten)]
        rest: BTreeMap<char, u8>,
    }
    let ab = of(&Ab { a: 1, b: "x" });
    assert_eq!(
        ab,
        of(&Ba {
            b: "x".into(),
            a: 1
        })
    );
    assert_eq!(
        ab,
        of(&Flat {
            b: "x",
            rest: [('a', 1)].into()
        })
    );
    assert_ne!(ab, of(&Ab { a: 2, b: "x" }));
}

#[test]
fn what_looks_alike_stays_apart() {
    let all = [
        of(&()),
        of(&None::<u8>),
        of(&Some(())),
        of(&Some(None::<u8>)),
        of(""),
        of(&Bytes(b"")),
        of(&[0_u8; 0]),
        of(&[[0_u8; 0]]),
        of(&BTreeMap::<u8, u8>::new()),
        of(&("a", "bc")),
        of(&("ab", "c")),
        of(&("a", "b", "c")),
        of(&("a", ("b", "c"))),
        of(&["c", "b", "a"]),
        of(&"abc"),
        of(&Bytes(b"abc")),
        of(&"]"),
        of(&Payment::Cash),
        of(&"Cash"),
        of(&Payment::Card("Cash")),
        of(&BTreeMap::from([("Card", "Cash")])),
        of(&BTreeMap::from([("a", "b"), ("c", "d")])),
        of(&BTreeMap::from([("a", "d"), ("c", "b")])),
        of(&false),
        of(&0),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(
            !all[..index].contains(one),
            "number {index} has an earlier one's fingerprint"
        );
    }
}

#[test]
fn types_that_ask_are_told_it_is_human_readable() {
    assert_eq!(of(&Ipv4Addr::LOCALHOST), of("127.0.0.1"));
}

#[test]
fn what_the_type_said_is_the_errors_source() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("the lock is poisoned"))
        }
    }
    let error = Fingerprint::of(&[Refuses]).expect_err("an error");
    assert!(!error.to_string().contains("poisoned"), "{error}");
    let source = std::error::Error::source(&error).expect("the reason");
    assert_eq!(source.to_string(), "the lock is poisoned");
}

#[test]
fn a_map_that_breaks_serdes_rules_is_an_error() {
    struct Broken(&'static str);
    impl Serialize for Broken {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            for step in self.0.chars() {
                match step {
                    'k' => map.serialize_key("key")?,
                    _ => map.serialize_value("value")?,
                }
            }
            map.end()
        }
    }
    assert!(Fingerprint::of(&Broken("kvkv")).is_ok());
    for steps in ["k", "v", "kk", "kvv", "kvk"] {
        assert!(Fingerprint::of(&Broken(steps)).is_err(), "{steps}");
    }
}

/// Any value of serde's data model, few enough of each kind that equal and nearly equal ones occur.
#[derive(Clone, Debug)]
enum Tree {
    Unit,
    None,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Some(Box<Tree>),
    Sequence(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
    Variant(&'static str, Box<Tree>),
    UnitVariant(&'static str),
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => serializer.serialize_unit(),
            Self::None => serializer.serialize_none(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i128(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Some(value) => serializer.serialize_some(value),
            Self::Sequence(values) => {
                let mut sequence = serializer.serialize_seq(None)?;
                for value in values {
                    sequence.serialize_element(value)?;
                }
                sequence.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Variant(name, value) => {
                serializer.serialize_newtype_variant("Tree", 0, name, value)
            }
            Self::UnitVariant(name) => serializer.serialize_unit_variant("Tree", 0, name),
        }
    }
}

impl Tree {
    /// A text that is the same for what should have the same fingerprint, and for nothing else.
    fn meaning(&self) -> String {
        match self {
            Self::Float(value) if value.is_nan() => "NaN".to_owned(),
            Self::Float(value) => format!("{:?}", value + 0.0),
            Self::Some(value) => format!("Some({})", value.meaning()),
            Self::Sequence(values) => {
                format!("{:?}", values.iter().map(Self::meaning).collect::<Vec<_>>())
            }
            Self::Map(entries) => {
                let mut entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| (key.meaning(), value.meaning()))
                    .collect();
                entries.sort();
                format!("Map({entries:?})")
            }
            Self::Variant(name, value) => format!("{name}({})", value.meaning()),
            plain => format!("{plain:?}"),
        }
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("A"), Just("B")]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Unit),
        Just(Tree::None),
        any::<bool>().prop_map(Tree::Bool),
        (-2_i128..3).prop_map(Tree::Integer),
        any::<i128>().prop_map(Tree::Integer),
        prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), any::<f64>()].prop_map(Tree::Float),
        "[a\\[\\]]{0,2}".prop_map(Tree::Text),
        vec(0_u8..2, 0..2).prop_map(Tree::Bytes),
        name().prop_map(Tree::UnitVariant),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|value| Tree::Some(Box::new(value))),
            vec(inner.clone(), 0..3).prop_map(Tree::Sequence),
            vec((inner.clone(), inner.clone()), 0..3).prop_map(Tree::Map),
            (name(), inner).prop_map(|(name, value)| Tree::Variant(name, Box::new(value))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn fingerprints_are_equal_exactly_where_the_values_are(trees in vec(tree(), 2..12)) {
        let trees: Vec<_> = trees.iter().map(|tree| (of(tree), tree.meaning(), tree)).collect();
        for (one, meaning, tree) in &trees {
            for (other, its_meaning, its_tree) in &trees {
                prop_assert_eq!(one == other, meaning == its_meaning, "{:?} {:?}", tree, its_tree);
            }
        }
    }

    #[test]
    fn map_order_plays_no_part(entries in vec((tree(), tree()), 0..6), turn in 0_usize..6) {
        let mut turned = entries.clone();
        turned.rotate_left(turn.min(entries.len()));
        turned.reverse();
        prop_assert_eq!(of(&Tree::Map(entries)), of(&Tree::Map(turned)));
    }

    #[test]
    fn hash_maps_agree_with_sorted_ones(entries: HashMap<String, i16>) {
        let again: HashMap<String, i16> = entries.clone().into_iter().collect(); // another seed, another order
        let sorted: BTreeMap<String, i16> = entries.clone().into_iter().collect();
        prop_assert_eq!(of(&entries), of(&again));
        prop_assert_eq!(of(&entries), of(&sorted));
    }

    #[test]
    fn integers_of_every_width_agree(value: i8) {
        let wide = of(&i128::from(value));
        prop_assert_eq!(of(&value), wide);
        prop_assert_eq!(of(&i16::from(value)), wide);
        prop_assert_eq!(of(&i32::from(value)), wide);
        prop_assert_eq!(of(&i64::from(value)), wide);
        if let Ok(value) = u8::try_from(value) {
            prop_assert_eq!(of(&value), wide);
            prop_assert_eq!(of(&u16::from(value)), wide);
            prop_assert_eq!(of(&u32::from(value)), wide);
            prop_assert_eq!(of(&u64::from(value)), wide);
            prop_assert_eq!(of(&u128::from(value)), wide);
        }
    }
}

/// Gives keys without values.
struct Halves;

impl Serialize for Halves {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_key("SecretPatientName")?;
        map.end()
    }
}

/// Imitates our words.
struct Talker;

impl Serialize for Talker {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(
            "a map ended after SecretPatientName",
        ))
    }
}

#[test]
fn our_own_refusals_are_shown_whole_and_nobody_elses() {
    let shown = Fingerprint::of(&Halves).expect_err("half a map").shape();
    assert_eq!(shown, "a map ended after a key without its value");
    let shown = Fingerprint::of(&Talker).expect_err("it gives up").shape();
    assert!(!shown.contains("Secret"), "{shown}");
}

/// A level of each kind.
#[derive(Serialize)]
enum Deep {
    End,
    Newtype(Box<Deep>),
    Tuple(Box<Deep>, u8),
    Struct { inside: Box<Deep> },
    Sequence(Vec<Deep>),
    Map(BTreeMap<u8, Deep>),
    Some(Option<Wrapped>),
}

#[derive(Serialize)]
struct Wrapped(Box<Deep>);

/// Drop, derived, would take the stack too.
impl Drop for Deep {
    fn drop(&mut self) {
        let mut left = self.inside();
        while let Some(mut deep) = left {
            left = deep.inside();
        }
    }
}

impl Deep {
    fn inside(&mut self) -> Option<Deep> {
        match self {
            Self::End => None,
            Self::Newtype(inside) | Self::Tuple(inside, _) | Self::Struct { inside } => {
                Some(std::mem::replace(&mut **inside, Self::End))
            }
            Self::Sequence(inside) => inside.pop(),
            Self::Map(inside) => inside.remove(&0),
            Self::Some(inside) => inside
                .take()
                .map(|mut inside| std::mem::replace(&mut *inside.0, Self::End)),
        }
    }
}

/// The stack of a thread holds some 2,000 levels, and running out of it ends the process.
#[test]
fn what_is_nested_too_deeply_is_refused() {
    type Around = fn(Deep) -> Deep;
    // Each with the number of levels that it takes.
    let kinds: [(Around, usize); 6] = [
        (|deep| Deep::Newtype(Box::new(deep)), 1),
        (|deep| Deep::Tuple(Box::new(deep), 1), 1),
        (
            |deep| Deep::Struct {
                inside: Box::new(deep),
            },
            1,
        ),
        (|deep| Deep::Sequence(vec![deep]), 2),
        (|deep| Deep::Map(BTreeMap::from([(0, deep)])), 2),
        (|deep| Deep::Some(Some(Wrapped(Box::new(deep)))), 3),
    ];
    for (kind, (around, levels)) in kinds.into_iter().enumerate() {
        let nest = |times: usize| (0..times).fold(Deep::End, |deep, _| around(deep));
        let most = 512 / levels;
        assert!(Fingerprint::of(&nest(most)).is_ok(), "{kind}");
        for times in [most + 1, 2_000, 100_000] {
            let error = Fingerprint::of(&nest(times)).expect_err("it is too deep");
            let text = "nested more deeply than 512 levels";
            assert!(error.to_string().contains(text), "{kind}: {error}");
        }
    }
}
