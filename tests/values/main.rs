//! A recorded result comes back as the same value, or is refused when it is encoded. It never comes
//! back as another value, and is never lost.

#![allow(
    clippy::option_option,
    clippy::zero_sized_map_values,
    reason = "they are what is tried here"
)]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod refused;
mod shapes;

use std::fmt::Debug;

use idempotent_fn::codec::{Codec, MessagePack};
use serde::{Serialize, de::DeserializeOwned};

trait Value: Serialize + DeserializeOwned + PartialEq + Debug {}

impl<T: Serialize + DeserializeOwned + PartialEq + Debug> Value for T {}

fn encode<C: Codec<T>, T>(value: &T) -> Result<Vec<u8>, String> {
    let mut bytes = b"before".to_vec();
    C::encode(value, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes.split_off(6))
}

/// It comes back equal, and what came back does so again.
fn comes_back_by<C: Codec<T>, T: Value>(value: &T) {
    let bytes = encode::<C, T>(value).expect("it is encoded");
    let once = C::decode(&bytes).expect("it is decoded");
    assert_eq!(&once, value);
    let bytes = encode::<C, T>(&once).expect("it is encoded again");
    let twice = C::decode(&bytes).expect("it is decoded again");
    assert_eq!(&twice, value);
}

fn comes_back<T: Value>(value: &T) {
    comes_back_by::<MessagePack, T>(value);
    #[cfg(feature = "json")]
    comes_back_in_json(value);
}

/// JSON refuses some: keys that are no text. What it takes comes back.
#[cfg(feature = "json")]
fn comes_back_in_json<T: Value>(value: &T) {
    use idempotent_fn::codec::Json;
    if encode::<Json, T>(value).is_ok() {
        comes_back_by::<Json, T>(value);
    }
}

fn is_refused_by<C: Codec<T>, T: Value>(value: &T) {
    let encoded = encode::<C, T>(value);
    let decoded = encoded.as_deref().map(C::decode);
    assert!(encoded.is_err(), "{value:?} comes back as {decoded:?}");
}

fn is_refused<T: Value>(value: &T) {
    is_refused_by::<MessagePack, T>(value);
}
