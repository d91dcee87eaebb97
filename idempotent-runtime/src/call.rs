//! A call as its caller holds it: polled, or dropped.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    Error, events::Span, execution::Attempt, handover::carry_on, operation::Operation,
    recorded::IntoErr, run::execute,
};

/// A call whose body is finished also when its caller goes away.
pub(crate) struct Run<T: 'static, E: 'static, F, B> {
    phase: Phase<T, E, F, B>,
}

type Flow<T, E> = Pin<Box<dyn Future<Output = Result<Result<T, E>, Error>> + Send>>;

#[expect(clippy::large_enum_variant, reason = "a replay boxes nothing")]
enum Phase<T, E, F, B> {
    /// Nothing has happened. A replay goes from here straight to the end, and boxes nothing.
    Start(Operation<T, E, F>, B),
    Flow {
        attempt: Arc<Attempt>,
        flow: InSpan<Flow<T, E>>,
        into_err: F,
    },
    /// Being polled (and if it stays like this, the body panicked), or at the end.
    Gone,
}

// The body is moved while it has not been polled, and pinned in a box from then on.
impl<T: 'static, E: 'static, F, B> Unpin for Run<T, E, F, B> {}

impl<T: 'static, E: 'static, F, B> Run<T, E, F, B> {
    pub(crate) fn new(operation: Operation<T, E, F>, body: B) -> Self {
        Self {
            phase: Phase::Start(operation, body),
        }
    }
}

impl<T, E, F, B> Future for Run<T, E, F, B>
where
    T: Send + 'static,
    E: Send + 'static,
    F: IntoErr<E>,
    B: Future<Output = Result<T, E>> + Send + 'static,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Looked at where it lies: a replay does not move it.
        if let Phase::Start(operation, _) = &self.phase
            && let Some(result) = operation.at_hand()
        {
            self.phase = Phase::Gone;
            return Poll::Ready(result);
        }
        let (attempt, mut flow, into_err) = match std::mem::replace(&mut self.phase, Phase::Gone) {
            Phase::Start(operation, body) => match operation.begin() {
                Ok((attempt, span)) => {
                    let body = Box::pin(body);
                    let flow: Flow<T, E> =
                        Box::pin(execute(Arc::clone(&attempt), operation.terms, body));
                    (attempt, InSpan { span, flow }, operation.into_err)
                }
                Err(error) => return Poll::Ready(Err(operation.into_err.into_err(error))),
            },
            Phase::Flow {
                attempt,
                flow,
                into_err,
            } => (attempt, flow, into_err),
            Phase::Gone => panic!("an idempotent call was polled after it had ended"),
        };
        match Pin::new(&mut flow).poll(cx) {
            Poll::Ready(result) => {
                Poll::Ready(result.unwrap_or_else(|error| Err(into_err.into_err(error))))
            }
            Poll::Pending => {
                self.phase = Phase::Flow {
                    attempt,
                    flow,
                    into_err,
                };
                Poll::Pending
            }
        }
    }
}

impl<T: 'static, E: 'static, F, B> Drop for Run<T, E, F, B> {
    fn drop(&mut self) {
        if let Phase::Flow { attempt, flow, .. } = std::mem::replace(&mut self.phase, Phase::Gone)
            && attempt.is_armed()
        {
            attempt.orphan();
            let runtime = attempt.runtime.clone();
            // Whatever it answers, nobody is there to hear it; the record tells the next caller.
            carry_on(&runtime, Orphaned(flow));
        }
    }
}

struct Orphaned<T, E>(InSpan<Flow<T, E>>);

impl<T, E> Future for Orphaned<T, E> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Nobody is refused: nobody is there.
        let InSpan { span, flow } = &mut self.0;
        span.in_scope(|| flow.as_mut().poll(cx)).map(drop)
    }
}

/// A flow polled inside its span.
pub(crate) struct InSpan<Fl> {
    pub(crate) span: Span,
    pub(crate) flow: Fl,
}

impl<T, E, Fl> Future for InSpan<Fl>
where
    Fl: Future<Output = Result<Result<T, E>, Error>> + Unpin,
{
    type Output = Fl::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { span, flow } = &mut *self;
        let polled = span.in_scope(|| Pin::new(flow).poll(cx));
        if let Poll::Ready(Err(error)) = &polled {
            span.refused(error);
        }
        polled
    }
}
