//! Tasks that outlive their callers, and [`drain`], which waits for them.

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

/// Waits for bodies, claims and finishes that callers left behind, in the whole process, until none
/// is left or `timeout` has passed. Returns how many are left.
///
/// Call it in command-line tools and at an orderly shutdown, before the runtime ends. What a
/// runtime drops when it ends is settled by its lease, as after a crash.
///
/// A body whose caller still waits is not counted: a task of yours that awaits a call, say. When
/// `main` ends, such a body is cut off. So at the end of `main`, in this order: stop taking work,
/// join your own tasks, then drain. [`SharedStore::in_flight`](crate::SharedStore::in_flight) tells
/// whether anything still runs.
///
/// In a runtime without timers it does not wait.
///
/// Cancel-safe: it changes nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
///
/// # async fn work() {}
/// let worker = tokio::spawn(work()); // it makes calls
/// // At the end of `main`, once no more calls come in and the worker was told to stop.
/// _ = worker.await;
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
            // It does not fail, because the sender is a static.
            let _ = changed.changed().await;
        }
    };
    let _ = unconstrained(time::timeout(timeout, empty)).await;
    PENDING.load(Ordering::SeqCst)
}

/// Runs the library's own `work` to its end, in `runtime` if it has to wait. It polls the work once
/// before it returns, so a local store is told at once. It is called in destructors, so it catches
/// panics, which a store's code may have.
pub(crate) fn finish_in_background(
    runtime: &Handle,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let mut work = Tracked::new(work);
    let deliver = AssertUnwindSafe(|| {
        // The drop may happen outside of any runtime, and timers need one.
        let _entered = runtime.enter();
        if Pin::new(&mut work)
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            runtime.spawn(work);
        }
    });
    // The panic hook has reported the panic. What was not delivered is settled by its lease.
    let _ = panic::catch_unwind(deliver);
}

/// Spawns a user's `body` on `runtime`. It does not poll the body here: whoever drops a call may
/// hold a lock that the body wants, or may be unwinding, when a second panic would abort the
/// process.
pub(crate) fn spawn_body(runtime: &Handle, body: impl Future<Output = ()> + Send + 'static) {
    let body = Tracked::new(body);
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(runtime.spawn(body))));
}

/// A task that [`drain`] waits for.
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
