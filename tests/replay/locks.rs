//! No user code runs under a lock of the library: it may be slow, use the store, or wait for
//! another task that does.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
};

use crate::common::{GENEROUS, faulty::Faulty};
use idempotent_fn::{
    Error, Operation, SharedStore,
    key::Key,
    operation,
    store::{KeyNotifier, MemoryStore, NearCache, Subscription},
};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::runtime;

type Hook = Box<dyn FnOnce() + Send>;

thread_local! {
    /// What the next value that is read in this thread does meanwhile.
    static MEANWHILE: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

#[derive(Debug, PartialEq, Serialize)]
struct Hooked(u32);

impl<'de> Deserialize<'de> for Hooked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u32::deserialize(deserializer)?;
        if let Some(hook) = MEANWHILE.take() {
            hook();
        }
        Ok(Self(value))
    }
}

fn charge(store: &SharedStore, key: u32) -> Operation<Hooked, Error> {
    operation::<Result<Hooked, Error>, _>("locks", &[&key]).store(store)
}

/// Runs `work` in a thread with a runtime of its own.
fn in_a_thread<T: Send + 'static>(
    work: impl AsyncFnOnce() -> T + Send + 'static,
) -> mpsc::Receiver<T> {
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let _ = ended.send(runtime.unwrap().block_on(work()));
    });
    end
}

#[track_caller]
fn ends<T>(end: &mpsc::Receiver<T>) -> T {
    end.recv_timeout(GENEROUS).expect("it hangs")
}

const REPLAYED: u32 = 0;

/// Everything that a store is asked: first calls of enough keys that they meet each other's locks,
/// replays, a reset.
async fn use_all_of(store: &SharedStore) {
    for key in 1..300 {
        for _ in 0..2 {
            let answer = charge(store, key).run(async move { Ok(Hooked(key)) }).await;
            assert_eq!(answer.unwrap(), Hooked(key));
        }
    }
    let replayed = charge(store, REPLAYED).run(async { Ok(Hooked(2)) });
    assert_eq!(replayed.await.unwrap(), Hooked(1));
    charge(store, REPLAYED).forget().await.unwrap();
    charge(store, REPLAYED).inspect().await.unwrap();
}

/// While a result is decoded, somebody else uses the store, and the decoder waits for that: for a
/// lock of the user's that is held meanwhile, say.
fn decoding_holds_nobody_up(store: &SharedStore) {
    let (replaying, meanwhile) = (store.clone(), store.clone());
    let end = in_a_thread(async move || {
        let first = charge(&replaying, REPLAYED).run(async { Ok(Hooked(1)) });
        assert_eq!(first.await.unwrap(), Hooked(1));
        MEANWHILE.set(Some(Box::new(move || {
            ends(&in_a_thread(async move || use_all_of(&meanwhile).await));
        })));
        let replay = charge(&replaying, REPLAYED).run(async { Ok(Hooked(2)) });
        assert_eq!(replay.await.unwrap(), Hooked(1));
        assert!(MEANWHILE.take().is_none(), "it was not decoded");
    });
    ends(&end);
}

#[test]
fn a_result_in_the_near_cache_is_decoded_under_no_lock() {
    let store = SharedStore::new(Faulty::new());
    decoding_holds_nobody_up(&store.with_near_cache(&NearCache::new()));
}

#[test]
fn a_result_in_memory_is_decoded_under_no_lock() {
    decoding_holds_nobody_up(&SharedStore::new(MemoryStore::new()));
}

#[test]
fn a_result_of_a_store_elsewhere_is_decoded_under_no_lock() {
    decoding_holds_nobody_up(&SharedStore::new(Faulty::new()));
}

/// A waker that uses the notifier, as an executor's may that polls at once.
struct Busy {
    notifier: KeyNotifier,
    woken: Mutex<u32>,
}

impl Wake for Busy {
    fn wake(self: Arc<Self>) {
        let (subscription, is_first) = self.notifier.subscribe(&key(1));
        assert!(!is_first);
        assert!(self.notifier.waits_for(key(1).as_str()));
        self.notifier.publish(key(2).as_str());
        drop(subscription);
        *self.woken.lock().unwrap() += 1;
    }
}

fn key(number: u32) -> Key {
    Key::new("topics", &[&number]).unwrap()
}

fn waits(subscription: &mut Subscription, waker: &Waker) -> bool {
    let mut changed = Box::pin(subscription.changed());
    let polled = changed.as_mut().poll(&mut Context::from_waker(waker));
    // What was polled and is dropped is woken no more.
    std::mem::forget(changed);
    matches!(polled, Poll::Pending)
}

#[test]
fn wakers_are_woken_under_no_lock() {
    let end = in_a_thread(async || {
        for publish in [
            |notifier: &KeyNotifier| notifier.publish(key(1).as_str()),
            |notifier: &KeyNotifier| notifier.publish_all(),
        ] {
            let notifier = KeyNotifier::default();
            let busy = Arc::new(Busy {
                notifier: notifier.clone(),
                woken: Mutex::default(),
            });
            let (mut subscription, _) = notifier.subscribe(&key(1));
            assert!(waits(&mut subscription, &Arc::clone(&busy).into()));
            publish(&notifier);
            assert_eq!(*busy.woken.lock().unwrap(), 1);
        }
    });
    ends(&end);
}
