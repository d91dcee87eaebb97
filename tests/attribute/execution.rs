//! What `current()` tells a body.

use std::{pin::Pin, sync::Mutex, time::Duration};

use crate::common::{Answer, GENEROUS, poll_once, yields};
use idempotent_fn::{
    Error, Execution, Operation, SharedStore, current, operation,
    store::{ManualClock, MemoryStore},
    try_current, with_store,
};

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("execution", &[&"k"])
        .store(store)
        .wait(GENEROUS)
}

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

/// Runs a body for its execution, and leaves the key free.
async fn execution(store: &SharedStore, scope: &'static str, key: &'static str) -> Execution {
    let seen = std::sync::Arc::new(Mutex::new(None));
    let body = seen.clone();
    let operation = operation::<Result<u32, String>, _>(scope, &[&key]).store(store);
    let operation = operation.map_err(|error| error.to_string());
    let answer = operation.run(async move {
        *body.lock().unwrap() = Some(current());
        Err("again".to_owned())
    });
    assert_eq!(answer.await.unwrap_err(), "again");
    let execution = seen.lock().unwrap().take();
    execution.unwrap()
}

#[tokio::test]
async fn there_is_none_outside_of_a_body() {
    assert!(try_current().is_none());
    let store = memory();
    charge(&store).run(async { Ok(1) }).await.unwrap();
    assert!(try_current().is_none());
    let asked = tokio::spawn(async { current().attempt() });
    assert!(asked.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn it_is_that_of_the_innermost_body() {
    let store = memory();
    let inner = operation::<Answer, _>("execution.inner", &[&"i"]).store(&store);
    let answer = charge(&store).run(async move {
        assert_eq!(current().scope(), "execution");
        let inner = inner.run(async {
            yields(2).await;
            assert_eq!(current().scope(), "execution.inner");
            Ok(current().attempt())
        });
        assert_eq!(inner.await?, 1);
        assert_eq!(current().scope(), "execution");
        Ok(7)
    });
    assert_eq!(answer.await.unwrap(), 7);
}

/// Neither a task that a body spawns nor a future that it leaves behind is inside of it.
#[tokio::test]
async fn it_ends_with_the_body() {
    let (store, other) = (memory(), memory());
    let answer = charge(&store).run(async move {
        let spawned = tokio::spawn(async { try_current().is_none() });
        assert!(spawned.await.unwrap());
        let spawned = tokio::spawn(with_store(other, async { try_current().is_none() }));
        assert!(spawned.await.unwrap(), "`with_store` carries it out");
        Ok(1)
    });
    assert_eq!(answer.await.unwrap(), 1);
}

/// A future made outside is inside of the body that polls it: its own key is re-entry there.
#[tokio::test]
async fn with_store_is_where_it_is_polled() {
    let store = memory();
    let inner = with_store(store.clone(), {
        let inner = operation::<Answer, _>("execution", &[&"k"]);
        async move {
            assert_eq!(current().attempt(), 1);
            inner.run(async { Ok(0) }).await
        }
    });
    let answer = charge(&store).run(inner).await;
    assert!(matches!(answer, Err(Error::Reentrant { .. })), "{answer:?}");
}

/// Notes in its destructor which attempt it belongs to.
struct Guard<'a>(&'a Mutex<Vec<Option<u32>>>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let attempt = try_current().map(|current| current.attempt());
        self.0.lock().unwrap().push(attempt);
    }
}

/// A guard of the user's may release something under the attempt's fencing token.
#[tokio::test]
async fn a_bodys_destructors_still_see_it() {
    let store = memory();
    let seen = Mutex::new(Vec::new());
    {
        let guard = Guard(&seen);
        let mut left = Box::pin(charge(&store).run_attached(async {
            let _guard = guard;
            std::future::pending().await
        }));
        assert!(poll_once(&mut left).is_pending());
    }
    assert_eq!(*seen.lock().unwrap(), [Some(1)], "abandoned midway");
    let guard = Guard(&seen);
    let whole = charge(&store).run_attached(async {
        let _guard = guard;
        Ok(1)
    });
    whole.await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [Some(1), Some(2)], "at its end");
}

#[tokio::test]
async fn attempts_count_and_tokens_grow() {
    let clock = ManualClock::new();
    let store = SharedStore::new(MemoryStore::with_clock(&clock));
    let mut last = 0;
    for attempt in 1..=5 {
        let seen = execution(&store, "execution", "k").await;
        assert_eq!(seen.attempt(), attempt);
        assert!(seen.fencing_token() > last && seen.fencing_token() < 1 << 53);
        last = seen.fencing_token();
    }
    // A takeover.
    let mut silent: Pin<Box<dyn Future<Output = Answer>>> =
        Box::pin(charge(&store).run(std::future::pending()));
    assert!(poll_once(&mut silent).is_pending());
    std::mem::forget(silent);
    clock.advance(Duration::from_secs(30));
    let successor = execution(&store, "execution", "k").await;
    assert_eq!(successor.attempt(), 7);
    assert!(successor.fencing_token() > last + 1);
    last = successor.fencing_token();
    // Forgotten.
    charge(&store).forget().await.unwrap();
    let seen = execution(&store, "execution", "k").await;
    assert!(seen.fencing_token() > last + 1, "`forget` takes one, too");
    last = seen.fencing_token();
    // Expired.
    let short = charge(&store).ttl(Duration::from_millis(1));
    short.run(async { Ok(1) }).await.unwrap();
    clock.advance(Duration::from_millis(1));
    let seen = execution(&store, "execution", "k").await;
    assert!(seen.attempt() > 1, "it is kept for a while past its end");
    assert!(seen.fencing_token() > last);
    last = seen.fencing_token();
    // Gone.
    charge(&store).forget().await.unwrap();
    let short = charge(&store).ttl(Duration::from_millis(1));
    short.run(async { Ok(1) }).await.unwrap();
    clock.advance(Duration::from_secs(24 * 60 * 60));
    let seen = execution(&store, "execution", "k").await;
    assert_eq!(seen.attempt(), 1, "the record had gone");
    assert!(seen.fencing_token() > last);
}

/// The formula is frozen: a changed one would make every effect downstream happen twice after a
/// deploy.
#[tokio::test]
async fn derived_keys_are_frozen() {
    let store = memory();
    let key = execution(&store, "payments.charge", "order-42").await;
    assert_eq!(key.derive_key("stripe"), GOLDEN);
    assert_eq!(key.key_digest().to_string(), GOLDEN_DIGEST);
    // The same in another store, as in another process, and on the next attempt.
    let elsewhere = execution(&memory(), "payments.charge", "order-42").await;
    assert_eq!(elsewhere.derive_key("stripe"), GOLDEN);
    let again = execution(&store, "payments.charge", "order-42").await;
    assert_eq!(again.attempt(), 2);
    assert_eq!(again.derive_key("stripe"), GOLDEN);
}

/// `printf 'idempotent-fn derived key v1\0\0\0\0\0\0\0\030payments.charge|order-42stripe' |
/// sha256sum | head -c 32`
const GOLDEN: &str = "b92831d0c47db96402c0a43430b45dcd";
/// `printf 'payments.charge|order-42' | sha256sum | head -c 16`
const GOLDEN_DIGEST: &str = "14453341691fa24c";

#[tokio::test]
async fn derived_keys_differ_for_everything_that_differs() {
    let store = memory();
    let base = execution(&store, "payments.charge", "order-42").await;
    let others = [
        base.derive_key("stripe"),
        base.derive_key("mail"),
        base.derive_key(""),
        execution(&store, "payments.charge", "order-43")
            .await
            .derive_key("stripe"),
        execution(&store, "payments.refund", "order-42")
            .await
            .derive_key("stripe"),
        execution(
            &store.with_namespace("staging"),
            "payments.charge",
            "order-42",
        )
        .await
        .derive_key("stripe"),
        // What one ends with, the other begins with.
        execution(&store, "payments.charge", "order-42s")
            .await
            .derive_key("tripe"),
    ];
    for (index, one) in others.iter().enumerate() {
        assert_eq!(one.len(), 32);
        assert!(
            one.bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        );
        assert!(!others[index + 1..].contains(one), "{others:?}");
    }
}

/// What is printed of it shows no key.
#[tokio::test]
async fn it_prints_no_key() {
    let seen = execution(&memory(), "execution", "secret-order").await;
    let shown = format!("{seen:?}");
    assert!(
        shown.contains("execution") && !shown.contains("secret"),
        "{shown}"
    );
}
