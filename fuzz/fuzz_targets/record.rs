//! Any bytes decode to a record or an error. A record keeps its meaning when it is encoded again.

#![no_main]

use std::collections::HashMap;

use idempotent_runtime::{codec::{Codec, MessagePack}, record::Record};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Receipt {
    id: String,
    lines: Vec<Line>,
    notes: HashMap<String, Option<Vec<u64>>>,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Empty,
    Item { price: u64, tax: f32 },
    More(Box<[Line]>),
}

fuzz_target!(|bytes: &[u8]| {
    // The result is read as bytes of its own, so that the header need not be found first.
    drop(<MessagePack as Codec<Receipt>>::decode(bytes));
    let Ok(record) = Record::decode(bytes) else {
        return;
    };
    let again =
        Record::decode(&record.encode()).expect("what was read can be written and read again");
    assert_eq!(again, record);
    if let Some(outcome) = &record.outcome {
        drop(<MessagePack as Codec<Receipt>>::decode(outcome.bytes()));
    }
});
