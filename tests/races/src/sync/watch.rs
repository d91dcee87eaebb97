//! tokio's watch channel: the newest value, and which receivers have not seen it.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, PoisonError},
    task::{Poll, Waker},
};

use shuttle::sync::{Mutex, MutexGuard};

struct State<T> {
    value: T,
    version: u64,
    receivers: usize,
    senders: usize,
    waiting: Vec<Waker>,
}

type Shared<T> = Arc<Mutex<State<T>>>;

/// A scenario that fails unwinds its tasks wherever they are, under a lock too: a second panic
/// would hide the first.
fn locked<T>(shared: &Shared<T>) -> MutexGuard<'_, State<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Sender<T>(Shared<T>);

impl<T> Sender<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(State {
            value,
            version: 0,
            receivers: 0,
            senders: 1,
            waiting: Vec::new(),
        })))
    }

    pub(crate) fn subscribe(&self) -> Receiver<T> {
        let mut state = locked(&self.0);
        state.receivers += 1;
        Receiver {
            seen: state.version,
            shared: Arc::clone(&self.0),
        }
    }

    pub(crate) fn send_replace(&self, value: T) -> T {
        let mut state = locked(&self.0);
        state.version += 1;
        let old = std::mem::replace(&mut state.value, value);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        old
    }

    pub(crate) fn receiver_count(&self) -> usize {
        locked(&self.0).receivers
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        locked(&self.0).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = locked(&self.0);
        state.senders -= 1;
        if state.senders > 0 {
            return;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

pub(crate) struct Receiver<T> {
    shared: Shared<T>,
    seen: u64,
}

/// The sender is gone.
#[derive(Debug)]
pub(crate) struct Closed;

impl<T> Receiver<T> {
    pub(crate) async fn changed(&mut self) -> Result<(), Closed> {
        poll_fn(|cx| {
            let mut state = locked(&self.shared);
            if state.version != self.seen {
                self.seen = state.version;
                return Poll::Ready(Ok(()));
            }
            if state.senders == 0 {
                return Poll::Ready(Err(Closed));
            }
            state.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        locked(&self.shared).receivers -= 1;
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
