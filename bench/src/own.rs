//! This library's measured function, and how it is run.

use std::{sync::LazyLock, time::Duration};

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

/// Order ids, as idempotency keys are: text. They live for ever, so that no subject pays for
/// copying its argument.
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
