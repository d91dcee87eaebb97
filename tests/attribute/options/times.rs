//! `ttl`, `lease` and `wait`.

use super::*;

#[tokio::test]
async fn a_result_is_replayed_for_its_ttl() {
    #[idempotent(key = order, ttl = "90m")]
    async fn kept(order: u64) -> Result<u64, Error> {
        let _ = order;
        Ok(fresh())
    }

    #[idempotent(key = order)]
    async fn kept_by_default(order: u64) -> Result<u64, Error> {
        let _ = order;
        Ok(fresh())
    }

    on_memory();
    let (store, clock) = memory_with_clock();
    with_store(store, async move {
        let first = (kept(1).await.unwrap(), kept_by_default(1).await.unwrap());
        clock.advance(Duration::from_secs(90 * 60 - 1));
        assert_eq!(kept(1).await.unwrap(), first.0);
        clock.advance(Duration::from_secs(2));
        assert_ne!(kept(1).await.unwrap(), first.0);
        assert_eq!(kept_by_default(1).await.unwrap(), first.1);
        clock.advance(Duration::from_secs(24 * 60 * 60));
        assert_ne!(kept_by_default(1).await.unwrap(), first.1);
    })
    .await;
}

#[tokio::test]
async fn an_expression_is_a_duration_too() {
    #[idempotent(key = order, ttl = kept * 2)]
    async fn kept_twice(order: u64, kept: Duration) -> Result<u64, Error> {
        let _ = order;
        Ok(fresh())
    }

    on_memory();
    let (store, clock) = memory_with_clock();
    with_store(store, async move {
        let first = kept_twice(1, Duration::from_secs(5)).await.unwrap();
        clock.advance(Duration::from_secs(9));
        assert_eq!(kept_twice(1, Duration::from_secs(5)).await.unwrap(), first);
        clock.advance(Duration::from_secs(2));
        assert_ne!(kept_twice(1, Duration::from_secs(5)).await.unwrap(), first);
    })
    .await;
}

#[tokio::test]
async fn a_duplicate_waits_or_is_told_at_once() {
    #[idempotent(scope = "waits", key = ONE, wait = "1m")]
    async fn waits(gate: Arc<Semaphore>) -> Result<u64, Error> {
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    #[idempotent(scope = "does_not_wait", key = ONE, wait = "0s", lease = "20s")]
    async fn does_not_wait(gate: Arc<Semaphore>) -> Result<u64, Error> {
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    on_memory();
    let gate = Arc::new(Semaphore::new(0));
    let owner = tokio::spawn(waits(gate.clone()));
    let duplicate = tokio::spawn(waits(gate.clone()));
    let told = tokio::spawn(does_not_wait(gate.clone()));
    yield_now().await;
    let refused = does_not_wait(gate.clone()).await.unwrap_err();
    let lease_left = refused.lease_left().expect("in flight");
    assert!(lease_left <= Duration::from_secs(20) && lease_left > Duration::from_secs(10));
    gate.add_permits(2);
    let answer = owner.await.unwrap().unwrap();
    assert_eq!(duplicate.await.unwrap().unwrap(), answer);
    told.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_result_may_say_how_long_it_is_kept() {
    const MINUTE: Duration = Duration::from_secs(60);

    #[idempotent(key = paid, store = store, ttl = |result| match result {
        Ok(paid) if *paid > 0 => 60 * MINUTE,
        _ => MINUTE,
    })]
    async fn charge_kept(paid: u64, store: &'static SharedStore) -> Result<u64, Error> {
        Ok(paid * fresh())
    }

    /// The arguments have types, and the error is recorded.
    #[idempotent(key = id, store = store, on_err = record, ttl = |result: &Result<u64, Declined>| kept(result))]
    async fn declined(id: u64, store: &'static SharedStore) -> Result<u64, Declined> {
        Err(Declined::Card(id + fresh()))
    }

    fn kept(result: &Result<u64, Declined>) -> Duration {
        if result.is_err() {
            MINUTE
        } else {
            Duration::MAX
        }
    }

    let (store, clock) = memory_with_clock();
    let store: &'static SharedStore = Box::leak(Box::new(store));
    let (paid, unpaid) = (
        charge_kept(1, store).await.unwrap(),
        charge_kept(0, store).await.unwrap(),
    );
    let refused = declined(1, store).await;
    clock.advance(MINUTE / 2);
    assert_eq!(charge_kept(0, store).await.unwrap(), unpaid);
    assert_eq!(declined(1, store).await, refused);
    clock.advance(MINUTE);
    assert_eq!(charge_kept(1, store).await.unwrap(), paid);
    assert_ne!(declined(1, store).await, refused);
    clock.advance(60 * MINUTE);
    assert_ne!(charge_kept(1, store).await.unwrap(), paid);
}
