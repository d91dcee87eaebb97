//! The whole flow of one call.
//!
//! `call → Key → claim → (Run: body → finish) | Replay(record) | InFlight(wait → claim again) | KeyReused | Indeterminate`

pub(crate) mod acquire;
pub(crate) mod attempt;
pub(crate) mod background;
pub(crate) mod body;
pub(crate) mod claim;
pub(crate) mod future;
pub(crate) mod heartbeat;
mod prepare;
pub(crate) mod unprotected;

use std::{
    future::{Future, poll_fn},
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::task::coop::{self, unconstrained};

use self::{
    acquire::{Acquired, Replay},
    attempt::Attempt,
    body::{BodySlot, ErasedBody, OwnedBody, with_buffer},
    claim::{Claim, not_recorded},
    future::{Call, InSpan, Needs, Phase},
    heartbeat::BodyEnd,
    unprotected::{Unprotected, unprotected_attached},
};
use crate::{
    Error, OnErr,
    codec::redact::shape_of,
    context::observe::Observed,
    error::noting_own,
    events::{self, Span},
    operation::{IntoErr, Operation, SendErr, scope::BodyType},
    record::{DONE_HEADER, Record, too_large},
    store::{
        counters::Turn,
        protocol::{abandoned, lost, released},
    },
};

pub use background::drain;
pub use future::Run;

// Here and not in `operation/`, which knows nothing of calls.
impl<T, E, F> Operation<T, E, F> {
    /// Runs `body` unless a result for the key is recorded, and answers with the recorded or the new result.
    ///
    /// # Cancel safety
    /// A dropped call is settled by the runtime: a claim that was sent is seen through and released if the body had not
    /// been polled yet; a body that was polled is **finished** in the runtime, and its result recorded; a finish is
    /// delivered. A call that only waits for another's result just ends.
    ///
    /// # Errors
    /// The body's own, and [`Error`] made into `E` (see [`map_err`](Operation::map_err)).
    // Nothing is done here but to put it where it stays: each further move of an operation costs some 10 ns.
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
                needs: Needs::met,
            },
            body: Some(body),
        }
    }

    /// As [`run`](Operation::run), but the body stops when its caller goes away, and `on_crash` decides what that means
    /// (`detach = false`). The body may borrow, and need not be `Send`.
    ///
    /// # Cancel safety
    /// As [`run`](Operation::run), except that a body dropped midway is abandoned: under
    /// [`OnCrash::Rerun`](crate::OnCrash::Rerun) the key is free at once, under [`OnCrash::Fail`](crate::OnCrash::Fail)
    /// it is in doubt.
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
                        // In boxes, as it is below: the future has no room for it.
                        let work = BodySlot::new(self.policy, Box::pin(body));
                        let flow = Box::pin(unprotected_attached(call, work));
                        InSpan { span, flow }.await
                    }
                    Err(error) => Err(error),
                };
                return result.unwrap_or_else(|error| Err(self.into_err.into_err(error)));
            }
            {
                let mut replayed = Poll::Pending;
                self.replay(&mut replayed);
                if let Poll::Ready(result) = replayed {
                    return result;
                }
            }
            let result = match self.prepare() {
                Ok((attempt, span)) => {
                    let work = BodySlot::new(self.policy, Box::pin(body));
                    let flow = Box::pin(attached(attempt, work));
                    InSpan { span, flow }.await
                }
                Err(error) => Err(error),
            };
            result.unwrap_or_else(|error| Err(self.into_err.into_err(error)))
        }
    }

    /// Puts the recorded result in its `output`, where it is in this process and nothing is in its way. It is written
    /// where it stays: each move of a result costs some nanoseconds.
    #[inline]
    pub(crate) fn replay(&self, output: &mut Poll<Result<T, E>>) {
        let fingerprint = self.options.fingerprint();
        self.options
            .peek(&mut |record| self.policy.read(record, fingerprint, output));
    }

    pub(crate) fn prepare(&self) -> Result<(Arc<Attempt>, Span), Error> {
        prepare::prepare(&self.options, self.policy.check())
    }

    /// The same for a call without a key.
    pub(crate) fn unprotected(&self) -> Result<(Arc<Unprotected>, Span), Error> {
        prepare::unprotected(&self.options, self.policy.check())
    }
}

/// What is left of a call that has to wait.
pub(crate) enum Rest {
    /// Everything: the store is to be asked, and perhaps to be waited for.
    All,
    /// The body is pending, or it has returned and the store is still to be told.
    Begun(Box<Claim>),
}

/// Does what needs no waiting where the store is in this process: claims, polls the body, and records its result. Most
/// first calls end here, with their result in `work`, and need no future of their own.
pub(crate) fn begin(
    attempt: Arc<Attempt>,
    work: &mut dyn ErasedBody,
    cx: &mut Context<'_>,
) -> Option<(Arc<Attempt>, Rest)> {
    let mut claim = match Claim::at_once(attempt) {
        Ok(claim) => claim,
        Err(attempt) => return Some((attempt, Rest::All)),
    };
    if claim.poll_once(work, cx).is_ready() {
        conclude(work, &mut claim);
        if claim.is_settled() {
            ran(&claim);
            return None;
        }
    }
    let attempt = Arc::clone(&claim.attempt);
    Some((attempt, Rest::Begun(Box::new(claim))))
}

/// What is left of a call once it has to wait.
pub(crate) type Flow = Pin<Box<dyn Future<Output = Result<Box<dyn OwnedBody>, Error>> + Send>>;

/// The rest of a call, for a body that may outlive its caller. Compiled here, and not again in each crate that calls it.
#[inline(never)]
pub(crate) fn detached(attempt: Arc<Attempt>, mut work: Box<dyn OwnedBody>, rest: Rest) -> Flow {
    match rest {
        // A future of its own, with no box for the asking: so nearly all calls of a network store are done.
        Rest::All => Box::pin(async move {
            let done = claim_or_replay(&attempt, &mut *work).await;
            told(&attempt, done)?;
            Ok(work)
        }),
        Rest::Begun(claim) => Box::pin(async move {
            let done = go_on(&attempt, &mut *work, claim).await;
            told(&attempt, done)?;
            Ok(work)
        }),
    }
}

/// A call whose body stops with its caller. It may borrow, and need not be `Send`: its type stays.
async fn attached<T, E, B>(
    attempt: Arc<Attempt>,
    mut work: BodySlot<T, E, Pin<Box<B>>>,
) -> Result<Result<T, E>, Error>
where
    B: Future<Output = Result<T, E>>,
{
    let mut attempt = Some(attempt);
    let mut begun = |cx: &mut Context<'_>| begin(attempt.take()?, &mut work, cx);
    if let Some((attempt, rest)) = poll_fn(|cx| Poll::Ready(begun(cx))).await {
        let done = match rest {
            Rest::All => Box::pin(claim_or_replay(&attempt, &mut work)).await,
            Rest::Begun(claim) => go_on(&attempt, &mut work, claim).await,
        };
        told(&attempt, done)?;
    }
    Ok(work.into_result())
}

/// Lets the code around the call know that it was refused, if it was.
fn told(attempt: &Attempt, done: Result<(), Error>) -> Result<(), Error> {
    if let Err(error) = &done {
        attempt.refused(error);
    }
    done
}

/// Gives way to the task's other work, and to other tasks, where the task has used up its budget; once at most, for others
/// in the same task may take all the budget that there is. Each call does so before it begins: a replay in memory and a
/// refusal wait for nothing, and a loop of them would not let others run, perhaps the very owner that it asks for.
async fn give_way() {
    let mut given = false;
    poll_fn(|cx| poll_give_way(&mut given, cx)).await;
}

/// [`give_way`] as a poll; `given` is false at first.
#[inline]
pub(crate) fn poll_give_way(given: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
    match coop::poll_proceed(cx) {
        Poll::Pending if !*given => {
            *given = true;
            Poll::Pending
        }
        Poll::Pending => Poll::Ready(()),
        Poll::Ready(progress) => {
            progress.made_progress();
            Poll::Ready(())
        }
    }
}

/// Claims, and runs the body or replays. The result is then found in `work`.
async fn claim_or_replay<W: ErasedBody + ?Sized>(
    attempt: &Arc<Attempt>,
    work: &mut W,
) -> Result<(), Error> {
    // What the caller polls beside this call may have used up the task's cooperative budget: what is ours needs none.
    match unconstrained(acquire::acquire(attempt)).await? {
        Acquired::Replay(found) => replay(attempt, work, &found),
        Acquired::Run(claim) => Box::pin(go_on(attempt, work, claim)).await,
    }
}

/// Runs the body to its end, if it has not returned yet, and records that.
async fn go_on<W: ErasedBody + ?Sized>(
    attempt: &Arc<Attempt>,
    work: &mut W,
    mut claim: Box<Claim>,
) -> Result<(), Error> {
    let mut timed_out = None;
    if !claim.is_ending() {
        match claim.drive(work).await {
            BodyEnd::Returned => conclude(work, &mut claim),
            BodyEnd::Overtaken(record, lease_left) => {
                claim.lose();
                return Box::pin(adopt(attempt, work, record, lease_left)).await;
            }
            BodyEnd::TimedOut(after) => {
                events::timed_out(attempt, after);
                if attempt.is_orphaned() {
                    // There is no caller to be refused, and to be counted as that.
                    attempt.count(Turn::TimedOut);
                }
                claim.end(abandoned(claim.record()));
                timed_out = Some(after);
            }
        }
    }
    if let Some((record, lease_left)) = unconstrained(claim.finish()).await {
        return Box::pin(adopt(attempt, work, record, lease_left)).await;
    }
    if let Some(after) = timed_out {
        return Err(Error::TimedOut {
            operation: attempt.operation_id(),
            after,
            on_crash: attempt.request.on_crash,
        });
    }
    ran(&claim);
    Ok(())
}

/// Another attempt owns the record: its result is the key's result, never our own.
async fn adopt<W: ErasedBody + ?Sized>(
    attempt: &Arc<Attempt>,
    work: &mut W,
    record: Record,
    lease_left: Duration,
) -> Result<(), Error> {
    let adopted = unconstrained(acquire::adopt(attempt, record, lease_left)).await?;
    replay(attempt, work, &adopted)
}

/// Reports that a body has run and been answered for.
fn ran(claim: &Claim) {
    let (attempt, recorded) = (&claim.attempt, claim.is_recorded());
    attempt.count(Turn::Ran);
    attempt.answered(Observed::Ran, recorded, claim.record());
    events::ran(attempt, recorded);
}

fn replay<W: ErasedBody + ?Sized>(
    attempt: &Attempt,
    work: &mut W,
    found: &Replay,
) -> Result<(), Error> {
    work.replay(&found.record, &|| attempt.operation_id())?;
    attempt.count(found.turn);
    attempt.answered(found.outcome, true, &found.record);
    events::replayed(attempt.scope, &attempt.key);
    Ok(())
}

/// Has the claim say how the body ended. What the result is asked for is the user's code, as the body is.
fn conclude<W: ErasedBody + ?Sized>(work: &W, claim: &mut Claim) {
    let judged = panic::catch_unwind(AssertUnwindSafe(|| judge(work, claim)));
    if let Err(panicked) = judged {
        claim.attempt.panicked();
        panic::resume_unwind(panicked);
    }
}

fn judge<W: ErasedBody + ?Sized>(work: &W, claim: &mut Claim) {
    match work.verdict(claim.attempt.request.on_crash) {
        OnErr::Rerun => return claim.end(released(claim.record())),
        OnErr::Fail => return claim.end(lost(claim.record())),
        OnErr::Record => {}
    }
    if work.is_err()
        && let Some(refused) = claim.attempt.progress.refusals.first()
    {
        return passing(claim, refused);
    }
    // The body has run, and this is the user's code: what it does is as final as what encoding the result does.
    claim.encode();
    if let Some(ttl) = work.ttl() {
        claim.keep(ttl);
    }
    let limit = claim.attempt.store.result_limit();
    let ended = with_buffer(|bytes| {
        let (encoded, carries_ours) = noting_own(|| work.encode(bytes));
        match encoded {
            _ if carries_ours && work.is_err() => RecordingResult::Passing,
            // The limit is the whole value's: what the server counts.
            Ok(encoded) if DONE_HEADER + bytes.len() <= limit => {
                claim.complete(encoded.codec, encoded.outcome(bytes));
                RecordingResult::Recorded
            }
            Ok(_) => RecordingResult::NotRecordable(too_large(bytes.len(), limit)),
            Err(error) => RecordingResult::NotRecordable(format!(
                "it cannot be encoded: {}",
                shape_of(&error)
            )),
        }
    });
    match ended {
        RecordingResult::Recorded => {}
        RecordingResult::Passing => passing(claim, "another operation"),
        RecordingResult::NotRecordable(reason) => {
            claim.attempt.count(Turn::NotRecordable);
            events::not_recordable(&claim.attempt, &reason);
            claim.end(not_recorded(claim.record(), &reason));
        }
    }
}

/// What became of a result that is final.
enum RecordingResult {
    Recorded,
    NotRecordable(String),
    /// It carries an error of this library: it is not final.
    Passing,
}

/// The body's `Err` would be final, but it comes of a call that this library refused for now: that one was in flight, its
/// store could not be asked, it was in doubt; or it carries a refusal. Nothing of that is final. What else the body did before, its author has said
/// nothing of, so it is as after a crash: under `rerun` a retry runs it again, under `fail` it is in doubt (there only
/// `on_err = rerun` is the author's word that nothing happened, and then we are not asked).
fn passing(claim: &mut Claim, refused: &'static str) {
    events::not_final(&claim.attempt, refused);
    claim.end(abandoned(claim.record()));
}
