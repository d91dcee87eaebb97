//! The whole flow of one call.
//!
//! `call → Key → claim → (Run: body → finish) | Replay(record) | InFlight(wait → claim again) | KeyReused | Indeterminate`

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    Error, OnErr,
    admit::{self, Admission, admit},
    call::{Call, InSpan, Phase, Run},
    claim::{Claim, not_recorded},
    events::{self, Span},
    execution::Attempt,
    heartbeat::Driven,
    operation::Operation,
    record::{Record, State},
    recorded::IntoErr,
    store::{
        Settled, count,
        protocol::{lost, released},
    },
    work::{Detached, Typed, Work},
};

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
    pub fn run<B>(self, body: B) -> Run<T, E, F, B>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: IntoErr<E> + Send,
        B: Future<Output = Result<T, E>> + Send + 'static,
    {
        // Nothing is called for this: it is compiled for each function that is annotated.
        Run {
            call: Call {
                phase: Phase::Start(self),
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
    pub fn run_attached<B>(self, body: B) -> impl Future<Output = Result<T, E>>
    where
        F: IntoErr<E>,
        B: Future<Output = Result<T, E>>,
    {
        async move {
            {
                let mut replayed = Poll::Pending;
                self.replay(&mut replayed);
                if let Poll::Ready(result) = replayed {
                    return result;
                }
            }
            let result = match self.prepare() {
                Ok((attempt, span)) => {
                    let work = Typed::new(self.terms, Box::pin(body));
                    let flow = Box::pin(attached(attempt, work));
                    InSpan { span, flow }.await
                }
                Err(error) => Err(error),
            };
            result.unwrap_or_else(|error| Err(self.into_err.into_err(error)))
        }
    }

    /// Puts the recorded result in its `place`, where it is in this process and nothing is in its way. It is written
    /// where it stays: each move of a result costs some nanoseconds.
    #[inline]
    pub(crate) fn replay(&self, place: &mut Poll<Result<T, E>>) {
        let fingerprint = self.plan.fingerprint();
        self.plan
            .peek(&mut |record| self.terms.read(record, fingerprint, place));
    }

    pub(crate) fn prepare(&self) -> Result<(Arc<Attempt>, Span), Error> {
        self.plan.prepare(self.terms.check())
    }
}

/// How far a call has come without waiting.
pub(crate) enum Begun {
    /// Not at all: the store is to be asked, and perhaps to be waited for.
    No,
    /// The body is pending.
    Running(Box<Claim>),
    /// The body has returned, but another attempt owns the record, with this much left of its lease.
    Overtaken(Record, Duration),
    /// The result is in the work.
    Ended,
}

/// Does what needs no waiting where the store is in this process: claims, polls the body, and finishes. Most first calls
/// end here, and need no future of their own.
pub(crate) fn begin(attempt: &Arc<Attempt>, work: &mut dyn Work, cx: &mut Context<'_>) -> Begun {
    let Some(mut claim) = Claim::at_once(attempt) else {
        return Begun::No;
    };
    if claim.poll_once(work, cx).is_pending() {
        return Begun::Running(Box::new(claim));
    }
    let target = target(attempt, work, &mut claim);
    let recorded = target.state == State::Done;
    let settled = claim.finish_at_once(target);
    match ran(attempt, recorded, settled) {
        Some((record, lease_left)) => Begun::Overtaken(record, lease_left),
        None => Begun::Ended,
    }
}

/// The rest of a call, for a body that may outlive its caller.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps its arguments twice"
)]
pub(crate) fn detached<T: Send, E: Send>(
    attempt: Arc<Attempt>,
    mut work: Typed<T, E, Detached<T, E>>,
    begun: Begun,
) -> impl Future<Output = Result<Result<T, E>, Error>> + Send {
    async move {
        go_on_detached(&attempt, &mut work, begun).await?;
        Ok(work.into_result())
    }
}

/// A call whose body stops with its caller. It may borrow, and need not be `Send`: its type stays.
async fn attached<T, E, B>(
    attempt: Arc<Attempt>,
    mut work: Typed<T, E, Pin<Box<B>>>,
) -> Result<Result<T, E>, Error>
where
    B: Future<Output = Result<T, E>>,
{
    let begun = poll_fn(|cx| Poll::Ready(begin(&attempt, &mut work, cx))).await;
    go_on(&attempt, &mut work, begun).await?;
    Ok(work.into_result())
}

/// [`go_on`], compiled here and not where it is called from.
fn go_on_detached<'a>(
    attempt: &'a Arc<Attempt>,
    work: &'a mut (dyn Work + Send),
    begun: Begun,
) -> impl Future<Output = Result<(), Error>> + Send + 'a {
    go_on(attempt, work, begun)
}

/// Claims, and runs the body or replays. The result is then found in `work`.
async fn go_on<W: Work + ?Sized>(
    attempt: &Arc<Attempt>,
    work: &mut W,
    begun: Begun,
) -> Result<(), Error> {
    let claim = match begun {
        Begun::No => match Box::pin(admit(attempt)).await? {
            Admission::Replay(record) => return replay(attempt, work, &record),
            Admission::Run(claim) => Ok(claim),
        },
        Begun::Running(claim) => Ok(claim),
        Begun::Overtaken(record, lease_left) => Err((record, lease_left)),
        Begun::Ended => return Ok(()),
    };
    let overtaken = match claim {
        Ok(claim) => Box::pin(finish(attempt, claim, work)).await,
        Err(overtaken) => Some(overtaken),
    };
    if let Some((record, lease_left)) = overtaken {
        // Another attempt owns the record: its result is the key's result, never our own.
        let record = Box::pin(admit::adopt(attempt, record, lease_left)).await?;
        replay(attempt, work, &record)?;
    }
    Ok(())
}

/// Runs the body to its end and records that. Answers with the record that stands, if it is another attempt's.
async fn finish<W: Work + ?Sized>(
    attempt: &Arc<Attempt>,
    mut claim: Box<Claim>,
    work: &mut W,
) -> Option<(Record, Duration)> {
    match claim.drive(work).await {
        Driven::Returned => {
            let target = target(attempt, work, &mut claim);
            let recorded = target.state == State::Done;
            let settled = claim.finish(target).await;
            ran(attempt, recorded, settled)
        }
        Driven::Overtaken(record, lease_left) => {
            claim.lose();
            Some((record, lease_left))
        }
    }
}

/// Reports how an attempt ended, unless another attempt's record stands: then that.
fn ran(attempt: &Attempt, recorded: bool, settled: Option<Settled>) -> Option<(Record, Duration)> {
    match settled {
        Some(Settled::Stale { record, lease_left }) => Some((record, lease_left)),
        settled => {
            count::ran(&attempt.store);
            events::ran(attempt, recorded && settled.is_some());
            None
        }
    }
}

fn replay<W: Work + ?Sized>(attempt: &Attempt, work: &mut W, record: &Record) -> Result<(), Error> {
    work.replay(record, &|| attempt.label())?;
    events::replayed(attempt.scope, &attempt.key);
    Ok(())
}

/// The record that says how the body ended.
fn target<W: Work + ?Sized>(attempt: &Attempt, work: &W, claim: &mut Claim) -> Record {
    match work.verdict(attempt.request.on_crash) {
        OnErr::Rerun => return released(claim.granted()),
        OnErr::Fail => return lost(claim.granted()),
        OnErr::Record => {}
    }
    claim.encode();
    let mut bytes = Vec::with_capacity(128);
    let limit = attempt.store.result_limit();
    let reason = match work.encode(&mut bytes) {
        Ok((codec, wrap)) if bytes.len() <= limit => {
            return Record {
                state: State::Done,
                codec,
                outcome: Some(wrap(bytes.into())),
                ..claim.granted().clone()
            };
        }
        Ok(_) => format!("it has {} bytes, the store takes {limit}", bytes.len()),
        Err(error) => format!("it cannot be encoded: {error}"),
    };
    events::not_recordable(attempt, &reason);
    not_recorded(claim.granted(), &reason)
}
