//! The floors in memory: the least time that any library with the same means needs, from a bare
//! lookup to everything that a call must do.

use std::{
    cell::RefCell,
    fmt::{Display, Write},
    future::Future,
    pin::Pin,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use arrayvec::{ArrayString, ArrayVec};
use dashmap::{DashMap, Entry};
use serde::Deserialize;

use crate::own::*;

/// A sharded map, and the record's bytes.
pub type Floor<V> = DashMap<Box<str>, V, foldhash::fast::RandomState>;

pub enum Slot {
    Running([u8; 16]),
    Done(Box<[u8]>),
}

/// A slot with its end, in microseconds.
pub struct Kept {
    gone: u64,
    slot: Slot,
}

pub static FLOOR: LazyLock<Floor<Slot>> = LazyLock::new(Default::default);
pub static KEPT: LazyLock<Floor<Kept>> = LazyLock::new(Default::default);

/// A replay: look the key up, decode under the guard.
pub async fn replay(key: &str) -> Option<Receipt> {
    match &*FLOOR.get(key)? {
        Slot::Done(bytes) => rmp_serde::from_slice(bytes).ok(),
        Slot::Running(_) => None,
    }
}

/// The key is not at hand in any call: scope and `Display` have to write it.
type Text = ArrayString<92>;

fn text(order: &'static str) -> Option<Text> {
    let mut key = Text::new();
    write!(key, "{SCOPE}|{}", &order as &dyn Display).ok()?;
    Some(key)
}

pub async fn replay_by_text(order: &'static str) -> Option<Receipt> {
    replay(&text(order)?).await
}

/// The same, of a record that has an end, and of bytes that have to be the value and no more.
pub async fn replay_owed(order: &'static str) -> Option<Receipt> {
    let kept = KEPT.get(&*text(order)?)?;
    match &kept.slot {
        Slot::Done(bytes) if CLOCK.recent() < kept.gone => whole(bytes),
        _ => None,
    }
}

fn whole(bytes: &[u8]) -> Option<Receipt> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    let receipt = Receipt::deserialize(&mut reader).ok()?;
    <()>::deserialize(&mut reader).is_err().then_some(receipt)
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
pub async fn first(key: &str, order: &'static str) -> Option<Receipt> {
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

/// The same with what a call owes: it writes its key and looks for a result first; its body is
/// boxed, to outlive its caller, and can share what it runs for; claim and result end at a time of
/// the clock's.
pub async fn first_owed(order: &'static str) -> Option<Receipt> {
    let key = text(order)?;
    if KEPT.get(&*key).is_some() {
        return None;
    }
    let execution = Arc::new(Execution {
        nonce: nonce()?,
        key,
    });
    let body: Pin<Box<dyn Future<Output = Receipt> + Send>> = Box::pin(async { receipt(order) });
    let (nonce, key) = (execution.nonce, &*execution.key);
    match KEPT.entry(key.into()) {
        Entry::Occupied(_) => return None,
        Entry::Vacant(entry) => drop(entry.insert(Kept {
            gone: CLOCK.now() + micros(7 * DAY),
            slot: Slot::Running(nonce),
        })),
    }
    let receipt = body.await;
    let bytes = rmp_serde::to_vec_named(&receipt).ok()?;
    let mut kept = KEPT.get_mut(key)?;
    if matches!(&kept.slot, Slot::Running(owner) if *owner == nonce) {
        *kept = Kept {
            gone: CLOCK.now() + micros(DAY),
            slot: Slot::Done(bytes.into()),
        };
    }
    Some(receipt)
}

struct Execution {
    nonce: [u8; 16],
    key: Text,
}

static CLOCK: LazyLock<Clock> = LazyLock::new(|| Clock {
    start: Instant::now(),
    coarse: coarsetime::Instant::now_without_cache_update(),
});

struct Clock {
    start: Instant,
    coarse: coarsetime::Instant,
}

impl Clock {
    fn now(&self) -> u64 {
        micros(self.start.elapsed())
    }

    /// Some milliseconds ago: enough for a replay, at a quarter of the cost.
    fn recent(&self) -> u64 {
        let now = coarsetime::Instant::now_without_cache_update();
        now.duration_since(self.coarse).as_micros()
    }
}

fn micros(time: Duration) -> u64 {
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}
