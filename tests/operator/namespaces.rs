//! Handles keep the options of the handle that they were made from: a namespace is nested in that
//! handle's namespace, whatever option was set in between.

use crate::common::{Answer, Effects, faulty::Faulty};
use idempotent_fn::{
    Error, Operation, SharedStore, current, operation,
    store::{Filter, MemoryStore, NearCache},
};

fn charge(store: &SharedStore) -> Operation<u32, Error> {
    operation::<Answer, _>("namespaces", &[&"k"]).store(store)
}

/// Two tenants, each with two uses of the store; what they are within, and nothing.
fn handles(store: &SharedStore) -> Vec<SharedStore> {
    let (a, b) = (
        store.with_namespace("tenant-a"),
        store.with_namespace("tenant-b"),
    );
    let slash = [
        store.with_namespace("tenant-a/mail"),
        store.with_namespace("tenant-a@mail"),
    ];
    let mut all = vec![
        store.clone(),
        store.with_namespace("mail"),
        store.with_namespace(""),
    ];
    for tenant in [a, b] {
        let mail = tenant.with_namespace("mail");
        all.extend([
            mail.with_namespace(""),
            mail,
            tenant.with_namespace("push"),
            tenant.with_namespace(""),
            tenant,
        ]);
    }
    all.extend(slash);
    all
}

async fn none_has_anothers_result(store: &SharedStore) {
    let effects = Effects::new();
    let handles = handles(store);
    for round in 0..2 {
        for (at, handle) in handles.iter().enumerate() {
            let own = u32::try_from(at + 1).unwrap();
            let answer = charge(handle).run(effects.body(0)).await.unwrap();
            assert_eq!(answer, own, "in round {round}, through {handle:?}");
        }
    }
}

#[tokio::test]
async fn nested_namespaces_have_no_result_in_common() {
    none_has_anothers_result(&SharedStore::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn nor_have_they_in_a_near_cache() {
    let store = SharedStore::new(Faulty::new()).with_near_cache(&NearCache::new());
    none_has_anothers_result(&store).await;
    assert!(store.near_cache_bytes() > 0);
}

#[tokio::test]
async fn a_handle_with_other_options_stays_in_its_namespaces() {
    let store = SharedStore::new(Faulty::new());
    let effects = Effects::new();
    let mail = store.with_namespace("tenant-a").with_namespace("mail");
    assert_eq!(charge(&mail).run(effects.body(0)).await.unwrap(), 1);
    let near = NearCache::new();
    for again in [
        store
            .with_namespace("tenant-a")
            .with_max_result(1000)
            .with_namespace("mail"),
        store
            .with_near_cache(&near)
            .with_namespace("tenant-a")
            .with_near_cache(&near)
            .with_namespace("mail"),
        store
            .with_namespace("tenant-a")
            .with_namespace("mail")
            .with_max_result(1000),
    ] {
        assert_eq!(charge(&again).run(effects.body(0)).await.unwrap(), 1);
    }
    assert!(charge(&store).inspect().await.unwrap().is_none());
    assert!(charge(&mail).inspect().await.unwrap().is_some());
}

/// What a body tells services downstream is its own too.
#[tokio::test]
async fn a_derived_key_is_another_in_each_nested_namespace() {
    let store = SharedStore::new(MemoryStore::new());
    let mut seen = std::collections::HashSet::new();
    for handle in handles(&store) {
        let derived = operation::<Result<String, Error>, _>("namespaces", &[&"derived"]);
        let derived = derived.store(&handle);
        let key = derived
            .run(async { Ok(current().derive_key("mail")) })
            .await;
        assert!(seen.insert(key.unwrap()), "{handle:?}");
    }
}

/// What a handle lists is its own: neither what is around it nor what is within.
#[tokio::test]
async fn a_list_shows_one_namespace_only() {
    let store = SharedStore::new(MemoryStore::new());
    let effects = Effects::new();
    for handle in &handles(&store) {
        charge(handle).run(effects.body(0)).await.unwrap();
    }
    for handle in &handles(&store) {
        let (mut scopes, mut cursor) = (Vec::new(), None);
        loop {
            let page = handle.list(&Filter::new(), cursor.as_ref()).await.unwrap();
            scopes.extend(
                page.records
                    .iter()
                    .map(|listed| listed.key.scope().to_owned()),
            );
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(scopes, ["namespaces"], "{handle:?}");
    }
}
