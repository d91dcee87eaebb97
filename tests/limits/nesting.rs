//! How deeply annotated functions can call one another before the compiler's limits: 12 levels, as
//! functions under `#[tracing::instrument]`.

use idempotent_fn::{Error, SharedStore, idempotent, store::MemoryStore, with_store};

/// A function that calls the next one, and the last.
macro_rules! nested {
    ($name:ident) => {
        #[idempotent(key = id)]
        async fn $name(id: u64) -> Result<u64, Error> {
            tokio::task::yield_now().await;
            Ok(id)
        }
    };
    ($name:ident $next:ident $($rest:ident)*) => {
        #[idempotent(key = id)]
        async fn $name(id: u64) -> Result<u64, Error> {
            let depth = $next(id).await?;
            tokio::task::yield_now().await;
            Ok(depth + 1)
        }

        nested!($next $($rest)*);
    };
}

nested!(f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12);

#[tokio::test]
async fn twelve_annotated_functions_call_one_another() {
    let store = SharedStore::new(MemoryStore::new());
    let call = tokio::spawn(with_store(store, async { f1(1).await }));
    assert_eq!(call.await.unwrap().unwrap(), 12);
}
