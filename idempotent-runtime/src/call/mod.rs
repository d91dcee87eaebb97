//! The flow of one call.
//!
//! ```text
//! call → prepare → acquire ─┬─ Run:    body → finish, or adopt the result of whoever took over
//!                           ├─ Replay: the recorded result
//!                           └─ Err:    InFlight (after waiting), KeyReused, Indeterminate, Unavailable, …
//! ```
//!
//! [`call`] and [`run`] are this picture. `local` does the same in one poll where nothing has to
//! wait.

pub(crate) mod acquire;
pub(crate) mod attempt;
pub(crate) mod background;
pub(crate) mod body;
pub(crate) mod claim;
pub(crate) mod future;
mod give_way;
pub(crate) mod heartbeat;
mod local;
mod outcome;
mod prepare;
pub(crate) mod unprotected;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::task::coop::unconstrained;

use self::{
    acquire::{Acquired, Replay, acquire},
    attempt::Attempt,
    body::{BodySlot, ErasedBody, OwnedBody},
    claim::Claim,
    future::{Call, InSpan, Phase, TypeFns},
    give_way::give_way,
    heartbeat::BodyEnd,
    local::{Rest, call_at_once},
    unprotected::{Unprotected, unprotected_attached},
};
use crate::{
    Error,
    context::observe::Observed,
    events::{self, Span},
    operation::{IntoErr, Operation, SendErr, scope::BodyType},
    record::Record,
    store::counters::Turn,
};

pub use background::drain;
pub use future::Run;

// This impl is here because `operation/` knows nothing of calls.
impl<T, E, F> Operation<T, E, F> {
    /// Runs `body` unless a result for the key is recorded, and answers with the recorded or the
    /// new result.
    ///
    /// # Cancel safety
    /// If the call is dropped, the runtime settles what it leaves behind:
    ///
    /// - A claim that was sent, while the body has not been polled yet, is asked for until
    ///   answered, and released.
    /// - A body that was polled is **finished**, and its result is recorded.
    /// - A finish is delivered.
    ///
    /// A call that only waits for another call's result just ends.
    ///
    /// # Errors
    /// The body's own, and [`Error`] made into `E` (see [`map_err`](Operation::map_err)).
    // It only moves the operation to where it stays: each further move costs some 10 ns.
    #[inline]
    pub fn run<B>(self, body: B) -> Run<T, E, F, B>
    where
        T: Send + 'static,
        E: SendErr,
        F: IntoErr<E> + Send,
        B: Future<Output = Result<T, E>> + 'static,
        B: Send, // it is not: `detach = false`; it calls itself: by a `fn` that returns `Pin<Box<dyn Future + Send>>`
    {
        Run {
            call: Call {
                phase: Phase::Start(self),
                type_fns: TypeFns::new,
            },
            body: Some(body),
        }
    }

    /// As [`run`](Operation::run), but the body stops when its caller goes away, and `on_crash`
    /// decides what that means (`detach = false`). The body may borrow, and need not be `Send`.
    ///
    /// # Cancel safety
    /// As [`run`](Operation::run), except that a body dropped midway is abandoned: under
    /// [`OnCrash::Rerun`](crate::OnCrash::Rerun) the key is free at once, under
    /// [`OnCrash::Fail`](crate::OnCrash::Fail) it is in doubt.
    ///
    /// ```
    /// # use idempotent_fn::{Error, operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let mut lines = vec!["2 apples"];
    /// let order = operation::<Result<usize, Error>, _>("shop.order", &[&"order-42"]).store(MemoryStore::new());
    /// let count = order.run_attached(async {
    ///     lines.push("1 pear"); // borrowed
    ///     Ok(lines.len())
    /// });
    /// assert_eq!(count.await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Operation::run).
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps its arguments twice"
    )]
    pub fn run_attached<B>(mut self, body: B) -> impl Future<Output = Result<T, E>>
    where
        F: IntoErr<E>,
        B: Future<Output = Result<T, E>>,
    {
        async move {
            give_way().await;
            self.options.claim_scope(BodyType::of::<B>());
            if self.options.is_unprotected {
                let result = match self.unprotected() {
                    Ok((call, span)) => {
                        // Boxed, as below: keeps this future small.
                        let body = BodySlot::new(self.policy, Box::pin(body));
                        let flow = Box::pin(unprotected_attached(call, body));
                        InSpan { span, flow }.await
                    }
                    Err(error) => Err(error),
                };
                return result.unwrap_or_else(|error| Err(self.into_err.into_err(error)));
            }
            if let Some(result) = self.replay() {
                return result;
            }
            let result = match self.prepare() {
                Ok((attempt, span)) => {
                    let body = BodySlot::new(self.policy, Box::pin(body));
                    let flow = Box::pin(attached(attempt, body));
                    InSpan { span, flow }.await
                }
                Err(error) => Err(error),
            };
            result.unwrap_or_else(|error| Err(self.into_err.into_err(error)))
        }
    }

    /// The recorded result, if it lies in this process (in a local store or a near cache) and
    /// nothing speaks against a replay.
    #[inline]
    pub(crate) fn replay(&self) -> Option<Result<T, E>> {
        let fingerprint = self.options.fingerprint();
        let mut found = None;
        self.options.replay_local(&mut |record| {
            found = self.policy.read_local(record, fingerprint);
            found.is_some()
        });
        found
    }

    /// Checks the options and makes the attempt.
    pub(crate) fn prepare(&self) -> Result<(Arc<Attempt>, Span), Error> {
        prepare::prepare(&self.options, self.policy.check())
    }

    /// As [`prepare`](Self::prepare), for a call without a key.
    pub(crate) fn unprotected(&self) -> Result<(Arc<Unprotected>, Span), Error> {
        prepare::unprotected(&self.options, self.policy.check())
    }
}

/// The rest of a call that has to wait. It returns the body, which holds the result.
pub(crate) type Flow = Pin<Box<dyn Future<Output = Result<Box<dyn OwnedBody>, Error>> + Send>>;

/// The rest of a call whose body may outlive its caller. Not inlined, so it is compiled once and
/// not in each crate that calls it.
#[inline(never)]
fn detached(attempt: Arc<Attempt>, mut body: Box<dyn OwnedBody>, rest: Rest) -> Flow {
    match rest {
        // Two futures: the first, which is the common one, then needs no room for a claim.
        Rest::All => Box::pin(async move {
            let done = call(&attempt, &mut *body).await;
            emit_refusal(&attempt, done)?;
            Ok(body)
        }),
        Rest::Run(claim) => Box::pin(async move {
            let done = run(&attempt, &mut *body, claim).await;
            emit_refusal(&attempt, done)?;
            Ok(body)
        }),
    }
}

/// A call whose body stops with its caller. The body may borrow, and need not be `Send`, so its
/// type is not erased.
async fn attached<T, E, B>(
    attempt: Arc<Attempt>,
    mut body: BodySlot<T, E, Pin<Box<B>>>,
) -> Result<Result<T, E>, Error>
where
    B: Future<Output = Result<T, E>>,
{
    let mut attempt = Some(attempt);
    let mut at_once = |cx: &mut Context<'_>| call_at_once(attempt.take()?, &mut body, cx);
    if let Some((attempt, rest)) = poll_fn(|cx| Poll::Ready(at_once(cx))).await {
        let done = match rest {
            Rest::All => Box::pin(call(&attempt, &mut body)).await,
            Rest::Run(claim) => run(&attempt, &mut body, claim).await,
        };
        emit_refusal(&attempt, done)?;
    }
    Ok(body.into_result())
}

/// Counts an error, and reports it to the code around the call. Returns `done` as it is.
fn emit_refusal(attempt: &Attempt, done: Result<(), Error>) -> Result<(), Error> {
    if let Err(error) = &done {
        attempt.emit_refusal(error);
    }
    done
}

/// One call: acquires the right to run and runs the body, or acquires the recorded result. The
/// result is in `body` afterwards.
///
/// The library's own futures are [`unconstrained`]: they need nothing of the task's cooperative
/// budget, which other futures in the caller's task may have used up.
async fn call<W: ErasedBody + ?Sized>(attempt: &Arc<Attempt>, body: &mut W) -> Result<(), Error> {
    match unconstrained(acquire(attempt)).await? {
        Acquired::Run(claim) => Box::pin(run(attempt, body, claim)).await,
        Acquired::Replay(found) => replay(attempt, body, &found),
    }
}

/// Runs the body to its end, unless it has returned already, and finishes the claim.
async fn run<W: ErasedBody + ?Sized>(
    attempt: &Arc<Attempt>,
    body: &mut W,
    mut claim: Box<Claim>,
) -> Result<(), Error> {
    let mut timed_out = None;
    if !claim.is_ending() {
        match claim.drive(body).await {
            BodyEnd::Returned => outcome::end_claim(body, &mut claim),
            BodyEnd::Overtaken(record, lease_left) => {
                claim.lose();
                // Boxed because rare, here and below: keeps the common future small.
                return Box::pin(adopt(attempt, body, record, lease_left)).await;
            }
            BodyEnd::TimedOut(after) => {
                outcome::end_timed_out(&mut claim, after);
                timed_out = Some(after);
            }
        }
    }
    if let Some((record, lease_left)) = unconstrained(claim.finish()).await {
        return Box::pin(adopt(attempt, body, record, lease_left)).await;
    }
    if let Some(after) = timed_out {
        return Err(Error::TimedOut {
            operation: attempt.operation_id(),
            after,
            on_crash: attempt.request.on_crash,
        });
    }
    report_ran(&claim);
    Ok(())
}

/// Takes the result of the attempt that owns the record now. That is the key's result; this
/// attempt's own is discarded.
async fn adopt<W: ErasedBody + ?Sized>(
    attempt: &Arc<Attempt>,
    body: &mut W,
    record: Record,
    lease_left: Duration,
) -> Result<(), Error> {
    let adopted = unconstrained(acquire::adopt(attempt, record, lease_left)).await?;
    replay(attempt, body, &adopted)
}

/// Takes the recorded result in place of the body's.
fn replay<W: ErasedBody + ?Sized>(
    attempt: &Attempt,
    body: &mut W,
    found: &Replay,
) -> Result<(), Error> {
    body.replay(&found.record, &|| attempt.operation_id())?;
    attempt.count(found.turn);
    attempt.emit_answer(found.outcome, true, &found.record);
    events::replayed(attempt.scope, &attempt.key);
    Ok(())
}

/// Counts and reports a body that has run to its end.
fn report_ran(claim: &Claim) {
    let (attempt, recorded) = (&claim.attempt, claim.is_recorded());
    attempt.count(Turn::Ran);
    attempt.emit_answer(Observed::Ran, recorded, claim.record());
    events::ran(attempt, recorded);
}
