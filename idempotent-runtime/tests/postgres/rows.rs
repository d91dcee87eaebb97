//! What is in the table, what becomes of it, and what statements are sent.

use std::time::Duration;

use idempotent_runtime::{
    Error, SharedStore, Store,
    key::Key,
    operation,
    operation::Resolution,
    store::{ClaimReply, Filter},
};

use crate::common::*;

#[tokio::test]
async fn a_first_call_is_two_statements_and_a_replay_one() {
    let place = Place::new();
    let store = place.store();
    store.check().await.expect("fit");
    let before = place.sent("");
    first_call(&store, &key("1"), b"42").await;
    assert_eq!(place.sent("") - before, 2);
    store.claim(&key("1"), &request()).await.expect("a replay");
    assert_eq!(place.sent("") - before, 3);
    let owned = granted(store.claim(&key("2"), &request()).await.expect("claim"));
    store.renew(&key("2"), &owned).await.expect("renew");
    store.read(&key("2")).await.expect("read");
    assert_eq!(place.sent("") - before, 6);
    // None of them is in a transaction of several statements.
    assert_eq!(place.sent("BEGIN"), 0);
}

/// The row is neither locked nor written, nor is anything written to the log.
#[tokio::test]
async fn a_replay_writes_nothing() {
    let place = Place::new();
    let store = place.store();
    first_call(&store, &key("1"), b"42").await;
    let version = format!("SELECT xmin, xmax, ctid FROM {}", place.table());
    let before = SERVER.sql(&version);
    for _ in 0..3 {
        store.claim(&key("1"), &request()).await.expect("a replay");
    }
    assert_eq!(SERVER.sql(&version), before);
}

/// Heartbeats and finishes keep the row where the index points to.
#[tokio::test]
async fn no_index_is_written_but_by_the_first_claim() {
    let place = Place::new();
    let store = place.store();
    let owned = granted(store.claim(&key("1"), &request()).await.expect("claim"));
    for _ in 0..5 {
        store.renew(&key("1"), &owned).await.expect("renew");
    }
    store
        .finish(&key("1"), &done(&owned, b"42"))
        .await
        .expect("finish");
    let indexes = format!(
        "SELECT count(*) FROM pg_indexes WHERE schemaname = '{}'",
        place.schema
    );
    assert_eq!(SERVER.sql(&indexes), "1");
}

#[tokio::test]
async fn the_view_shows_what_is_in_the_bytes() {
    let place = Place::new();
    let store = place.store();
    let mut asked = request();
    asked.lease = Duration::from_secs(5);
    let running = granted(store.claim(&key("running"), &asked).await.expect("claim"));
    asked = request();
    asked.ttl = Duration::from_secs(3600);
    asked.fingerprint = Some(idempotent_runtime::fingerprint::Fingerprint::from_bytes(
        [7; 16],
    ));
    let owned = granted(store.claim(&key("done"), &asked).await.expect("claim"));
    store
        .finish(&key("done"), &done(&owned, b"12345"))
        .await
        .expect("finish");
    let shown = SERVER.sql(&format!(
        "SELECT key, state, token, lease_ms, attempts, result_bytes, abs(extract(epoch FROM now() - renewed)) < 60,
                round(extract(epoch FROM expires - renewed))
         FROM {}_view ORDER BY key",
        place.table()
    ));
    let (token, later) = (running.token, owned.token);
    assert_eq!(
        shown,
        format!(
            "payments.charge|done|done|{later}|30000|1|5|t|3600\npayments.charge|running|running|{token}|5000|1||t|604800"
        )
    );
}

#[tokio::test]
async fn namespaces_and_long_keys_stay_apart() {
    let place = Place::new();
    let store = place.store();
    let within = |name: &str| {
        let mut key = key("1");
        for _ in 0..6 {
            key = key.in_namespace(&name.repeat(190));
        }
        assert!(key.as_str().len() > 1024);
        key
    };
    let keys: [Key; 4] = [
        within("a"),
        within("b"),
        key("1").in_namespace("a"),
        key("1"),
    ];
    for (number, key) in keys.iter().enumerate() {
        first_call(&store, key, format!("{number}").as_bytes()).await;
    }
    for (number, key) in keys.iter().enumerate() {
        let (record, _) = store.read(key).await.expect("read").expect("a record");
        let result = format!("{number}");
        assert_eq!(record.outcome, done(&record, result.as_bytes()).outcome);
        let key = key.in_namespace("w");
        let owned = granted(store.claim(&key, &request()).await.expect("claim"));
        let mut waiter = store.subscribe(&key).await.expect("subscribe");
        if key.as_str().len() > 1024 {
            assert!(!waiter.is_push(), "a shortened key is polled for");
            continue;
        }
        assert!(waiter.is_push());
        store
            .finish(&key, &done(&owned, b"1"))
            .await
            .expect("finish");
        told(&mut waiter).await;
    }
}

#[tokio::test]
async fn operators_inspect_resolve_and_forget() {
    type Answer = Result<u32, Error>;
    let place = Place::new();
    let store = SharedStore::new(place.store());
    let charge = || operation::<Answer, _>("payments.charge", &[&"1"]).store(&store);
    assert!(charge().inspect().await.expect("answered").is_none());
    charge()
        .resolve_unseen(Resolution::Done(7))
        .await
        .expect("resolved");
    assert_eq!(charge().run(async { Ok(8) }).await.expect("replayed"), 7);
    assert!(charge().inspect().await.expect("answered").is_some());
    charge().forget().await.expect("forgotten");
    assert_eq!(charge().run(async { Ok(8) }).await.expect("run"), 8);
}

#[tokio::test]
async fn a_listing_pages_through_small_and_large_records() {
    let place = Place::new();
    let store = place.store();
    for number in 0..7 {
        first_call(&store, &key(&number.to_string()), b"small").await;
    }
    let large = vec![7; 3_000_000];
    for number in 0..6 {
        first_call(&store, &key(&format!("large {number}")), &large).await;
    }
    for (filter, pages) in [
        (Filter::new().with_page(5), 3..=4),
        (Filter::new().with_page(1000), 2..=3),
    ] {
        let (mut cursor, mut shown, mut read) = (None, 0, 0);
        loop {
            let page = store.list(&filter, cursor.as_ref()).await.expect("a page");
            (shown, read) = (shown + page.records.len(), read + 1);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(shown, 13);
        assert!(pages.contains(&read), "{read}");
    }
}

#[tokio::test]
async fn a_sweep_deletes_what_is_past_its_time_and_nothing_else() {
    let place = Place::new();
    let store = place.store_with(place.options().with_sweep(false));
    assert_eq!(store.sweep().await.expect("swept"), 0);
    let fill = |prefix: &str, count: usize| {
        SERVER.sql(&format!(
            "INSERT INTO {} SELECT '{prefix}|' || i, repeat('x', 500)::bytea, 1, 1 FROM generate_series(1, {count}) i",
            place.table()
        ));
    };
    // More pages than one step looks at.
    fill("a", 5000);
    for number in 0..3 {
        first_call(&store, &key(&number.to_string()), b"kept").await;
    }
    fill("b", 10);
    assert_eq!(store.sweep().await.expect("swept"), 5010);
    assert!(place.sent("DELETE FROM") > 2);
    let left = SERVER.sql(&format!("SELECT count(*) FROM {}", place.table()));
    assert_eq!(left, "3");
    for number in 0..3 {
        let replayed = store.claim(&key(&number.to_string()), &request()).await;
        assert!(matches!(
            replayed.expect("answered"),
            ClaimReply::Held { .. }
        ));
    }
}
