//! Callers that go away at every await point, on a slow link.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use idempotent_fn::{Error, SharedStore, idempotent, store::RedisStore};
use idempotent_test_support::{Direction, Proxy, RedisServer};

/// How far bodies with one key have come.
#[derive(Default)]
struct Log {
    began: AtomicU32,
    ended: AtomicU32,
}

impl Log {
    fn counts(&self) -> (u32, u32) {
        (
            self.began.load(Ordering::SeqCst),
            self.ended.load(Ordering::SeqCst),
        )
    }
}

async fn body(log: &Log) -> u32 {
    let run = log.began.fetch_add(1, Ordering::SeqCst) + 1;
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    tokio::task::yield_now().await;
    log.ended.fetch_add(1, Ordering::SeqCst);
    run
}

#[idempotent(scope = "cancellation.finished", key = key, store = store)]
async fn finished(store: SharedStore, key: u32, log: Arc<Log>) -> Result<u32, Error> {
    Ok(body(&log).await)
}

#[idempotent(scope = "cancellation.finished_fail", key = key, store = store, on_crash = fail)]
async fn finished_fail(store: SharedStore, key: u32, log: Arc<Log>) -> Result<u32, Error> {
    Ok(body(&log).await)
}

#[idempotent(scope = "cancellation.stopped", key = key, store = store, detach = false)]
async fn stopped(store: &SharedStore, key: u32, log: &Log) -> Result<u32, Error> {
    Ok(body(log).await)
}

#[idempotent(scope = "cancellation.stopped_fail", key = key, store = store, detach = false, on_crash = fail)]
async fn stopped_fail(store: &SharedStore, key: u32, log: &Log) -> Result<u32, Error> {
    Ok(body(log).await)
}

/// The result, if it is there within so many polls; otherwise the call is dropped.
async fn within<F: Future>(polls: u32, call: F) -> Option<F::Output> {
    let mut call = pin!(call);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match call.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Where calls were dropped: before the body had begun, in it, after it had ended.
#[derive(Debug, Default)]
struct Dropped {
    early: u32,
    midway: u32,
    late: u32,
}

/// Drops a call after 1, 2, 3 … polls until one gets through, and then calls again from elsewhere.
/// `judge` is given how often the body had begun and ended by the drop, what the second call got,
/// and how often the body has begun by then.
async fn at_every_point<F, C>(
    call: impl Fn(SharedStore, u32, Arc<Log>) -> F,
    again: impl Fn(SharedStore, u32, Arc<Log>) -> C,
    judge: impl Fn((u32, u32), Result<u32, Error>, u32),
) where
    F: Future<Output = Result<u32, Error>>,
    C: Future<Output = Result<u32, Error>>,
{
    let server = RedisServer::start();
    let proxy = Proxy::start(&format!("127.0.0.1:{}", server.port()));
    proxy.delay(Direction::Requests, Duration::from_millis(3));
    proxy.delay(Direction::Replies, Duration::from_millis(3));
    let slow = SharedStore::new(RedisStore::new(&proxy.url()).expect("a URL"));
    let elsewhere = SharedStore::new(RedisStore::new(&server.url()).expect("a URL"));

    let mut dropped = Dropped::default();
    for polls in 1.. {
        let log = Arc::new(Log::default());
        let result = within(polls, call(slow.clone(), polls, log.clone())).await;
        let counts = log.counts();
        match (&result, counts) {
            (Some(_), _) => {}
            (None, (0, _)) => dropped.early += 1,
            (None, (_, 0)) => dropped.midway += 1,
            (None, _) => dropped.late += 1,
        }
        let second = again(elsewhere.clone(), polls, log.clone()).await;
        if let Some(first) = result {
            assert_eq!(first.expect("a result"), second.expect("the same"));
            break;
        }
        judge(counts, second, log.counts().0);
    }
    assert!(
        dropped.early > 0 && dropped.midway > 0 && dropped.late > 0,
        "every stage was met: {dropped:?}"
    );
    assert_eq!(idempotent_fn::drain(Duration::from_secs(30)).await, 0);
    assert_eq!((slow.in_flight(), elsewhere.in_flight()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_finished_after_its_caller() {
    at_every_point(finished, finished, |_, second, began| {
        assert_eq!((second.expect("a result"), began), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_finished_after_its_caller_under_fail() {
    at_every_point(finished_fail, finished_fail, |_, second, began| {
        assert_eq!((second.expect("a result"), began), (1, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_with_its_caller_runs_again_only_if_it_had_begun() {
    at_every_point(
        |store, key, log| async move { stopped(&store, key, &log).await },
        |store, key, log| async move { stopped(&store, key, &log).await },
        |(began, ended), second, runs| {
            let expected = if began > ended { 2 } else { 1 };
            assert_eq!((second.expect("a result"), runs), (expected, expected));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_with_its_caller_is_in_doubt_under_fail_only_if_it_had_begun() {
    at_every_point(
        |store, key, log| async move { stopped_fail(&store, key, &log).await },
        |store, key, log| async move { stopped_fail(&store, key, &log).await },
        |(began, ended), second, runs| {
            assert_eq!(runs, 1);
            if began > ended {
                let error = second.expect_err("in doubt");
                assert!(matches!(error, Error::Indeterminate { .. }), "{error}");
            } else {
                assert_eq!(second.expect("a result"), 1);
            }
        },
    )
    .await;
}
