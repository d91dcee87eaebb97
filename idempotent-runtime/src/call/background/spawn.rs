//! Work that outlives its caller.

use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use once_cell::sync::Lazy;
use tokio::{runtime::Handle, sync::watch, task::coop::unconstrained, time};

use crate::runtime_check;

static PENDING: AtomicUsize = AtomicUsize::new(0);
static CHANGED: Lazy<watch::Sender<()>> = Lazy::new(|| watch::Sender::new(()));

/// Waits for bodies, claims and finishes that callers left behind, in the whole process, until none is left or
/// `timeout` has passed. Returns how many are left.
///
/// For command-line tools and orderly shutdown, before the runtime ends: what a runtime drops on its way out is settled
/// by its lease, as a crash is.
///
/// In a runtime without timers it does not wait.
///
/// Cancel-safe: it only looks.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
///
/// // At the end of `main`, once no more calls come in.
/// let left = idempotent_fn::drain(Duration::from_secs(20)).await;
/// assert_eq!(left, 0);
/// # }
/// ```
pub async fn drain(timeout: Duration) -> usize {
    let runtime = Handle::try_current();
    if runtime.is_ok_and(|runtime| runtime_check::check(&runtime, false).is_err()) {
        return PENDING.load(Ordering::SeqCst);
    }
    let mut changed = CHANGED.subscribe();
    let empty = async {
        while PENDING.load(Ordering::SeqCst) > 0 {
            // The sender is static: `changed` does not fail.
            let _ = changed.changed().await;
        }
    };
    let _ = unconstrained(time::timeout(timeout, empty)).await;
    PENDING.load(Ordering::SeqCst)
}

/// Carries the library's own `work` on in `runtime`. What can be done at once, without waiting, is done before this
/// returns. It is called from destructors, so it does not panic, whatever a store does.
pub(crate) fn finish_in_background(
    runtime: &Handle,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let mut work = Tracked::new(work);
    let deliver = AssertUnwindSafe(|| {
        // The drop that brought us here may happen outside of any runtime, and timers need one.
        let _entered = runtime.enter();
        if Pin::new(&mut work)
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            runtime.spawn(work);
        }
    });
    // The panic itself has been reported by its hook, and what was not delivered is settled by its lease.
    let _ = panic::catch_unwind(deliver);
}

/// Carries a user's `body` on in `runtime`, and polls it nowhere else: whoever drops a call may hold a lock that the body
/// asks for, or be unwinding, where a second panic ends the process.
pub(crate) fn spawn_body(runtime: &Handle, body: impl Future<Output = ()> + Send + 'static) {
    let body = Tracked::new(body);
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(runtime.spawn(body))));
}

struct Tracked {
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
    _pending: Pending,
}

impl Tracked {
    fn new(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            work: Box::pin(work),
            _pending: Pending::new(),
        }
    }
}

impl Future for Tracked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.work.as_mut().poll(cx)
    }
}

struct Pending;

impl Pending {
    fn new() -> Self {
        PENDING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        PENDING.fetch_sub(1, Ordering::SeqCst);
        CHANGED.send_replace(());
    }
}
