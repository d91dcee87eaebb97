//! The whole flow of one call.
//!
//! `call → Key → claim → (Run: body → finish) | Replay(record) | InFlight(wait → claim again) | KeyReused | Indeterminate`

use std::{
    any,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    Error, OnErr,
    admit::{self, Admission, admit},
    call::{Call, InSpan, Needs, Phase, Run},
    claim::{Claim, not_recorded},
    events::{self, Span},
    execution::Attempt,
    heartbeat::Driven,
    operation::Operation,
    record::Record,
    recorded::IntoErr,
    store::{
        count,
        protocol::{lost, released},
    },
    work::{Lasting, Typed, Work, with_buffer},
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
    pub fn run<B>(mut self, body: B) -> Run<T, E, F, B>
    where
        T: Send + 'static,
        E: Send + 'static, // `Box<dyn Error + Send + Sync>` is, `Box<dyn Error>` is not
        F: IntoErr<E> + Send,
        B: Future<Output = Result<T, E>> + 'static,
        B: Send, // it is not: `detach = false`; it calls itself: by a `fn` that returns `Pin<Box<dyn Future + Send>>`
    {
        self.plan.claim_scope(any::type_name::<B>());
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
            if self.plan.is_unprotected {
                // In a box, as it is below: the future has no room for it.
                return Box::pin(body).await;
            }
            self.plan.claim_scope(any::type_name::<B>());
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
    work: &mut dyn Work,
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
pub(crate) type Flow = Pin<Box<dyn Future<Output = Result<Box<dyn Lasting>, Error>> + Send>>;

/// The rest of a call, for a body that may outlive its caller. Compiled here, and not again in each crate that calls it.
#[inline(never)]
pub(crate) fn detached(attempt: Arc<Attempt>, mut work: Box<dyn Lasting>, rest: Rest) -> Flow {
    match rest {
        // A future of its own, with no box for the asking: so nearly all calls of a network store are done.
        Rest::All => Box::pin(async move {
            claim_or_replay(&attempt, &mut *work).await?;
            Ok(work)
        }),
        Rest::Begun(claim) => Box::pin(async move {
            go_on(&attempt, &mut *work, claim).await?;
            Ok(work)
        }),
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
    let mut attempt = Some(attempt);
    let mut begun = |cx: &mut Context<'_>| begin(attempt.take()?, &mut work, cx);
    if let Some((attempt, rest)) = poll_fn(|cx| Poll::Ready(begun(cx))).await {
        match rest {
            Rest::All => Box::pin(claim_or_replay(&attempt, &mut work)).await?,
            Rest::Begun(claim) => go_on(&attempt, &mut work, claim).await?,
        }
    }
    Ok(work.into_result())
}

/// Claims, and runs the body or replays. The result is then found in `work`.
async fn claim_or_replay<W: Work + ?Sized>(
    attempt: &Arc<Attempt>,
    work: &mut W,
) -> Result<(), Error> {
    match admit(attempt).await? {
        Admission::Replay(record) => replay(attempt, work, &record),
        Admission::Run(claim) => Box::pin(go_on(attempt, work, claim)).await,
    }
}

/// Runs the body to its end, if it has not returned yet, and records that.
async fn go_on<W: Work + ?Sized>(
    attempt: &Arc<Attempt>,
    work: &mut W,
    mut claim: Box<Claim>,
) -> Result<(), Error> {
    if !claim.is_ending() {
        if let Driven::Overtaken(record, lease_left) = claim.drive(work).await {
            claim.lose();
            return Box::pin(adopt(attempt, work, record, lease_left)).await;
        }
        conclude(work, &mut claim);
    }
    if let Some((record, lease_left)) = claim.finish().await {
        return Box::pin(adopt(attempt, work, record, lease_left)).await;
    }
    ran(&claim);
    Ok(())
}

/// Another attempt owns the record: its result is the key's result, never our own.
async fn adopt<W: Work + ?Sized>(
    attempt: &Arc<Attempt>,
    work: &mut W,
    record: Record,
    lease_left: Duration,
) -> Result<(), Error> {
    let record = admit::adopt(attempt, record, lease_left).await?;
    replay(attempt, work, &record)
}

/// Reports that a body has run and been answered for.
fn ran(claim: &Claim) {
    count::ran(&claim.attempt.store);
    events::ran(&claim.attempt, claim.is_recorded());
}

fn replay<W: Work + ?Sized>(attempt: &Attempt, work: &mut W, record: &Record) -> Result<(), Error> {
    work.replay(record, &|| attempt.label())?;
    events::replayed(attempt.scope, &attempt.key);
    Ok(())
}

/// Has the claim say how the body ended.
fn conclude<W: Work + ?Sized>(work: &W, claim: &mut Claim) {
    match work.verdict(claim.attempt.request.on_crash) {
        OnErr::Rerun => return claim.end(released(claim.record())),
        OnErr::Fail => return claim.end(lost(claim.record())),
        OnErr::Record => {}
    }
    // The body has run, and this is the user's code: what it does is as final as what encoding the result does.
    claim.encode();
    if let Some(ttl) = work.ttl() {
        claim.keep(ttl);
    }
    let limit = claim.attempt.store.result_limit();
    let ended: Result<(), Box<str>> = with_buffer(|bytes| match work.encode(bytes) {
        Ok(encoded) if bytes.len() <= limit => {
            claim.complete(encoded.codec, encoded.outcome(bytes));
            Ok(())
        }
        Ok(_) => Err(format!("it has {} bytes, the store takes {limit}", bytes.len()).into()),
        Err(error) => Err(format!("it cannot be encoded: {error}").into()),
    });
    if let Err(reason) = ended {
        events::not_recordable(&claim.attempt, &reason);
        claim.end(not_recorded(claim.record(), &reason));
    }
}
