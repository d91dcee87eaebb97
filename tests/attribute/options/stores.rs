//! `store` and `codec`.

use super::*;

#[tokio::test]
async fn the_store_is_the_one_that_is_given() {
    #[idempotent(key = ONE, store = store)]
    async fn stored(store: SharedStore) -> Result<u64, Error> {
        Ok(fresh())
    }

    on_memory();
    let (one, other) = (memory(), memory());
    let first = stored(one.clone()).await.unwrap();
    assert_eq!(stored(one.clone()).await.unwrap(), first);
    assert_ne!(stored(other).await.unwrap(), first);
    let inside = with_store(memory(), stored(one)).await.unwrap();
    assert_eq!(inside, first);
}

/// A store that stands somewhere is read by reference, as often as one likes; one that an
/// expression makes is taken.
#[tokio::test]
async fn a_store_is_taken_where_it_stands_or_as_it_is_made() {
    static STORE: LazyLock<SharedStore> = LazyLock::new(memory);

    struct App {
        stores: Vec<SharedStore>,
    }

    impl App {
        fn pick(&self) -> &SharedStore {
            &self.stores[0]
        }

        #[idempotent(scope = "taken", key = ONE, store = self.stores[0])]
        async fn indexed(self: Arc<Self>) -> Result<u64, Error> {
            Ok(fresh())
        }

        #[idempotent(scope = "taken::picked", key = ONE, store = self.pick())]
        async fn picked(self: Arc<Self>) -> Result<u64, Error> {
            Ok(fresh())
        }
    }

    #[idempotent(key = ONE, store = STORE)]
    async fn in_a_static() -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = ONE, store = *STORE)]
    async fn behind_a_static() -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = ONE, store = store, detach = false)]
    async fn borrowed(store: &SharedStore) -> Result<u64, Error> {
        Ok(fresh())
    }

    #[idempotent(key = ONE, store = store.with_namespace("made"))]
    async fn made(store: SharedStore) -> Result<u64, Error> {
        Ok(fresh())
    }

    let app = Arc::new(App {
        stores: vec![memory()],
    });
    let store = app.pick();
    for _ in 0..2 {
        assert_eq!(
            app.clone().indexed().await.unwrap(),
            app.clone().indexed().await.unwrap()
        );
        assert_eq!(
            app.clone().picked().await.unwrap(),
            app.clone().picked().await.unwrap()
        );
        assert_eq!(in_a_static().await.unwrap(), in_a_static().await.unwrap());
        assert_eq!(
            behind_a_static().await.unwrap(),
            behind_a_static().await.unwrap()
        );
        assert_eq!(
            borrowed(store).await.unwrap(),
            borrowed(store).await.unwrap()
        );
        assert_eq!(
            made(store.clone()).await.unwrap(),
            made(store.clone()).await.unwrap()
        );
    }
    assert_eq!(store.counters().ran(), 4);
    assert_eq!(STORE.counters().ran(), 2);
}

/// A store as it is, shared, or by reference: nobody has to write how it is shared.
#[tokio::test]
async fn with_store_takes_whatever_is_a_store() {
    #[idempotent(key = ONE)]
    async fn anywhere() -> Result<u64, Error> {
        Ok(fresh())
    }

    let store = memory();
    let first = with_store(&store, anywhere()).await.unwrap();
    assert_eq!(with_store(store.clone(), anywhere()).await.unwrap(), first);
    let other = with_store(MemoryStore::new(), anywhere()).await.unwrap();
    assert_ne!(other, first);
    let spawned = tokio::spawn(with_store(store, anywhere()));
    assert_eq!(spawned.await.unwrap().unwrap(), first);
}

/// Has no serde.
#[derive(Debug, PartialEq)]
struct Receipt(u64);

struct Digits;

impl Codec<Receipt> for Digits {
    const ID: u32 = 1_234;

    fn encode(value: &Receipt, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
        bytes.extend(value.0.to_string().into_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Receipt, CodecError> {
        let text = std::str::from_utf8(bytes).map_err(CodecError::new)?;
        text.parse().map(Receipt).map_err(CodecError::new)
    }
}

#[tokio::test]
async fn a_codec_records_what_has_no_serde() {
    #[idempotent(key = ONE, codec = Digits)]
    async fn coded() -> Result<Receipt, Error> {
        Ok(Receipt(fresh()))
    }

    on_memory();
    assert_eq!(coded().await.unwrap(), coded().await.unwrap());
}
