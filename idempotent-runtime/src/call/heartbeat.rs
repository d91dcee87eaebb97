//! Polls the body, and renews the lease while the body is pending.
//!
//! Heartbeats are part of the call's own future. So a call needs no task, and a future that nobody
//! polls loses its lease, as it should.
//!
//! A heartbeat is polled after the body, in the same poll. By then the body, or another future in
//! the caller's task, may have used up Tokio's cooperative budget. So heartbeats and timeouts are
//! `unconstrained`: they need no budget. Otherwise a body that uses up its budget in each poll
//! would lose its lease.

use std::{
    future::{Future, poll_fn},
    mem,
    panic::{self, AssertUnwindSafe},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    task::coop::unconstrained,
    time::{self, Instant, Sleep},
};

use super::{
    background::{REPLY_TIMEOUT, report, with_timeout},
    body::ErasedBody,
    claim::Claim,
};
use crate::{StoreError, call::attempt::Attempt, context, events, record::Record, store::Settled};

/// How a body ended.
pub(crate) enum BodyEnd {
    /// It returned; `body` has its result.
    Returned,
    /// Another attempt owns the record, as shown here with what is left of its lease. The body was
    /// dropped.
    Overtaken(Record, Duration),
    /// It ran for this long, its `timeout`, and was dropped.
    TimedOut(Duration),
}

// This method is not in `claim.rs` because it polls the user's code, which the guard does not.
impl Claim {
    /// Polls the body until it returns, its timeout is over, or another attempt owns the record.
    /// Renews the lease every third of it. The body is dropped before this returns.
    pub(crate) async fn drive<W: ErasedBody + ?Sized>(&mut self, body: &mut W) -> BodyEnd {
        let attempt = Arc::clone(&self.attempt);
        let mut body = pin!(context::Context::scope(attempt.clone(), StopOnDrop(body)));
        // For `SharedStore::in_flight`: a local store has no flights that could be counted.
        let _running = attempt.store.local().map(|_| attempt.store.running());
        let mut heartbeat = None;
        let mut timeout = attempt.timeout.map(|after| Box::pin(time::sleep(after)));
        // If it had started before, `local` has polled it in this very poll, and it will wake this
        // task.
        let mut is_pending = !self.start();
        poll_fn(|cx| {
            let mut poll_body =
                || report_panics(|| body.as_mut().poll(cx), || attempt.emit_panic());
            if !mem::take(&mut is_pending) && poll_body().is_ready() {
                return Poll::Ready(BodyEnd::Returned);
            }
            let heartbeat =
                heartbeat.get_or_insert_with(|| Heartbeat::new(&attempt, self.record().clone()));
            let beat = poll_fn(|cx| heartbeat.poll(cx, self));
            if let Poll::Ready((record, lease_left)) = pin!(unconstrained(beat)).poll(cx) {
                return Poll::Ready(BodyEnd::Overtaken(record, lease_left));
            }
            poll_timeout(&mut timeout, cx)
                .map(|()| BodyEnd::TimedOut(attempt.timeout.unwrap_or_default()))
        })
        .await
    }
}

/// Runs `work`, which is the user's code. If it panics, calls `report`, and then lets the panic go
/// on. `report` does not run while the thread unwinds, so a panic in it (in a subscriber to events,
/// say) does not abort the process.
pub(crate) fn report_panics<R>(work: impl FnOnce() -> R, report: impl FnOnce()) -> R {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panicked| {
        report();
        panic::resume_unwind(panicked)
    })
}

/// Ready when the body's `timeout` is over. Pending for ever if it has none.
pub(crate) fn poll_timeout(
    timeout: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    match timeout {
        Some(timeout) => pin!(unconstrained(timeout.as_mut())).poll(cx),
        None => Poll::Pending,
    }
}

/// Polls a body, and drops it when this is dropped. Placed inside
/// [`Context::scope`](context::Context::scope), so that the body's destructors run in the same
/// context as the body.
pub(crate) struct StopOnDrop<'a, W: ErasedBody + ?Sized>(pub(crate) &'a mut W);

impl<W: ErasedBody + ?Sized> Future for StopOnDrop<'_, W> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx)
    }
}

impl<W: ErasedBody + ?Sized> Drop for StopOnDrop<'_, W> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct Heartbeat<'a> {
    attempt: &'a Arc<Attempt>,
    owned: Record,
    every: Duration,
    state: HeartbeatState,
}

enum HeartbeatState {
    /// The body has not been pending yet.
    Idle,
    Sleeping(Pin<Box<Sleep>>),
    Renewing(Pin<Box<dyn Future<Output = Result<Settled, StoreError>> + Send>>),
}

impl<'a> Heartbeat<'a> {
    fn new(attempt: &'a Arc<Attempt>, owned: Record) -> Self {
        let every = owned.lease / 3;
        Self {
            attempt,
            owned,
            every,
            state: HeartbeatState::Idle,
        }
    }

    /// Renews the lease when it is time. Ready when another attempt owns the record.
    fn poll(&mut self, cx: &mut Context<'_>, claim: &Claim) -> Poll<(Record, Duration)> {
        loop {
            match &mut self.state {
                HeartbeatState::Idle => self.sleep(),
                HeartbeatState::Sleeping(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    let late = Instant::now() - sleep.deadline();
                    if late > self.every {
                        // The body blocked its thread, or nobody polled it. The lease may have
                        // lapsed.
                        events::heartbeat_late(self.attempt, late);
                    }
                    let (attempt, owned) = (Arc::clone(self.attempt), self.owned.clone());
                    let renew = async move {
                        let reply = attempt.store.renew(&attempt.key, &owned);
                        with_timeout(&attempt, REPLY_TIMEOUT, reply).await
                    };
                    self.state = HeartbeatState::Renewing(Box::pin(renew));
                }
                HeartbeatState::Renewing(renew) => {
                    match ready!(renew.as_mut().poll(cx)) {
                        Ok(settled) => {
                            report(self.attempt, &settled);
                            if let Settled::Stale { record, lease_left } = settled {
                                return Poll::Ready((record, lease_left));
                            }
                            claim.extend(self.owned.lease);
                        }
                        // No answer is not a refusal: the body goes on, and the next heartbeat
                        // tries again.
                        Err(error) => events::heartbeat_failed(self.attempt, &error),
                    }
                    self.sleep();
                }
            }
        }
    }

    fn sleep(&mut self) {
        self.state = HeartbeatState::Sleeping(Box::pin(time::sleep(self.every)));
    }
}
