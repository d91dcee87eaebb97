//! Helpers that the tests share.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file is a crate of its own and uses a part of this"
)]

pub mod bytes;
pub mod faulty;
pub mod refusal;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use idempotent_fn::{Error, SharedStore};

/// What most operations here answer.
pub type Answer = Result<u32, Error>;

/// Long enough for anything that is going to happen, on a loaded machine too.
pub const GENEROUS: Duration = Duration::from_secs(60);

/// Counts what bodies did.
#[derive(Clone, Default)]
pub struct Effects {
    started: Arc<AtomicU32>,
    finished: Arc<AtomicU32>,
}

impl Effects {
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bodies were polled at all.
    pub fn started(&self) -> u32 {
        self.started.load(Ordering::SeqCst)
    }

    /// How many bodies ran to their end.
    pub fn finished(&self) -> u32 {
        self.finished.load(Ordering::SeqCst)
    }

    pub fn start(&self) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    /// The number of bodies that ran to their end, this one included: the answer tells which run it
    /// comes from.
    pub fn finish(&self) -> u32 {
        self.finished.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A body with `pauses` await points.
    pub fn body(&self, pauses: usize) -> impl Future<Output = Answer> + Send + 'static {
        let effects = self.clone();
        async move {
            effects.start();
            yields(pauses).await;
            Ok(effects.finish())
        }
    }

    /// A body that starts and never ends.
    pub fn hang(&self) -> impl Future<Output = Answer> + Send + 'static {
        let effects = self.clone();
        async move {
            effects.start();
            std::future::pending().await
        }
    }
}

/// Is pending `times` times, and asks to be polled again at once each time.
pub async fn yields(times: usize) {
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls once, as a caller does that then holds on to the future without polling it.
pub fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls until `done` says so, letting everything else run in between. Panics when the future ends
/// first, or when nothing comes of it.
pub async fn poll_until<F: Future + ?Sized>(
    future: &mut Pin<Box<F>>,
    mut done: impl FnMut() -> bool,
) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        assert!(poll_once(future).is_pending(), "it ended too early");
        tokio::task::yield_now().await;
    }
    panic!("what was waited for did not happen");
}

/// Lets everything else run until `done` says so.
pub async fn until(mut done: impl FnMut() -> bool) {
    let patience = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(GENEROUS, patience)
        .await
        .expect("what was waited for did not happen");
}

/// Nothing is left behind: no work in the runtime, no call in flight. Other tests of the process
/// may be at work too, and tokio's clock may be stopped, so this looks again and again.
pub async fn settled(store: &SharedStore) {
    let patience = std::time::Instant::now() + GENEROUS;
    while idempotent_fn::drain(Duration::ZERO).await > 0 || store.in_flight() > 0 {
        assert!(
            std::time::Instant::now() < patience,
            "work or flights are left"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
