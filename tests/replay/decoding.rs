//! Decoding a result runs the user's code. It may be slow, take locks, and use the store.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use idempotent_fn::{Error, SharedStore, operation, store::MemoryStore};
use serde::{Deserialize, Deserializer, Serialize};

/// After so long, something waits for itself. Nothing here takes long.
const HANGS: Duration = Duration::from_secs(60);
/// More keys than the store has shards: some are beside any other.
const MANY: u32 = 2000;

fn at_once<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

fn call<T>(store: &SharedStore, key: u32, result: T) -> T
where
    T: Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let operation = operation::<Result<T, Error>, _>("decoding", &[&key]).store(store);
    at_once(operation.run(async move { Ok(result) })).unwrap()
}

/// In a thread with a runtime; a hang is a failure.
fn in_time(work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        work();
        let _ = done.send(());
    });
    is_done
        .recv_timeout(HANGS)
        .expect("it ends, and does not fail");
}

static STORE: OnceLock<SharedStore> = OnceLock::new();
static DECODED: AtomicU32 = AtomicU32::new(0);

/// Decoding it makes first calls of other keys.
#[derive(Serialize)]
struct Caller(Vec<u8>);

impl<'de> Deserialize<'de> for Caller {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::deserialize(deserializer)?;
        if DECODED.fetch_add(1, Ordering::Relaxed) < 2 {
            let store = STORE.get().expect("the store");
            for key in 1..MANY {
                assert_eq!(call(store, key, key), key);
            }
        }
        Ok(Self(bytes))
    }
}

#[test]
fn a_result_may_use_the_store_while_it_is_decoded() {
    in_time(|| {
        let store = STORE.get_or_init(|| MemoryStore::new().into());
        for (key, bytes) in [(MANY + 1, 1), (MANY + 2, 100_000)] {
            call(store, key, Caller(vec![1; bytes]));
            assert_eq!(call(store, key, Caller(vec![])).0.len(), bytes);
        }
        assert_eq!(DECODED.load(Ordering::Relaxed), 2);
    });
}

static LOCK: Mutex<()> = Mutex::new(());
static IS_DECODING: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, ()> {
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decoding it takes a lock of the user's.
#[derive(Serialize)]
struct Locker(u32);

impl<'de> Deserialize<'de> for Locker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        IS_DECODING.store(true, Ordering::SeqCst);
        let _held = lock();
        Ok(Self(number))
    }
}

#[test]
fn who_holds_the_lock_that_decoding_takes_may_use_the_store() {
    in_time(|| {
        let store: SharedStore = MemoryStore::new().into();
        call(&store, 0, Locker(7));
        let held = lock();
        let reader = {
            let store = store.clone();
            thread::spawn(move || call(&store, 0, Locker(0)).0)
        };
        while !IS_DECODING.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        // First calls: each of them writes.
        for key in 1..MANY {
            assert_eq!(call(&store, key, key), key);
        }
        drop(held);
        assert_eq!(reader.join().unwrap(), 7);
    });
}
