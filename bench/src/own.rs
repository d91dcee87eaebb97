//! The one function that is measured, as we run it, and the floor: what no library over these means can be faster than.

use std::{
    cell::RefCell,
    fmt::{Display, Write},
    sync::LazyLock,
    time::Duration,
};

use arrayvec::{ArrayString, ArrayVec};
use dashmap::{DashMap, Entry};
use idempotent_fn::{Error, SharedStore, idempotent, store::MemoryStore};
use serde::{Deserialize, Serialize};

/// How long results are kept, wherever that can be said.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub const SCOPE: &str = "bench.charge";

/// The recorded result: 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub id: u64,
    pub cents: u64,
    pub fee: u64,
    pub tax: u64,
    pub paid_at: u64,
}

/// Stands for the effect: it costs next to nothing.
pub fn receipt(order: &str) -> Receipt {
    let digits = order.bytes().filter(u8::is_ascii_digit);
    let id = digits.fold(0, |id, digit| id * 10 + u64::from(digit - b'0'));
    Receipt {
        id,
        cents: 1_999,
        fee: 29,
        tax: 319,
        paid_at: 1_790_000_000,
    }
}

/// Order ids, as idempotency keys are: text. They live for ever, so that no subject pays for copying its argument.
pub fn orders(count: usize) -> Vec<&'static str> {
    (0..count)
        .map(|id| &*format!("order-{id:07}").leak())
        .collect()
}

#[idempotent(scope = SCOPE, key = order)]
pub async fn ours(order: &'static str) -> Result<Receipt, Error> {
    Ok(receipt(order))
}

/// A store of its own, so that each subject's records are as many.
static WITH_FINGERPRINT: LazyLock<SharedStore> = LazyLock::new(|| MemoryStore::new().into());

#[idempotent(scope = "bench.charge-fp", key = order, fingerprint = order, store = *WITH_FINGERPRINT)]
pub async fn ours_with_fingerprint(order: &'static str) -> Result<Receipt, Error> {
    Ok(receipt(order))
}

/// What nobody can be faster than with these means: a sharded map, and the record's bytes.
pub type Floor = DashMap<Box<str>, Slot, foldhash::fast::RandomState>;

pub enum Slot {
    Running([u8; 16]),
    Done(Box<[u8]>),
}

pub static FLOOR: LazyLock<Floor> = LazyLock::new(|| DashMap::with_hasher(Default::default()));

/// A replay: look the key up, decode under the guard.
pub async fn floor_replay(key: &str) -> Option<Receipt> {
    match &*FLOOR.get(key)? {
        Slot::Done(bytes) => rmp_serde::from_slice(bytes).ok(),
        Slot::Running(_) => None,
    }
}

/// The same, where the key is not at hand: it is written as any call by scope and `Display` has to write it.
pub async fn floor_written(order: &'static str) -> Option<Receipt> {
    let mut key = ArrayString::<92>::new();
    write!(key, "{SCOPE}|{}", &order as &dyn Display).ok()?;
    floor_replay(&key).await
}

thread_local! {
    static NONCES: RefCell<ArrayVec<[u8; 16], 16>> = const { RefCell::new(ArrayVec::new_const()) };
}

/// A nonce of the operating system's, drawn with fifteen others.
fn nonce() -> Option<[u8; 16]> {
    NONCES.with_borrow_mut(|nonces| {
        if nonces.is_empty() {
            let mut drawn = [[0; 16]; 16];
            getrandom::fill(drawn.as_flattened_mut()).ok()?;
            nonces.extend(drawn);
        }
        nonces.pop()
    })
}

/// A first call: claim with a nonce, run, encode, complete.
pub async fn floor_first(key: &str, order: &'static str) -> Option<Receipt> {
    let nonce = nonce()?;
    match FLOOR.entry(key.into()) {
        Entry::Occupied(_) => return None,
        Entry::Vacant(entry) => drop(entry.insert(Slot::Running(nonce))),
    }
    let receipt = receipt(order);
    let bytes = rmp_serde::to_vec_named(&receipt).ok()?;
    let mut slot = FLOOR.get_mut(key)?;
    if matches!(&*slot, Slot::Running(owner) if *owner == nonce) {
        *slot = Slot::Done(bytes.into());
    }
    Some(receipt)
}
