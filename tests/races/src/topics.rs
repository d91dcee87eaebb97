//! Each waiter of a key is woken by a change, whichever other waiters come and go.

use std::sync::Arc;

use shuttle::{
    future::block_on,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::key;
use crate::store::KeyNotifier;

/// Waiters subscribe and then look, the writer writes and then tells; somebody else subscribes and
/// leaves.
pub fn waiting() {
    let notifier = KeyNotifier::default();
    let written = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (notifier, written) = (notifier.clone(), Arc::clone(&written));
        threads.push(thread::spawn(move || {
            let (mut subscription, _) = notifier.subscribe(&key(1));
            if !written.load(Ordering::SeqCst) {
                block_on(subscription.changed());
                assert!(written.load(Ordering::SeqCst), "told of nothing");
            }
        }));
    }
    let leaver = notifier.clone();
    threads.push(thread::spawn(move || drop(leaver.subscribe(&key(1)))));
    written.store(true, Ordering::SeqCst);
    notifier.publish(key(1).as_str());
    for thread in threads {
        thread.join().expect("it ends");
    }
    assert_eq!(
        (notifier.len(), notifier.keys().len()),
        (0, 0),
        "a topic is left"
    );
}

pub fn coming_and_going() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let notifier = KeyNotifier::reporting(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let come =
        |notifier: KeyNotifier| thread::spawn(move || usize::from(notifier.subscribe(&key(1)).1));
    let comers: Vec<_> = (0..3).map(|_| come(notifier.clone())).collect();
    let begun: usize = comers
        .into_iter()
        .map(|comer| comer.join().expect("it ends"))
        .sum();
    assert_eq!(ended.load(Ordering::SeqCst), begun);
    assert!(notifier.is_empty() && notifier.keys().is_empty());
}
