//! Rules about subscriptions. A store without push passes: its waiters poll.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Subject,
    trial::{HANGS, Trial, done, drop_after, lost, new_key, new_nonce, released},
};
use crate::{
    key::Key,
    record::Record,
    store::{Settled, Store, Subscription},
};

async fn subscribe<S: Subject>(trial: &Trial<'_, S>, key: &Key) -> Subscription {
    trial
        .store
        .subscribe(key)
        .await
        .unwrap_or_else(|error| panic!("`subscribe` answered with an error: {error}"))
}

async fn told(subscription: &mut Subscription, change: &str) {
    if subscription.is_push() {
        let told = timeout(HANGS, subscription.changed()).await;
        assert!(
            told.is_ok(),
            "subscribe: whatever is written after it returned wakes it; {change} did not"
        );
    }
}

/// Complete, release, abandon and an operator's decision wake every subscriber in every process,
/// each time.
pub async fn a_change_wakes_the_subscribers(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let complete = |owned: &Record| done(owned, b"");
    for (change, end) in [
        ("a complete", complete as fn(&Record) -> Record),
        ("a release", released),
        ("an abandon", lost),
    ] {
        let key = new_key();
        let owned = trial.start(&key).await;
        let mut here = subscribe(&trial, &key).await;
        let mut there = subscribe(&other, &key).await;
        let mut second = subscribe(&other, &key).await;
        let _another_key = subscribe(&other, &new_key()).await;
        let record = trial.finished(&key, &end(&owned)).await;
        for subscription in [&mut here, &mut there, &mut second] {
            told(subscription, change).await;
        }
        let replacement = Record {
            nonce: new_nonce(),
            outcome: None,
            expires: 0,
            ..released(&record)
        };
        let settled = other.overrule(&key, Some(&record), &replacement).await;
        assert_eq!(
            settled,
            Settled::Applied,
            "protocol::overrule: the record that was seen is replaced"
        );
        for subscription in [&mut here, &mut there, &mut second] {
            told(subscription, "a second change, an overruling,").await;
        }
    }
}

/// A waiter that leaves, or gives up waiting, does not cost another waiter its message.
pub async fn another_subscribers_leaving_wakes_nobody_less(subject: &impl Subject) {
    let (trial, other) = (Trial::of(subject).await, Trial::of(subject).await);
    let key = new_key();
    let owned = trial.start(&key).await;
    let leaving = subscribe(&other, &key).await;
    let mut staying = subscribe(&other, &key).await;
    drop(leaving);
    drop(subscribe(&other, &key).await);
    drop_after(1, staying.changed()).await;
    // Leaves and comes back while the store may still be unsubscribing from the first time.
    for _ in 0..3 {
        let (key, mut again) = (new_key(), Vec::new());
        let owned = trial.start(&key).await;
        drop(subscribe(&other, &key).await);
        again.push(subscribe(&other, &key).await);
        trial.finished(&key, &done(&owned, b"")).await;
        told(
            &mut again[0],
            "a complete after another waiter of that key left and one came back",
        )
        .await;
    }
    trial.finished(&key, &done(&owned, b"")).await;
    told(
        &mut staying,
        "a complete after other waiters of that key had left",
    )
    .await;
}

/// Waiters that have come and gone use no memory.
pub async fn dropped_subscriptions_leave_nothing(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let Some(before) = subject.subscribed(&trial.store).await else {
        return;
    };
    let keys: Vec<Key> = (0..100).map(|_| new_key()).collect();
    let mut subscriptions = Vec::new();
    for key in keys.iter().chain(&keys) {
        subscriptions.push(subscribe(&trial, key).await);
    }
    let during = subject.subscribed(&trial.store).await;
    assert_eq!(
        during,
        Some(before + keys.len()),
        "`Subject::subscribed` counts keys with subscribers"
    );
    // Drops half of them first: a key that still has a waiter stays.
    subscriptions.truncate(keys.len());
    assert_eq!(
        subject.subscribed(&trial.store).await,
        during,
        "a key stays for as long as somebody waits for it"
    );
    drop(subscriptions);
    let left = timeout(HANGS, async {
        while subject.subscribed(&trial.store).await != Some(before) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(
        left.await.is_ok(),
        "subscriptions that were dropped must leave nothing behind"
    );
}
