//! A call that is polled a few times and then held without a poll blocks no other call.

use std::{pin::pin, time::Duration};

use idempotent_runtime::{Error, SharedStore, Store, operation, store::PostgresStore};

use crate::common::*;

/// More polls than any call takes here.
const ENOUGH: usize = 40;

type Answer = Result<u32, Error>;

/// An answer of more pieces than a connection keeps for a reader that does not read.
const LARGE: usize = 700_000;

async fn call(store: &SharedStore, part: &str) -> Answer {
    let call = operation::<Answer, _>("held", &[&part]).store(store);
    call.wait(Duration::ZERO).run(async { Ok(1) }).await
}

/// Calls until there is a connection: to make one takes a busy machine longer than a call waits for it.
async fn connected_call(store: &SharedStore, part: &str) -> Answer {
    for _ in 0..20 {
        match call(store, part).await {
            Err(Error::Unavailable { source, .. }) if source.is_transient() => {}
            answer => return answer,
        }
    }
    call(store, part).await
}

/// One connection for all: a call that held it up would hold up everybody.
fn one_connection(place: &Place) -> PostgresStore {
    place.store_with(place.options().with_connections(1))
}

#[tokio::test]
async fn a_held_call_stops_nobody() {
    let place = Place::new();
    for is_lost in [false, true] {
        let mut was_pending = true;
        for polls in 1..ENOUGH {
            let store = one_connection(&place);
            if is_lost {
                store.check().await.expect("fit");
                assert!(place.terminate(&SERVER) > 0);
            }
            let shared = SharedStore::new(store);
            let own = format!("{is_lost} {polls}");
            let mut held = pin!(call(&shared, &own));
            was_pending = polled(held.as_mut(), polls).await;
            let unrelated = format!("{own} other");
            let unrelated = answered("an unrelated key", connected_call(&shared, &unrelated));
            assert_eq!(unrelated.await.expect(&own), 1);
            match answered("the same key", connected_call(&shared, &own)).await {
                Ok(1) | Err(Error::InFlight { .. }) => {}
                other => panic!("{own}: {other:?}"),
            }
            let look = operation::<Answer, _>("held", &[&own]).store(&shared);
            answered("`inspect`", look.inspect()).await.expect(&own);
            if !was_pending {
                break;
            }
        }
        assert!(!was_pending, "it was held at every await point");
    }
}

/// A reader of a large record, which comes in many pieces, stops before it has read them.
#[tokio::test]
async fn a_held_replay_leaves_the_connection_to_others() {
    let place = Place::new();
    let store = one_connection(&place);
    first_call(&store, &key("large"), &vec![7; LARGE]).await;
    let large = key("large");
    let mut held = Vec::new();
    for polls in 1..ENOUGH {
        let mut read = Box::pin(store.read(&large));
        let is_pending = polled(read.as_mut(), polls).await;
        held.push(read);
        let part = format!("other {polls}");
        answered("another key", first_call(&store, &key(&part), b"1")).await;
        if !is_pending {
            return;
        }
    }
    panic!("it was held at every await point");
}

#[tokio::test]
async fn whatever_else_is_held_stops_nobody() {
    let place = Place::new();
    let store = one_connection(&place);
    for polls in 1..ENOUGH {
        let part = |kind: &str| key(&format!("{kind} {polls}"));
        let owned = granted(store.claim(&part("own"), &request()).await.expect("claim"));
        let mut lapsing = request();
        lapsing.lease = Duration::from_millis(1);
        granted(store.claim(&part("old"), &lapsing).await.expect("claim"));
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (own, old, target, second) = (part("own"), part("old"), done(&owned, b"42"), request());
        let mut renew = pin!(store.renew(&own, &owned));
        let mut finish = pin!(store.finish(&own, &target));
        let mut takeover = pin!(store.claim(&old, &second));
        let mut wait = pin!(store.subscribe(&old));
        let mut is_pending = polled(renew.as_mut(), polls).await;
        is_pending |= polled(finish.as_mut(), polls).await;
        is_pending |= polled(takeover.as_mut(), polls).await;
        is_pending |= polled(wait.as_mut(), polls).await;
        answered("another key", first_call(&store, &part("free"), b"43")).await;
        for key in [&own, &old] {
            let claim = answered("the same key", store.claim(key, &request())).await;
            claim.expect("claim");
        }
        if !is_pending {
            return;
        }
    }
    panic!("it was held at every await point");
}

#[tokio::test]
async fn a_held_waiter_keeps_nobody_from_listening() {
    let place = Place::new();
    let mut was_pending = true;
    for polls in 1..ENOUGH {
        let store = place.store();
        let owned = |part: String| {
            let store = store.clone();
            async move {
                let claim = store.claim(&key(&part), &request()).await;
                (granted(claim.expect("claim")), key(&part))
            }
        };
        let (_, held_key) = owned(format!("held {polls}")).await;
        let mut held = pin!(store.subscribe(&held_key));
        was_pending = polled(held.as_mut(), polls).await;
        let (record, other) = owned(format!("other {polls}")).await;
        let mut waiter = answered("a waiter", store.subscribe(&other))
            .await
            .expect("subscribe");
        assert!(waiter.is_push(), "{polls}");
        store
            .finish(&other, &done(&record, b"42"))
            .await
            .expect("finish");
        told(&mut waiter).await;
        if !was_pending {
            break;
        }
    }
    assert!(!was_pending, "it was held at every await point");
}
