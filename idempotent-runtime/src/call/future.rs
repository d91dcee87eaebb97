//! The future that a caller holds.
//!
//! Its poll starts the call and drives it. Its drop ends the call, unless the attempt is *armed*:
//! then the store has yet to learn something, and the drop spawns the rest of the call on the
//! runtime that the attempt was prepared in.

use std::{
    any::Any,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Flow,
    background::spawn::spawn_body,
    body::{BodySlot, Detached, OwnedBody},
    detached,
    give_way::poll_give_way,
    local::call_at_once,
    unprotected::unprotected,
};
use crate::{
    Error,
    call::attempt::Attempt,
    events::Span,
    operation::{IntoErr, Operation, scope::BodyType},
};

/// The future of [`Operation::run`]. If it is dropped while the body runs, the runtime finishes the
/// body.
// Boxing the body erases its type, so little code is compiled for each annotated function. A named
// future, instead of an `async` block, saves some more.
#[must_use = "a call does nothing until it is awaited"]
pub struct Run<T: 'static, E: 'static, F, B> {
    pub(crate) call: Call<T, E, F>,
    /// Not boxed before it runs: a replay boxes nothing.
    pub(crate) body: Option<B>,
}

impl<T, E, F, B> fmt::Debug for Run<T, E, F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

/// A call without its body's type.
pub(crate) struct Call<T: 'static, E: 'static, F> {
    pub(crate) phase: Phase<T, E, F>,
    /// A function that returns the table: one pointer, which keeps the call small.
    pub(crate) type_fns: fn() -> TypeFns<T, E, F>,
}

type DetachedBody<T, E> = BodySlot<T, E, Detached<T, E>>;

/// The functions of a call that depend on its types. [`Operation::run`] names them, so only `run`
/// has the trait bounds. If the `Future` impl had them too, a missing bound would be two compile
/// errors.
pub(crate) struct TypeFns<T: 'static, E: 'static, F> {
    box_body: fn(DetachedBody<T, E>) -> Box<dyn OwnedBody>,
    into_err: fn(F, Error) -> E,
}

impl<T, E, F> TypeFns<T, E, F>
where
    T: Send + 'static,
    E: Send + 'static,
    F: IntoErr<E>,
{
    pub(crate) fn new() -> Self {
        Self {
            box_body: |slot| Box::new(slot),
            into_err: F::into_err,
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "a replay boxes nothing")]
pub(crate) enum Phase<T: 'static, E: 'static, F> {
    /// Nothing was sent yet. A replay from this process goes from here to [`Ended`](Self::Ended).
    Start(Operation<T, E, F>),
    Flow {
        /// `None` for a call without a key: its drop leaves nothing to finish.
        attempt: Option<Arc<Attempt>>,
        /// Taken out while it is polled. `None` otherwise means that the body panicked.
        flow: Option<InSpan<Flow>>,
        into_err: F,
    },
    /// The result was returned.
    Ended,
}

// The body is moved only before its first poll. From then on it is pinned in a box.
impl<T: 'static, E: 'static, F, B> Unpin for Run<T, E, F, B> {}

impl<T, E, F, B> Future for Run<T, E, F, B>
where
    T: 'static,
    E: 'static,
    B: Future<Output = Result<T, E>> + Send + 'static,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { call, body } = self.get_mut();
        call.poll(body, cx)
    }
}

/// A body that is boxed when it is about to run.
trait UnboxedBody<T, E> {
    /// Boxes the body.
    ///
    /// # Panics
    /// If it was taken before. The call is then polled again after its body has panicked.
    fn take_boxed(&mut self) -> Detached<T, E>;

    fn body_type(&self) -> BodyType;
}

impl<T, E, B> UnboxedBody<T, E> for Option<B>
where
    B: Future<Output = Result<T, E>> + Send + 'static,
{
    fn take_boxed(&mut self) -> Detached<T, E> {
        match Option::take(self) {
            Some(body) => Box::pin(body),
            None => polled_after_panic(),
        }
    }

    #[inline]
    fn body_type(&self) -> BodyType {
        BodyType::of_static::<B>()
    }
}

#[cold]
fn polled_after_panic() -> ! {
    panic!("an idempotent call was polled after its body had panicked")
}

impl<T: 'static, E: 'static, F> Call<T, E, F> {
    #[inline]
    fn poll(
        &mut self,
        body: &mut dyn UnboxedBody<T, E>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, E>> {
        if let Phase::Start(operation) = &mut self.phase {
            // `give_way`, in its form for a poll.
            if poll_give_way(&mut operation.options.gave_way, cx).is_pending() {
                return Poll::Pending;
            }
            operation.options.claim_scope(body.body_type());
            if let Some(result) = operation.replay() {
                self.phase = Phase::Ended;
                return Poll::Ready(result);
            }
        }
        let polled = match self.start(body, cx) {
            Ok(Poll::Pending) => self.poll_flow(cx),
            started => started,
        };
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(ready) => {
                self.phase = Phase::Ended;
                ready
            }
            Err(error) => match mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Flow { into_err, .. } | Phase::Start(Operation { into_err, .. }) => {
                    Poll::Ready(Err(((self.type_fns)().into_err)(into_err, error)))
                }
                Phase::Ended => unreachable!("neither `start` nor `poll_flow` ends a call"),
            },
        }
    }

    /// Starts the call in its first poll. Returns the result if nothing has to wait; otherwise
    /// `Pending`, and the phase is [`Phase::Flow`].
    fn start(
        &mut self,
        body: &mut dyn UnboxedBody<T, E>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<Result<T, E>>, Error> {
        let Phase::Start(operation) = &self.phase else {
            return Ok(Poll::Pending);
        };
        if operation.options.is_unprotected {
            let (call, span) = operation.unprotected()?;
            let slot = BodySlot::new(operation.policy, body.take_boxed());
            let flow = unprotected(call, ((self.type_fns)().box_body)(slot));
            self.set_flow(None, InSpan { span, flow });
            return Ok(Poll::Pending);
        }
        let (attempt, span) = operation.prepare()?;
        let mut slot = BodySlot::new(operation.policy, body.take_boxed());
        let pending = span.in_scope(|| call_at_once(attempt, &mut slot, cx));
        let Some((attempt, rest)) = pending else {
            return Ok(slot.into_poll());
        };
        let flow = detached(
            Arc::clone(&attempt),
            ((self.type_fns)().box_body)(slot),
            rest,
        );
        self.set_flow(Some(attempt), InSpan { span, flow });
        Ok(Poll::Pending)
    }

    /// Leaves [`Phase::Start`] for [`Phase::Flow`].
    fn set_flow(&mut self, attempt: Option<Arc<Attempt>>, flow: InSpan<Flow>) {
        if let Phase::Start(operation) = mem::replace(&mut self.phase, Phase::Ended) {
            self.phase = Phase::Flow {
                attempt,
                flow: Some(flow),
                into_err: operation.into_err,
            };
        }
    }

    fn poll_flow(&mut self, cx: &mut Context<'_>) -> Result<Poll<Result<T, E>>, Error> {
        let Phase::Flow { flow: stored, .. } = &mut self.phase else {
            panic!("an idempotent call was polled after it had ended");
        };
        let Some(mut flow) = stored.take() else {
            polled_after_panic();
        };
        match Pin::new(&mut flow).poll(cx) {
            Poll::Pending => {
                *stored = Some(flow);
                Ok(Poll::Pending)
            }
            Poll::Ready(ended) => {
                let slot: Box<dyn Any> = ended?;
                match slot.downcast::<DetachedBody<T, E>>() {
                    Ok(slot) => Ok(slot.into_poll()),
                    Err(_) => unreachable!("a flow gives back the body that it was given"),
                }
            }
        }
    }
}

impl<T: 'static, E: 'static, F> Drop for Call<T, E, F> {
    fn drop(&mut self) {
        if let Phase::Flow {
            attempt: Some(attempt),
            flow,
            ..
        } = &mut self.phase
            && let Some(flow) = flow.take()
            && attempt.is_armed()
        {
            attempt.orphan();
            // Its result goes nowhere; the next caller reads it from the record.
            spawn_body(&attempt.runtime, OrphanTask(flow));
        }
    }
}

struct OrphanTask(InSpan<Flow>);

impl Future for OrphanTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // The caller is gone; there is no one to report an error to.
        let InSpan { span, flow } = &mut self.0;
        span.in_scope(|| flow.as_mut().poll(cx)).map(drop)
    }
}

/// A flow polled inside its span.
pub(crate) struct InSpan<Fl> {
    pub(crate) span: Span,
    pub(crate) flow: Fl,
}

impl<R, Fl> Future for InSpan<Fl>
where
    Fl: Future<Output = Result<R, Error>> + Unpin,
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
