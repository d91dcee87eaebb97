//! The whole flow of one call.
//!
//! `call → Key → claim → (Run: body → finish) | Replay(record) | InFlight(wait → claim again) | KeyReused | Indeterminate`

use std::{future::Future, pin::Pin, sync::Arc, task::Poll};

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
    pub fn run<B>(self, body: B) -> impl Future<Output = Result<T, E>> + Send
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
            let result = match self.begin() {
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

    pub(crate) fn begin(&self) -> Result<(Arc<Attempt>, Span), Error> {
        self.plan.begin(self.terms.check())
    }
}

/// The flow of a call with its result, for a body that may outlive its caller.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps its arguments twice"
)]
pub(crate) fn detached<T: Send, E: Send>(
    attempt: Arc<Attempt>,
    mut work: Typed<T, E, Detached<T, E>>,
) -> impl Future<Output = Result<Result<T, E>, Error>> + Send {
    async move {
        execute_detached(&attempt, &mut work).await?;
        Ok(work.into_result())
    }
}

/// The same for a body that stops with its caller. It may borrow, and need not be `Send`: its type stays.
async fn attached<T, E, B>(
    attempt: Arc<Attempt>,
    mut work: Typed<T, E, Pin<Box<B>>>,
) -> Result<Result<T, E>, Error>
where
    B: Future<Output = Result<T, E>>,
{
    execute(&attempt, &mut work).await?;
    Ok(work.into_result())
}

/// [`execute`], compiled here and not where it is called from.
fn execute_detached<'a>(
    attempt: &'a Arc<Attempt>,
    work: &'a mut (dyn Work + Send),
) -> impl Future<Output = Result<(), Error>> + Send + 'a {
    execute(attempt, work)
}

/// Claims, and runs the body or replays. The result is then found in `work`.
async fn execute<W: Work + ?Sized>(attempt: &Arc<Attempt>, work: &mut W) -> Result<(), Error> {
    let mut claim = match admit(attempt).await? {
        Admission::Replay(record) => return replay(attempt, work, &record),
        Admission::Run(claim) => claim,
    };
    let (record, lease_left) = match claim.drive(work).await {
        Driven::Returned => {
            let target = target(attempt, work, &mut claim);
            let recorded = target.state == State::Done;
            match claim.finish(target).await {
                Some(Settled::Stale { record, lease_left }) => (record, lease_left),
                settled => {
                    count::ran(&attempt.store);
                    events::ran(attempt, recorded && settled.is_some());
                    return Ok(());
                }
            }
        }
        Driven::Overtaken(record, lease_left) => {
            claim.lose();
            (record, lease_left)
        }
    };
    // Another attempt owns the record: its result is the key's result, never our own.
    let record = Box::pin(admit::adopt(attempt, record, lease_left)).await?;
    replay(attempt, work, &record)
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
