//! The peers, each as its own documentation advises.

use std::time::Duration;

use cached::macros::{cached, concurrent_cached};

use crate::own::{DAY, Receipt, SCOPE, receipt};

#[cached(ttl_secs = 86_400)]
pub async fn cached_default(order: &'static str) -> Result<Receipt, String> {
    Ok(receipt(order))
}

#[cached(ttl_secs = 86_400, sync_writes = true)]
pub async fn cached_sync(order: &'static str) -> Result<Receipt, String> {
    Ok(receipt(order))
}

#[cached(ttl_secs = 86_400, sync_writes = "by_key")]
pub async fn cached_by_key(order: &'static str) -> Result<Receipt, String> {
    Ok(receipt(order))
}

#[concurrent_cached(ttl_secs = 86_400)]
pub async fn cached_concurrent(order: &'static str) -> Result<Receipt, String> {
    Ok(receipt(order))
}

pub type Moka = moka::future::Cache<&'static str, Receipt>;

pub fn moka(capacity: u64) -> Moka {
    moka::future::Cache::builder()
        .max_capacity(capacity)
        .time_to_live(DAY)
        .build()
}

pub async fn with_moka(cache: &Moka, order: &'static str) -> Receipt {
    cache.get_with(order, async move { receipt(order) }).await
}

pub type Quick = quick_cache::sync::Cache<&'static str, Receipt>;

pub async fn with_quick(cache: &Quick, order: &'static str) -> Result<Receipt, String> {
    cache
        .get_or_insert_async(&order, async move { Ok(receipt(order)) })
        .await
}

pub async fn with_idempotent<S>(store: &S, order: &'static str) -> Receipt
where
    S: idempotent::IdempotencyStore,
{
    use idempotent::ExecutionOutcome::{Executed, Replayed};
    let key = idempotent::IdempotencyKey::new(order).expect("a short key");
    let outcome = store
        .claim(&key, Duration::from_secs(30))
        .fingerprint(SCOPE, order.as_bytes())
        .json()
        .execute_or_replay(DAY, |_token| async move { Ok(receipt(order)) })
        .await;
    match outcome {
        Ok(Executed(receipt) | Replayed(receipt)) => receipt,
        _ => panic!("neither executed nor replayed"),
    }
}
