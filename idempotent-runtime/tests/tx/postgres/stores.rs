//! Records of a store and of transactions, in one table.

use std::time::Duration;

use idempotent_fn::{
    Error, OnCrash, Operation, Store,
    key::Key,
    operation,
    operation::Resolution,
    record::{Nonce, State},
    store::{ClaimRequest, Filter, PostgresOptions},
};

use super::{PlaceError, Placed, SERVER, Shop, begin, place, refusal, write};

/// The operation of [`place`], for those who have a store.
fn order(key: &str) -> Operation<String, PlaceError> {
    operation::<Placed, _>("orders.place", &[&key])
}

#[tokio::test]
async fn a_store_sees_replays_and_resolves_what_transactions_have_written() {
    let shop = Shop::new();
    let store = shop.store();
    shop.place("1", "tea").await.unwrap();
    let replayed = order("1").store(&store).run(async { Ok(String::new()) });
    assert_eq!(replayed.await.unwrap(), "placed tea");
    let listed = store.list(&Filter::new(), None).await.unwrap().records;
    assert_eq!(
        (listed.len(), listed[0].key.as_str()),
        (1, "orders.place|1")
    );
    order("1").store(&store).forget().await.unwrap();
    assert_eq!(shop.place("1", "rum").await.unwrap(), "placed rum");
    let seen = order("1").store(&store).inspect().await.unwrap().unwrap();
    assert_eq!((seen.state, seen.attempts), (State::Done, 2));

    // Committed midway.
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    let operation = order("2");
    let begun = operation.begin(&mut *tx).await;
    write(&mut tx, "gin").await.unwrap();
    drop(begun);
    tx.commit().await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let error = refusal(
        order("2")
            .store(&store)
            .run(async { Ok(String::new()) })
            .await,
    );
    assert!(matches!(error, Error::Indeterminate { .. }), "{error}");
    let done = Resolution::Done("placed gin".to_owned());
    order("2").store(&store).resolve(done).await.unwrap();
    assert_eq!(shop.place("2", "rum").await.unwrap(), "placed gin");
    assert_eq!(shop.orders(), 3);
}

#[tokio::test]
async fn an_owner_in_a_store_has_its_lease_and_its_own_policy() {
    let shop = Shop::new();
    let table = format!("{}.idempotent_records", shop.schema);
    let store = PostgresOptions::new()
        .with_table(&table)
        .open(&SERVER.url())
        .unwrap();
    let claim = async |key: &str, lease, on_crash| {
        let mut request = ClaimRequest::new(Nonce::random().unwrap());
        (request.lease, request.on_crash) = (lease, on_crash);
        let key = Key::new("orders.place", &[&key]).unwrap();
        store.claim(&key, &request).await.unwrap();
    };
    let (long, short) = (Duration::from_secs(60), Duration::from_millis(1));
    claim("alive", long, OnCrash::Rerun).await;
    claim("gone", short, OnCrash::Rerun).await;
    claim("unknown", short, OnCrash::Fail).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let alive = refusal(shop.place("alive", "tea").await);
    assert!(alive.lease_left().unwrap() > short, "{alive}");
    let unknown = refusal(shop.place("unknown", "tea").await);
    assert!(matches!(unknown, Error::Indeterminate { .. }), "{unknown}");
    assert_eq!(shop.place("gone", "tea").await.unwrap(), "placed tea");
    assert_eq!(shop.orders(), 1);
}

#[tokio::test]
async fn a_call_by_a_store_does_not_run_beside_a_transaction() {
    let shop = Shop::new();
    let store = shop.store();
    let mut connection = shop.connect().await;
    let mut tx = begin(&mut connection).await;
    place(&mut tx, "1", "tea").await.unwrap();
    let beside = order("1").store(&store).wait(Duration::ZERO);
    let error = refusal(beside.run(async { Ok("ran".to_owned()) }).await);
    assert!(error.is_retryable(), "{error}");
    tx.commit().await.unwrap();
    let after = order("1").store(&store).run(async { Ok("ran".to_owned()) });
    assert_eq!(after.await.unwrap(), "placed tea");
}
