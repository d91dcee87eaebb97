// Included once for each variant of `topics`.

use std::sync::Arc;

use idempotent_runtime::Key;
use shuttle::{
    future::block_on,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use self::source::Topics;

fn key() -> Key {
    Key::new("races", &[&"k"]).expect("a valid key")
}

/// Waiters subscribe and then look, the writer writes and then tells; somebody else subscribes and leaves.
pub(super) fn waiting() {
    let topics = Topics::default();
    let written = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (topics, written) = (topics.clone(), Arc::clone(&written));
        threads.push(thread::spawn(move || {
            let (mut subscription, _) = topics.subscribe(&key());
            if !written.load(Ordering::SeqCst) {
                block_on(subscription.changed());
                assert!(written.load(Ordering::SeqCst), "told of nothing");
            }
        }));
    }
    let leaver = topics.clone();
    threads.push(thread::spawn(move || drop(leaver.subscribe(&key()))));
    written.store(true, Ordering::SeqCst);
    topics.publish(key().as_str());
    for thread in threads {
        thread.join().expect("it ends");
    }
    assert_eq!((topics.len(), topics.keys().len()), (0, 0), "a topic is left");
}

#[allow(dead_code, reason = "not every mutant is asked for this")]
pub(super) fn coming_and_going() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let topics = Topics::reporting(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let come = |topics: Topics| thread::spawn(move || usize::from(topics.subscribe(&key()).1));
    let comers: Vec<_> = (0..3).map(|_| come(topics.clone())).collect();
    let begun: usize = comers.into_iter().map(|comer| comer.join().expect("it ends")).sum();
    assert_eq!(ended.load(Ordering::SeqCst), begun);
    assert!(topics.is_empty() && topics.keys().is_empty());
}
