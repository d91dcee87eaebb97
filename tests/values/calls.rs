//! The same values through whole calls: a duplicate gets what the first caller got, or an error.

use idempotent_fn::{Error, SharedStore, operation, store::MemoryStore};

use super::{
    Value,
    common::Effects,
    shapes::{Address, Event, Host, base, flat, uuid, v4},
};

async fn call<T: Value + Clone + Send + 'static>(
    store: &SharedStore,
    effects: &Effects,
    value: &T,
) -> Result<T, Error> {
    let (effects, value) = (effects.clone(), value.clone());
    let operation = operation::<Result<T, Error>, _>("values", &[&"k"]).store(store);
    operation
        .run(async move {
            effects.start();
            Ok(value)
        })
        .await
}

async fn is_replayed<T: Value + Clone + Send + 'static>(value: T) {
    let (store, effects) = (SharedStore::new(MemoryStore::new()), Effects::new());
    for _ in 0..3 {
        assert_eq!(call(&store, &effects, &value).await.unwrap(), value);
    }
    assert_eq!(effects.started(), 1);
}

#[tokio::test]
async fn addresses_and_identifiers_replay_as_they_are() {
    is_replayed(Host::Ip(v4())).await;
    is_replayed(Host::Name("localhost".into())).await;
    is_replayed(Event::Seen {
        from: v4(),
        id: uuid(),
    })
    .await;
    is_replayed(Event::Listening {
        at: "1.2.3.4:5".parse().unwrap(),
    })
    .await;
    is_replayed(flat()).await;
    is_replayed(Some(base())).await;
    is_replayed(Address::Octets([1, 2, 3, 4])).await;
    is_replayed(Address::V4([1, 2, 3, 4].into())).await;
}

/// Its caller has it; the next one is told that it was not recorded, and the body does not run
/// again.
#[tokio::test]
async fn what_would_come_back_as_another_value_is_told() {
    let (store, effects) = (SharedStore::new(MemoryStore::new()), Effects::new());
    assert_eq!(call(&store, &effects, &Some(())).await.unwrap(), Some(()));
    for _ in 0..2 {
        let next = call(&store, &effects, &Some(())).await;
        assert!(matches!(next, Err(Error::NotRecorded { .. })), "{next:?}");
    }
    assert_eq!(effects.started(), 1);
}

#[tokio::test]
async fn a_payload_nested_too_deeply_is_refused_before_the_body() {
    let (store, effects) = (SharedStore::new(MemoryStore::new()), Effects::new());
    let lists = |levels| {
        (1..levels).fold(serde_json::Value::Array(Vec::new()), |list, _| {
            serde_json::Value::Array(vec![list])
        })
    };
    let call = async |levels| {
        let operation = operation::<Result<(), Error>, _>("values.deep", &[&levels]);
        let operation = operation.store(&store).fingerprint(&lists(levels));
        let effects = effects.clone();
        operation
            .run(async move {
                effects.start();
                Ok(())
            })
            .await
    };
    let refused = call(2_000).await.expect_err("it is too deep");
    assert!(matches!(refused, Error::Config { .. }), "{refused:?}");
    assert!(refused.to_string().contains("512 levels"), "{refused}");
    assert_eq!(effects.started(), 0);
    call(512).await.expect("it is not too deep");
}
