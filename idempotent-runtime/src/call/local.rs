//! A shortcut for a call that waits for nothing: a first call, on a store in this process, with a
//! body that is ready when first polled.
//!
//! The common flow (`call`, in `mod.rs`) would do the same. The shortcut takes a single poll. It
//! needs no future and no box for a store's answer, and the result's bytes go to the store from the
//! buffer where they were encoded. That saves 38 % of a first call in memory (docs/BENCH.md,
//! "Tricks").
//!
//! [`call_at_once`] is the entry. As soon as something has to wait, it hands the rest to the common
//! flow. [`complete`] is the shortcut's last step; [`Claim::complete`] calls it.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    task::{Context, Poll},
};

use super::{attempt::Attempt, body::ErasedBody, claim::Claim, outcome, report_ran};
use crate::{
    context,
    record::{Record, RecordedBytesRef},
};

/// The part of a call that is left to the common flow.
pub(super) enum Rest {
    /// All of it.
    All,
    /// The claim is granted. The body is pending, or it has returned and the finish is still to be
    /// sent.
    Run(Box<Claim>),
}

/// Claims, polls the body, and records its result, as far as nothing has to wait. `None` means that
/// the call is over, and its result is in `body`.
pub(super) fn call_at_once(
    attempt: Arc<Attempt>,
    body: &mut dyn ErasedBody,
    cx: &mut Context<'_>,
) -> Option<(Arc<Attempt>, Rest)> {
    let mut claim = match claim(attempt) {
        Ok(claim) => claim,
        Err(attempt) => return Some((attempt, Rest::All)),
    };
    if poll_body(&mut claim, body, cx).is_ready() {
        outcome::end_claim(body, &mut claim);
        if claim.is_settled() {
            report_ran(&claim);
            return None;
        }
    }
    let attempt = Arc::clone(&claim.attempt);
    Some((attempt, Rest::Run(Box::new(claim))))
}

/// Claims the right to run from a store in this process. Gives the attempt back if the store is not
/// local, or does not grant at once.
#[inline]
fn claim(attempt: Arc<Attempt>) -> Result<Claim, Arc<Attempt>> {
    let local = attempt.store.local();
    match local.and_then(|local| local.grant(&attempt.key, &attempt.request)) {
        Some(token) => {
            let request = &attempt.request;
            let record = request.granted(token, 1, request.lease);
            Ok(Claim::granted(attempt, None, record))
        }
        None => Err(attempt),
    }
}

/// Polls the body for the first time. If it panics, it is dropped within its own
/// [`Context`](context::Context), as the common flow does.
fn poll_body(claim: &mut Claim, body: &mut dyn ErasedBody, cx: &mut Context<'_>) -> Poll<()> {
    claim.start();
    let polled = context::Context::sync_scope(claim.attempt.clone(), || {
        let polled = panic::catch_unwind(AssertUnwindSafe(|| body.poll(cx)));
        polled.map_err(|panicked| {
            let stopped = panic::catch_unwind(AssertUnwindSafe(|| body.stop()));
            stopped.err().unwrap_or(panicked)
        })
    });
    polled.unwrap_or_else(|panicked| {
        claim.attempt.emit_panic();
        panic::resume_unwind(panicked)
    })
}

/// Completes the record of `owned` with a result, if the store is in this process. Returns whether
/// it did.
#[inline]
pub(super) fn complete(
    attempt: &Attempt,
    owned: &Record,
    codec: u32,
    outcome: RecordedBytesRef<'_>,
) -> bool {
    let local = attempt.store.local();
    local.is_some_and(|local| local.complete(&attempt.key, owned, codec, outcome))
}
