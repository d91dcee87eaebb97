//! `key`, `optional_key`, `scope` and `fingerprint`.

use super::*;

#[tokio::test]
async fn parts_of_a_key_do_not_run_into_each_other() {
    #[idempotent(key = (left, right))]
    async fn pair(left: &'static str, right: &'static str) -> Result<u64, Error> {
        Ok(fresh())
    }

    on_memory();
    let answers = [
        pair("a", "b:c").await.unwrap(),
        pair("a:b", "c").await.unwrap(),
        pair("a:b:c", "d").await.unwrap(),
    ];
    assert!(answers[0] != answers[1] && answers[1] != answers[2]);
    assert_eq!(pair("a", "b:c").await.unwrap(), answers[0]);
}

#[tokio::test]
async fn the_key_is_read_once_before_the_body() {
    static READ: AtomicU64 = AtomicU64::new(0);

    fn id(order: &str) -> &str {
        READ.fetch_add(1, Ordering::Relaxed);
        order
    }

    #[idempotent(key = id(&order))]
    async fn read_once(mut order: String) -> Result<(String, u64), Error> {
        order.push_str(" is paid");
        Ok((order, fresh()))
    }

    on_memory();
    let first = read_once("one".into()).await.unwrap();
    assert_eq!(
        (first.0.as_str(), READ.load(Ordering::Relaxed)),
        ("one is paid", 1)
    );
    assert_eq!(read_once("one".into()).await.unwrap(), first);
    assert_ne!(read_once("one is paid".into()).await.unwrap().1, first.1);
}

#[tokio::test]
async fn an_empty_key_is_refused() {
    #[idempotent(key = ("order", id))]
    async fn keyless(id: &'static str) -> Result<u64, Error> {
        Ok(fresh())
    }

    on_memory();
    assert!(matches!(keyless("").await, Err(Error::InvalidKey { .. })));
}

#[tokio::test]
async fn the_scope_is_the_functions_path_or_what_is_given() {
    #[idempotent(key = ONE)]
    async fn by_path() -> Result<String, Error> {
        Ok(current().scope().to_owned())
    }

    #[idempotent(scope = "payments.given", key = ONE)]
    async fn given() -> Result<String, Error> {
        Ok(current().scope().to_owned())
    }

    on_memory();
    assert_eq!(
        by_path().await.unwrap(),
        "attribute::options::keys::by_path"
    );
    assert_eq!(given().await.unwrap(), "payments.given");
}

#[tokio::test]
async fn two_functions_with_one_scope_are_refused() {
    #[idempotent(scope = "payments.shared", key = ONE)]
    async fn first() -> Result<u64, Error> {
        Ok(1)
    }

    #[idempotent(scope = "payments.shared", key = ONE)]
    async fn second() -> Result<u64, Error> {
        Ok(2)
    }

    on_memory();
    assert_eq!(first().await.unwrap(), 1);
    let refused = second().await.unwrap_err();
    assert!(matches!(refused, Error::Config { .. }));
    let text = refused.to_string();
    assert_eq!(
        text.matches("tests/attribute/options/keys.rs:").count(),
        2,
        "{text}"
    );
    assert_eq!(first().await.unwrap(), 1);
}

#[tokio::test]
async fn another_payload_under_the_same_key_is_refused() {
    #[idempotent(key = order, fingerprint = (amount, &currency))]
    async fn pinned(order: u64, amount: u64, currency: String) -> Result<u64, Error> {
        drop(currency);
        Ok(fresh())
    }

    on_memory();
    let first = pinned(1, 100, "EUR".into()).await.unwrap();
    assert_eq!(pinned(1, 100, "EUR".into()).await.unwrap(), first);
    for (amount, currency) in [(101, "EUR"), (100, "USD")] {
        let refused = pinned(1, amount, currency.into()).await;
        assert!(matches!(refused, Err(Error::KeyReused { .. })));
    }
}

#[tokio::test]
async fn a_call_whose_optional_key_is_none_runs_its_body_each_time() {
    #[idempotent(key = key, optional_key = true)]
    async fn optional(key: Option<String>) -> Result<u64, Error> {
        assert_eq!(current().is_protected(), key.is_some());
        yield_now().await;
        Ok(fresh())
    }

    #[idempotent(key = (user, key, &header), optional_key = true, fingerprint = user)]
    async fn parts(user: u64, key: Option<&'static str>, header: Option<u8>) -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = key, optional_key = true, detach = false)]
    async fn attached(key: Option<&str>) -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = later(key).await, optional_key = true, codec = idempotent_fn::codec::MessagePack)]
    async fn awaits(key: Option<u64>) -> Result<u64, Error> {
        Ok(fresh())
    }

    async fn later(key: Option<u64>) -> Option<u64> {
        yield_now().await;
        key
    }

    /// Runs each time without a key, and once with it.
    macro_rules! assert_protects {
        ($some:expr, $($none:expr),+) => {
            assert_eq!($some.await.unwrap(), $some.await.unwrap());
            $(assert_ne!($none.await.unwrap(), $none.await.unwrap());)+
        };
    }

    on_memory();
    assert_protects!(optional(Some("k".into())), optional(None));
    assert_protects!(
        parts(1, Some("k"), Some(1)),
        parts(1, None, Some(1)),
        parts(1, Some("k"), None)
    );
    assert_protects!(attached(Some("k")), attached(None));
    assert_protects!(awaits(Some(1)), awaits(None));
}

#[tokio::test]
async fn a_body_without_a_key_stops_when_its_caller_goes_away() {
    #[idempotent(key = key, optional_key = true)]
    async fn abandoned(
        key: Option<u64>,
        held: Arc<()>,
        entered: Arc<Semaphore>,
    ) -> Result<u64, Error> {
        entered.add_permits(1);
        std::future::pending::<()>().await;
        drop(held);
        Ok(1)
    }

    on_memory();
    let (held, entered) = (Arc::new(()), Arc::new(Semaphore::new(0)));
    tokio::select! {
        biased;
        _ = abandoned(None, Arc::clone(&held), Arc::clone(&entered)) => unreachable!(),
        _ = entered.acquire() => {}
    }
    assert_eq!(Arc::strong_count(&held), 1, "the body is gone");
}

#[tokio::test]
async fn an_empty_optional_key_is_as_invalid_as_any() {
    #[idempotent(key = key, optional_key = true)]
    async fn empty(key: Option<&'static str>) -> Result<u64, Error> {
        Ok(fresh())
    }

    on_memory();
    assert!(matches!(
        empty(Some("")).await,
        Err(Error::InvalidKey { .. })
    ));
}
