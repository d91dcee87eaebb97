//! The types that serde knows, and how each comes back.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque},
    ffi::CString,
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    num::{NonZeroI128, NonZeroU64, Wrapping},
    ops::{Bound, Range, RangeInclusive},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use super::comes_back;

macro_rules! types {
    ($($(#[$meta:meta])* $kind:ident $name:ident $(<$generic:ident>)? { $($body:tt)* })*) => {
        $(#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)] $(#[$meta])*
        pub(super) $kind $name $(<$generic>)? { $($body)* })*
    };
}

types! {
    // The four ways to tag an enum.
    enum External<T> { Unit, New(T), Tuple(T, u8), Struct { inner: T } }
    #[serde(tag = "type")]
    enum Internal<T> { Unit, Struct { inner: T }, Other { inner: Option<T>, more: Vec<T> } }
    #[serde(tag = "t", content = "c")]
    enum Adjacent<T> { Unit, New(T), Tuple(T, u8), Struct { inner: T } }
    #[serde(tag = "t", content = "c", rename_all = "kebab-case", deny_unknown_fields)]
    enum Strict<T> { New(T), TheOther { inner: T } }
    #[serde(untagged)]
    enum Untagged<T> { Struct { inner: T }, Tuple(T, bool), New(T), Unit }

    #[serde(untagged)]
    enum Host { Ip(IpAddr), Name(String) }
    #[serde(untagged)]
    enum Address { V4(Ipv4Addr), Octets([u8; 4]) }
    #[serde(untagged)]
    enum Id { Number(u64), Uuid(Uuid), Text(String) }
    #[serde(untagged)]
    enum Shape { Empty(Nothing), List(Vec<u8>) }
    #[serde(untagged)]
    enum ListFirst { List(Vec<u8>), Empty(Nothing) }
    #[serde(tag = "kind")]
    enum Carries { Base(Base), Map(BTreeMap<String, IpAddr>), Nothing(Nothing), Unit }
    #[serde(tag = "type")]
    enum Event { Seen { from: IpAddr, id: Uuid }, Listening { at: SocketAddr }, Other }

    struct Nothing {}
    struct Base { ip: Ipv4Addr, id: Uuid }
    struct Flat { name: String, #[serde(flatten)] base: Base }
    struct FlatEnum { name: String, #[serde(flatten)] event: Event }
    struct FlatMap { name: String, #[serde(flatten)] rest: BTreeMap<String, serde_json::Value> }
    struct FlatOption { name: String, #[serde(flatten)] base: Option<Base> }
    struct FlatFlat { n: u8, #[serde(flatten)] flat: Flat, at: SocketAddr }
    struct FlatNumbers { name: String, #[serde(flatten)] rest: BTreeMap<u32, IpAddr> }
    #[serde(default)]
    struct Sparse { #[serde(skip_serializing_if = "Option::is_none")] ip: Option<IpAddr>, #[serde(rename = "x y")] n: u8 }
    struct Bytes { #[serde(with = "serde_bytes")] data: Vec<u8> }
    struct FlatBytes { n: u8, #[serde(flatten)] bytes: Bytes }
    #[serde(untagged)]
    enum BytesFirst { Data(#[serde(with = "serde_bytes")] Vec<u8>), Text(String) }
    enum Tree { Leaf(u8), Node(Vec<Tree>) }
    #[serde(transparent)]
    struct Clear { inner: SocketAddr }
    #[serde(into = "String", try_from = "String")]
    struct ByText { inner: u32 }
    struct Patch {
        #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_with::rust::double_option")]
        name: Option<Option<String>>,
    }
}

impl Default for Sparse {
    fn default() -> Self {
        Self { ip: None, n: 1 }
    }
}

impl From<ByText> for String {
    fn from(value: ByText) -> Self {
        value.inner.to_string()
    }
}

impl TryFrom<String> for ByText {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(|inner| Self { inner })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Letter {
    A,
    B,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct New<T>(T);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum UnitOrList {
    List(Vec<u8>),
    Unit(Unit),
}

#[serde_with::serde_as]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Adapted {
    #[serde_as(as = "serde_with::hex::Hex")]
    hex: Vec<u8>,
    #[serde_as(as = "serde_with::DurationSeconds<u64>")]
    seconds: Duration,
    #[serde_as(as = "Vec<(_, _)>")]
    pairs: BTreeMap<(u8, u8), IpAddr>,
    #[serde_as(as = "serde_with::DisplayFromStr")]
    text: u128,
    #[serde_as(as = "serde_with::Bytes")]
    bytes: [u8; 3],
    #[serde_as(as = "serde_with::Map<_, _>")]
    entries: Vec<(String, IpAddr)>,
}

pub(super) fn v4() -> IpAddr {
    Ipv4Addr::new(8, 8, 4, 4).into()
}

fn socket() -> SocketAddr {
    "[2001:db8::1]:443".parse().unwrap()
}

pub(super) fn uuid() -> Uuid {
    Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788)
}

pub(super) fn base() -> Base {
    Base {
        ip: Ipv4Addr::LOCALHOST,
        id: uuid(),
    }
}

pub(super) fn flat() -> Flat {
    Flat {
        name: "n".into(),
        base: base(),
    }
}

/// All four taggings, with each of their kinds of variants.
fn in_every_enum<T: Clone + super::Value>(inner: &T) {
    let inner = || inner.clone();
    comes_back(&[
        External::Unit,
        External::New(inner()),
        External::Tuple(inner(), 1),
        External::Struct { inner: inner() },
    ]);
    comes_back(&[
        Internal::Unit,
        Internal::Struct { inner: inner() },
        Internal::Other {
            inner: Some(inner()),
            more: vec![inner(), inner()],
        },
    ]);
    comes_back(&[
        Adjacent::Unit,
        Adjacent::New(inner()),
        Adjacent::Tuple(inner(), 1),
        Adjacent::Struct { inner: inner() },
    ]);
    comes_back(&[Strict::New(inner()), Strict::TheOther { inner: inner() }]);
    comes_back(&[
        Untagged::Struct { inner: inner() },
        Untagged::Tuple(inner(), true),
        Untagged::New(inner()),
        Untagged::Unit,
    ]);
    // One inside of another: what is buffered is buffered again.
    comes_back(&Internal::Struct {
        inner: Untagged::New(Adjacent::New(External::New(inner()))),
    });
    comes_back(&BTreeMap::from([(
        "k".to_owned(),
        External::Struct {
            inner: Internal::Struct { inner: inner() },
        },
    )]));
}

macro_rules! in_every_enum {
    ($($name:ident: $value:expr;)*) => {
        $(#[test] fn $name() { in_every_enum(&$value); })*
    };
}

// Each is some twenty shapes.
in_every_enum! {
    a_v4_address_in_every_enum: v4();
    a_v6_address_in_every_enum: IpAddr::from(Ipv6Addr::LOCALHOST);
    a_socket_address_in_every_enum: socket();
    a_uuid_in_every_enum: uuid();
    a_decimal_in_every_enum: Decimal::new(-12_345, 3);
    a_url_in_every_enum: Url::parse("https://example.org/a?b=c#d").unwrap();
    a_chrono_time_in_every_enum: chrono_time();
    a_time_in_every_enum: time::macros::datetime!(2026-11-30 10:00:00.123 +02:00);
    a_duration_in_every_enum: Duration::new(5, 7);
    a_system_time_in_every_enum: SystemTime::UNIX_EPOCH + Duration::new(5, 7);
    bytes_in_every_enum: serde_bytes::ByteBuf::from([0, 200, 255]);
    shared_bytes_in_every_enum: bytes::Bytes::from_static(b"\xff\x00text");
    an_array_of_bytes_in_every_enum: [0_u8, 127, 128, 255];
    a_float_in_every_enum: 0.1_f64 + 0.2;
    a_short_float_in_every_enum: 0.1_f32;
    a_char_in_every_enum: 'ß';
    a_large_integer_in_every_enum: u64::MAX;
    a_small_integer_in_every_enum: i64::MIN;
    a_map_with_numbers_as_keys_in_every_enum: BTreeMap::from([(1_u32, v4()), (2, v4())]);
    a_map_with_tuples_as_keys_in_every_enum: BTreeMap::from([((1_u8, 'a'), v4()), ((2, 'b'), v4())]);
    a_map_with_addresses_as_keys_in_every_enum: HashMap::from([(v4(), 1_u8), (IpAddr::from(Ipv6Addr::LOCALHOST), 2)]);
    a_set_of_letters_in_every_enum: BTreeSet::from([Letter::A, Letter::B]);
    a_result_in_every_enum: Ok::<IpAddr, String>(v4());
    a_flattened_struct_in_every_enum: flat();
    an_empty_struct_in_every_enum: Nothing {};
}

fn chrono_time() -> chrono::DateTime<chrono::FixedOffset> {
    chrono::DateTime::parse_from_rfc3339("2026-11-30T10:00:00.123456789+02:00").unwrap()
}

macro_rules! shapes {
    ($($name:ident: $($value:expr),+;)*) => {
        $(#[test] fn $name() { $(comes_back(&$value);)+ })*
    };
}

shapes! {
    unit: ();
    a_unit_struct: Unit, vec![Unit, Unit], New(Unit), PhantomData::<u8>;
    a_unit_struct_is_not_an_empty_list: UnitOrList::Unit(Unit), UnitOrList::List(vec![]);
    an_empty_struct_is_not_an_empty_list: Shape::Empty(Nothing {}), Shape::List(vec![1]),
        ListFirst::Empty(Nothing {}), ListFirst::List(vec![]);
    booleans: true, false, [true, false];
    none_and_some: None::<u8>, Some(0_u8), Some(vec![None, Some(1_u8)]), Some(false), Some(String::new());
    integers: [i8::MIN, -1, 0, i8::MAX], [i16::MIN, i16::MAX], [i32::MIN, i32::MAX], [i64::MIN, i64::MAX],
        [u8::MAX, 0], [u16::MAX, 256], [u32::MAX, 65_536], [u64::MAX, 1 << 32];
    wide_integers: [u128::MAX, u128::from(u64::MAX) + 1, 0], [i128::MIN, i128::MAX, -1, i128::from(u64::MAX)],
        Some(u128::MAX), BTreeMap::from([(u128::MAX, i128::MIN)]), NonZeroI128::MIN;
    floats: [f64::MIN, f64::MAX, f64::EPSILON, 0.1, -0.0], [f32::MIN, f32::MAX, f32::MIN_POSITIVE, 0.1];
    text: String::new(), "é\u{1F600}\0".to_owned(), "x".repeat(70_000), 'a', '\u{10ffff}';
    shared_text: Arc::<str>::from("x"), Rc::<str>::from("x"), Box::<str>::from("x"), Cow::<'static, str>::Owned("x".into());
    pointers: Arc::new(v4()), Box::new(Some(v4())), Rc::new(7_u8), Cow::<'static, [u8]>::Owned(vec![1, 2]);
    cells: Cell::new(1_u8), RefCell::new(v4());
    tuples: (1_u8, "a".to_owned(), v4()), ((1_u8,), [(2_u8, 3_u8); 3]), (uuid(), None::<u8>);
    arrays: [0_u8; 0], [[1_u16; 3]; 2], [v4(); 17];
    lists: vec![v4()], VecDeque::from([1, 2]), LinkedList::from([1, 2]), vec![vec![vec![0_u8]]], Vec::<()>::from([(), ()]);
    a_heap: BinaryHeap::from([3, 1, 2]).into_sorted_vec(), Reverse(1_u8);
    sets: BTreeSet::from([v4()]), HashSet::from([uuid(), Uuid::nil()]), (0..1000).collect::<HashSet<u32>>();
    maps_by_text: BTreeMap::from([("a".to_owned(), v4())]), HashMap::from([(String::new(), ())]);
    maps_by_number: HashMap::from([(1_i64, 'a'), (-1, 'b')]), BTreeMap::from([(u64::MAX, ())]);
    maps_by_tuple: HashMap::from([((1_u8, "a".to_owned()), v4()), ((2, "b".to_owned()), v4())]);
    maps_by_variant: BTreeMap::from([(Letter::A, 1_u8), (Letter::B, 2)]);
    maps_by_option: BTreeMap::from([(None, 1_u8), (Some(1_u8), 2)]), BTreeMap::from([(true, 1_u8)]);
    maps_by_address: HashMap::from([(v4(), socket())]), BTreeMap::from([(uuid(), chrono_time())]);
    large_maps: (0..1000).map(|n| (n, uuid())).collect::<HashMap<u32, Uuid>>();
    variants: [External::Unit, External::New(1_u8), External::Tuple(1, 2), External::Struct { inner: 3 }],
        External::New(()), External::New(None::<u8>), External::New(External::New(vec![1_u8])), [Letter::A, Letter::B];
    a_tree: Tree::Node(vec![Tree::Leaf(1), Tree::Node(vec![Tree::Node(vec![]), Tree::Leaf(2)])]);
    results: [Ok(v4()), Err("no".to_owned())], Ok::<(), u8>(());
    ranges: Range { start: 1, end: 5 }, RangeInclusive::new(v4(), v4()), Bound::Included(1_u8), Bound::<u8>::Unbounded;
    numbers_in_wraps: Wrapping(7_u8), NonZeroU64::MAX;
    durations: Duration::MAX, Duration::ZERO, SystemTime::UNIX_EPOCH;
    paths: PathBuf::from("/a/b"), CString::new("c\u{ff}").unwrap();
    addresses: v4(), IpAddr::from(Ipv6Addr::LOCALHOST), Ipv4Addr::BROADCAST, socket(),
        SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0, 0), vec![Some(v4()), None];
    an_untagged_address: Host::Ip(v4()), Host::Name("localhost".into());
    an_untagged_address_is_not_its_octets: Address::Octets([1, 2, 3, 4]), Address::Octets([200, 0, 0, 1]),
        Address::V4(Ipv4Addr::new(8, 8, 8, 8));
    an_untagged_identifier: Id::Number(7), Id::Uuid(uuid()), Id::Text("seven".into());
    a_tagged_address: Event::Seen { from: v4(), id: uuid() }, Event::Listening { at: socket() }, Event::Other;
    a_tagged_newtype: Carries::Base(base()), Carries::Map(BTreeMap::from([("a".into(), v4())])),
        Carries::Nothing(Nothing {}), Carries::Unit;
    a_flattened_address: flat(), vec![flat()], New(Some(flat()));
    a_flattened_enum: FlatEnum { name: "n".into(), event: Event::Seen { from: v4(), id: uuid() } },
        FlatEnum { name: "n".into(), event: Event::Other };
    a_flattened_map: FlatMap { name: "n".into(), rest: [("a".to_owned(), json!([1, null, {"b": 0.5}]))].into() };
    a_flattened_option: FlatOption { name: "n".into(), base: Some(base()) }, FlatOption { name: "n".into(), base: None };
    a_flattened_flattened: FlatFlat { n: 1, flat: flat(), at: socket() };
    a_flattened_map_by_number: FlatNumbers { name: "n".into(), rest: [(1, v4()), (2, v4())].into() };
    a_sparse_struct: Sparse { ip: None, n: 2 }, Sparse { ip: Some(v4()), n: 1 };
    a_transparent_struct: Clear { inner: socket() }, Internal::Struct { inner: Clear { inner: socket() } };
    a_struct_by_text: ByText { inner: 7 }, Untagged::New(ByText { inner: 7 });
    a_patch_with_two_options: Patch { name: None }, Patch { name: Some(None) }, Patch { name: Some(Some("n".into())) };
    bytes: Bytes { data: vec![] }, Bytes { data: vec![0, 255] }, serde_bytes::ByteArray::new([1, 255]);
    flattened_bytes: FlatBytes { n: 1, bytes: Bytes { data: vec![0, 255] } };
    untagged_bytes_before_text: BytesFirst::Data(vec![0, 255]), BytesFirst::Data(b"text".to_vec());
    shared_bytes: bytes::Bytes::from_static(b"\xff\0"), bytes::BytesMut::from(&b"a"[..]);
    decimals: Decimal::MAX, Decimal::new(10, 1), vec![Decimal::MIN, Decimal::ZERO];
    urls: Url::parse("http://user:p%40ss@[::1]:8080/é?q#f").unwrap();
    chrono_types: chrono_time(), chrono_time().to_utc(), chrono_time().naive_utc(), chrono_time().date_naive(),
        chrono_time().time(), chrono::Weekday::Mon, chrono::TimeDelta::milliseconds(-1500);
    time_types: time::macros::datetime!(2026-11-30 10:00 UTC), time::macros::date!(2026-11-30), time::macros::time!(10:00:00.5),
        time::macros::offset!(-03:30), time::Duration::new(-1, -5), time::Month::May;
    json_values: json!(null), json!({"a": [1, -1, 1.5, "é", null, true, {}], "": u64::MAX}), vec![json!(null)];
    adapted_by_serde_with: Adapted {
        hex: vec![0, 255], seconds: Duration::from_secs(9), pairs: [((1, 2), v4())].into(), text: u128::MAX,
        bytes: [0, 127, 255], entries: vec![("a".into(), v4())],
    };
}

/// Bit by bit: a float is not a number to be rounded, and one that is not a number keeps what it
/// carries.
#[test]
fn floats_keep_every_bit() {
    use idempotent_fn::codec::{Codec, MessagePack};
    let mut seed = 1_u64;
    for _ in 0..2000 {
        seed = seed
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        for bits in [
            seed,
            seed | 0x7ff0_0000_0000_0000,
            seed & 0x800f_ffff_ffff_ffff,
        ] {
            let value = Untagged::New(f64::from_bits(bits));
            let bytes = super::encode::<MessagePack, _>(&value).unwrap();
            let back = <MessagePack as Codec<Untagged<f64>>>::decode(&bytes).unwrap();
            assert!(matches!(back, Untagged::New(back) if back.to_bits() == bits));
            let short = f32::from_bits((bits >> 32) as u32);
            let bytes = super::encode::<MessagePack, _>(&short).unwrap();
            let back = <MessagePack as Codec<f32>>::decode(&bytes).unwrap();
            assert_eq!(back.to_bits(), short.to_bits());
            if value == value.clone() {
                comes_back(&value);
                comes_back(&f64::from_bits(bits));
            }
        }
    }
}
