//! Every option, in the crate that denies all lints.

use std::time::Duration;

use idempotent_fn::{Error, OnErr, SharedStore, idempotent};

use crate::{Failure, Outcome, fresh};

/// How long a result is kept.
pub const KEPT: Duration = Duration::from_secs(60);

/// Durations, as text and as expressions.
#[idempotent(key = &id[..], ttl = KEPT, lease = "1m30s", wait = Duration::from_secs(60) * 2)]
pub async fn durations(id: String) -> Outcome {
    Ok(id.len() as u64 + fresh())
}

/// A store of the caller's own.
#[idempotent(key = id, store = store, fingerprint = (amount, &currency, id))]
pub async fn stored(
    store: SharedStore,
    id: u64,
    amount: u64,
    currency: String,
) -> Outcome<(u64, String)> {
    Ok((amount + fresh(), currency))
}

/// A store behind a reference.
#[idempotent(key = id, store = &store, detach = false, fingerprint = &store_name)]
pub async fn borrowed_store(store: &SharedStore, store_name: &str, id: u64) -> Outcome {
    let _ = (store, store_name);
    Ok(id + fresh())
}

/// Errors are final.
#[idempotent(key = id, on_err = record, on_crash = fail, detach = true)]
pub async fn recorded(id: u64) -> Outcome {
    Err(Failure(format!("{id} {}", fresh())))
}

/// Errors decide.
#[idempotent(key = id, on_err = decide)]
pub async fn decided(id: u64) -> Outcome {
    Err(Failure(format!("{id} {}", fresh())))
}

fn decide(_: &Failure) -> OnErr {
    OnErr::Record
}

/// Errors decide, in place.
#[idempotent(key = id, on_err = |error: &Failure| if error.0.is_empty() { OnErr::Rerun } else { OnErr::Record })]
pub async fn decided_in_place(id: u64) -> Outcome {
    Err(Failure(format!("{id} {}", fresh())))
}

/// The facade by another path, and our error into one that has no `From`.
#[idempotent(key = id, crate = crate::options::again, map_err = |error: Error| error.to_string(), on_crash = rerun)]
pub async fn renamed(id: u64) -> Result<u64, String> {
    Ok(id + fresh())
}

pub(crate) use idempotent_fn as again;
