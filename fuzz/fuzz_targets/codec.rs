//! Any bytes decode to a value or an error. A value that can be encoded comes back the same. The
//! encoder writes the same bytes as the serialisation library whose decoder reads them.

#![no_main]

use std::{collections::BTreeMap, fmt::Debug, net::IpAddr};

use idempotent_runtime::codec::{Codec, MessagePack};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[derive(Debug, Serialize, Deserialize)]
enum External {
    Unit,
    New(Box<Internal>),
    Tuple(IpAddr, u128),
    Struct { list: Vec<Adjacent>, at: Option<char> },
    Next(Box<External>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t")]
enum Internal {
    Unit,
    Map(BTreeMap<String, Untagged>),
    Struct { ip: Option<IpAddr>, n: i128, inner: Vec<External> },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    New(Untagged),
    Tuple(f64, Vec<u8>),
    Struct { flat: Flat },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Ip(IpAddr),
    Text(String),
    Data(Data),
    Octets([u8; 4]),
    List(Vec<Untagged>),
    Flat(Box<Flat>),
    Keys(BTreeMap<i32, ()>),
    Nothing,
}

/// Bytes, as `serde_bytes` has them.
#[derive(Debug)]
struct Data(Vec<u8>);

impl Serialize for Data {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Data;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Data, E> {
                Ok(Data(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Flat {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<Option<i8>>,
    #[serde(flatten)]
    inner: Option<Inner>,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Inner {
    ip: IpAddr,
    wide: Option<u128>,
}

fn try_as<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let Ok(value) = <MessagePack as Codec<T>>::decode(bytes) else {
        return;
    };
    let mut written = Vec::new();
    if MessagePack::encode(&value, &mut written).is_err() {
        return;
    }
    let back = <MessagePack as Codec<T>>::decode(&written).expect("what is encoded is decoded");
    assert_eq!(format!("{back:?}"), format!("{value:?}"), "{written:x?}");

    let mut by_library = Vec::new();
    let mut library = rmp_serde::Serializer::new(&mut by_library)
        .with_struct_map()
        .with_human_readable();
    value.serialize(&mut library).expect("the library writes it");
    assert_eq!(written, by_library);
}

fuzz_target!(|bytes: &[u8]| {
    try_as::<External>(bytes);
    try_as::<Internal>(bytes);
    try_as::<Adjacent>(bytes);
    try_as::<Untagged>(bytes);
    try_as::<Flat>(bytes);
    try_as::<BTreeMap<(i64, Option<bool>), Option<f32>>>(bytes);
});
