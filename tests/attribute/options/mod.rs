//! What each option of the attribute does, on the memory store. The forms of functions are in
//! `tests/shapes`.

mod errors;
mod keys;
mod stores;
mod times;

use std::{
    sync::{
        Arc, LazyLock, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use idempotent_fn::{
    Error, OnErr, RerunOrFail, SharedStore,
    codec::{Codec, CodecError},
    current, idempotent, install,
    store::{ManualClock, MemoryStore},
    with_store,
};
use tokio::{sync::Semaphore, task::yield_now};

/// One key for all calls.
const ONE: u64 = 1;

/// A number that was never given before: equal answers are one run.
fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The default store, also where features or the environment say another.
fn on_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| install(memory()).expect("no default store yet"));
}

fn memory() -> SharedStore {
    SharedStore::new(MemoryStore::new())
}

fn memory_with_clock() -> (SharedStore, ManualClock) {
    let clock = ManualClock::new();
    (SharedStore::new(MemoryStore::with_clock(&clock)), clock)
}

/// An error that can be recorded.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Declined {
    Card(u64),
    Network(u64),
    Library(String),
}

impl From<Error> for Declined {
    fn from(error: Error) -> Self {
        match error {
            Error::Indeterminate { .. } => Self::Library("indeterminate".into()),
            other => Self::Library(other.to_string()),
        }
    }
}

/// In one expression: its parts do not stay in the future.
#[tokio::test]
async fn a_call_by_hand_is_send() {
    fn is_send<F: Send>(future: F) -> F {
        future
    }

    let store = memory();
    let call = is_send(async move {
        let order = 1;
        let user = String::from("a");
        idempotent_fn::operation::<Result<u64, Error>, _>("by-hand", &(&order, &user))
            .store(&store)
            .run(async { Ok(1) })
            .await?;
        idempotent_fn::operation::<Result<u64, Error>, _>("by-hand", &[&order])
            .store(&store)
            .run_attached(async { Ok(2) })
            .await
    });
    assert_eq!(tokio::spawn(call).await.unwrap().unwrap(), 2);
}

/// Polls the call until it is pending, then drops it.
async fn give_up<F: Future>(call: F) {
    let timeout = Duration::from_millis(20);
    assert!(tokio::time::timeout(timeout, call).await.is_err());
}

#[tokio::test]
async fn a_body_is_finished_when_its_caller_goes_away() {
    #[idempotent(key = ONE)]
    async fn finished(ran: Arc<AtomicU64>, gate: Arc<Semaphore>) -> Result<u64, Error> {
        ran.fetch_add(1, Ordering::Relaxed);
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    on_memory();
    let (ran, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    give_up(finished(ran.clone(), gate.clone())).await;
    gate.add_permits(1);
    finished(ran.clone(), gate).await.unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_attached_body_stops_when_its_caller_goes_away() {
    #[idempotent(scope = "attached.rerun", key = ONE, detach = false)]
    async fn rerun(ran: &AtomicU64, gate: &Semaphore) -> Result<u64, Declined> {
        ran.fetch_add(1, Ordering::Relaxed);
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    #[idempotent(scope = "attached.fail", key = ONE, detach = false, on_crash = fail)]
    async fn fail(ran: &AtomicU64, gate: &Semaphore) -> Result<u64, Declined> {
        ran.fetch_add(1, Ordering::Relaxed);
        gate.acquire().await.expect("open").forget();
        Ok(fresh())
    }

    on_memory();
    let (ran, gate) = (AtomicU64::new(0), Semaphore::new(0));
    give_up(rerun(&ran, &gate)).await;
    give_up(fail(&ran, &gate)).await;
    gate.add_permits(1);
    assert_eq!(ran.load(Ordering::Relaxed), 2);
    rerun(&ran, &gate).await.unwrap();
    assert_eq!(
        fail(&ran, &gate).await,
        Err(Declined::Library("indeterminate".into()))
    );
    assert_eq!(ran.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn empty_results_replay_as_themselves() {
    static RUNS: AtomicU64 = AtomicU64::new(0);

    macro_rules! empty {
        ($($name:ident: $type:ty = $value:expr),*) => {$({
            #[idempotent(key = ONE)]
            async fn $name() -> Result<$type, Error> {
                RUNS.fetch_add(1, Ordering::Relaxed);
                Ok($value)
            }

            let expected: $type = $value;
            assert_eq!($name().await.unwrap(), expected);
            let expected: $type = $value;
            assert_eq!($name().await.unwrap(), expected);
        })*};
    }

    on_memory();
    empty!(unit: () = (), none: Option<u64> = None, no: bool = false, zero: u64 = 0, list: Vec<u64> = Vec::<u64>::new());
    assert_eq!(RUNS.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_body_that_calls_itself_with_its_own_key_is_told() {
    #[idempotent(key = ONE)]
    async fn outer() -> Result<u64, Error> {
        inner().await
    }

    fn inner() -> std::pin::Pin<Box<dyn Future<Output = Result<u64, Error>> + Send>> {
        Box::pin(outer())
    }

    on_memory();
    assert!(matches!(outer().await, Err(Error::Reentrant { .. })));
}

#[test]
fn without_tokio_the_call_is_refused() {
    #[idempotent(key = ONE)]
    async fn without_runtime() -> Result<u64, Error> {
        Ok(fresh())
    }

    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let answer = std::pin::pin!(without_runtime()).poll(&mut context);
    let std::task::Poll::Ready(Err(refused)) = answer else {
        panic!("{answer:?}")
    };
    assert!(matches!(refused, Error::Config { .. }), "{refused}");
}
