//! Allocations per call: exact counts, so that every additional one is noticed.

mod common;

use std::{future::Future, sync::LazyLock};

use allocation_counter::measure;
use common::faulty::Faulty;
use idempotent_fn::{
    Error, SharedStore, idempotent,
    store::{MemoryStore, NearCache},
};
use serde::{Deserialize, Serialize};

static STORE: LazyLock<SharedStore> = LazyLock::new(|| MemoryStore::new().into());

static NEAR: LazyLock<SharedStore> =
    LazyLock::new(|| SharedStore::new(Faulty::new()).with_near_cache(&NearCache::new()));

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    id: u64,
    cents: u64,
    fee: u64,
    tax: u64,
    paid_at: u64,
}

#[idempotent(scope = "allocations.charge", key = order, store = *STORE)]
async fn charge(order: u64) -> Result<Receipt, Error> {
    Ok(receipt(order))
}

#[idempotent(scope = "allocations.name", key = order, fingerprint = order, store = *STORE)]
async fn name(order: u64) -> Result<String, Error> {
    Ok(format!("order {order}"))
}

#[idempotent(scope = "allocations.near", key = order, fingerprint = order, store = *NEAR)]
async fn near(order: u64) -> Result<String, Error> {
    Ok(format!("order {order}"))
}

fn receipt(id: u64) -> Receipt {
    Receipt {
        id,
        cents: 1_999,
        fee: 29,
        tax: 319,
        paid_at: 1_790_000_000,
    }
}

/// How often `call` allocates, once it has nothing to set up any more.
fn allocations<F: Future>(call: impl Fn(u64) -> F, key: impl Fn() -> u64) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let call = || runtime.block_on(call(key()));
    drop((call(), call()));
    measure(|| drop(call())).count_total
}

#[test]
fn a_replay_from_memory_allocates_nothing() {
    assert_eq!(allocations(charge, || 1), 0);
}

#[test]
fn a_replayed_string_is_the_only_allocation() {
    assert_eq!(allocations(name, || 1), 1);
}

#[test]
fn a_replay_from_the_near_cache_allocates_only_the_string() {
    assert_eq!(allocations(near, || 1), 1);
    assert!(NEAR.near_cache_bytes() > 0);
}

/// What it counts is at least what it takes, with all tables.
#[test]
fn a_near_cache_takes_no_more_memory_than_it_may() {
    const MAX_BYTES: usize = 1 << 20;
    let options = NearCache::new().with_max_bytes(MAX_BYTES);
    let store = SharedStore::new(Faulty::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fill = |store: &SharedStore| {
        for order in 0..5_000u64 {
            let call =
                idempotent_fn::operation::<Result<u64, Error>, _>("allocations.fill", &[&order]);
            runtime
                .block_on(call.store(store).run(async move { Ok(order) }))
                .unwrap();
        }
    };
    fill(&store);
    let near = store.with_near_cache(&options);
    let taken = measure(|| fill(&near)).bytes_current;
    let counted = i64::try_from(near.near_cache_bytes()).unwrap();
    assert!(counted > 1_000_000, "it is full: {counted}");
    assert!(taken <= counted, "{taken} bytes for {counted}");
}

/// Nothing of it is left to chance but the seed of the hash. It holds wherever a table's size lies
/// between its doublings.
#[test]
fn a_record_takes_a_bounded_number_of_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store: SharedStore = MemoryStore::new().into();
    let mut records = 0u64;
    let mut taken = 0;
    let mut per_record = Vec::new();
    for many in [50_000, 70_000, 100_000, 140_000] {
        let fill = || {
            for order in records..many {
                let order = 1_000_000 + order;
                let call =
                    idempotent_fn::operation::<Result<Receipt, Error>, _>("per-record", &[&order]);
                let call = call.store(&store).run(async move { Ok(receipt(1)) });
                runtime.block_on(call).unwrap();
            }
        };
        taken += measure(fill).bytes_current;
        records = many;
        per_record.push(taken / i64::try_from(many).unwrap());
    }
    let fits = per_record.iter().all(|bytes| *bytes <= RECORD_BYTES);
    assert!(fits, "{per_record:?} bytes");
}

/// Of some calls the one with the fewest: in others a table or a list grows.
#[test]
fn a_first_call_allocates_five_times() {
    let next = std::cell::Cell::new(1_000);
    let fresh = || next.replace(next.get() + 1);
    let counts = (0..32).map(|_| allocations(charge, fresh));
    assert_eq!(counts.min(), Some(FIRST_CALL));
}

/// The attempt, the body, the running record, the result's bytes, and the done record.
const FIRST_CALL: u64 = 5;

/// What a record takes with its part of the tables, whose places are 1.6 to 1.75 a record, and of
/// 17 bytes each: its header 64 with 1 of our own and 16 of the block that is shared, its key 18,
/// its result 39, at most 8 in the list of ends, and 4 that the seed of the hash leaves to chance.
const RECORD_BYTES: i64 = 64 + 1 + 16 + 18 + 39 + 8 + 4 + 30;
