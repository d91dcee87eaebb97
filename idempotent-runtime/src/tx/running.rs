//! A call whose body runs in its caller's transaction.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use super::{
    TxConnection,
    acquire::Granted,
    error::uncommitted,
    execution::Execution,
    outcome::{End, conclude},
    session::Session,
};
use crate::{
    Error,
    call::{heartbeat::report_panics, unprotected::Unprotected},
    context::{
        Context, RunningBody,
        observe::{Observation, Observed},
    },
    events::{self, Span},
    operation::{IntoErr, result_policy::ResultPolicy},
    record::{Record, RecordedBytes},
    store::protocol::released,
};

/// A call whose body is to run: [`body`](Self::body) runs it, and [`finish`](Self::finish) writes down how it ended.
///
/// Dropped, it leaves the record as it is: roll the transaction back. Once committed, the key is in doubt
/// ([`Error::Indeterminate`]).
#[must_use = "run the body by `body`, and record its result by `finish`"]
pub struct Running<T, E, F> {
    policy: ResultPolicy<T, E>,
    into_err: F,
    span: Span,
    call: RunningCall,
}

enum RunningCall {
    Protected(Box<Protected>),
    Unprotected(Arc<Unprotected>),
}

/// A call with a key.
pub(super) struct Protected {
    pub(super) execution: Arc<Execution>,
    pub(super) granted: Granted,
}

impl<T, E, F> Running<T, E, F> {
    pub(super) fn new(
        policy: ResultPolicy<T, E>,
        into_err: F,
        span: Span,
        protected: Protected,
    ) -> Self {
        Self {
            policy,
            into_err,
            span,
            call: RunningCall::Protected(Box::new(protected)),
        }
    }

    pub(super) fn unprotected(
        policy: ResultPolicy<T, E>,
        into_err: F,
        span: Span,
        call: Arc<Unprotected>,
    ) -> Self {
        Self {
            policy,
            into_err,
            span,
            call: RunningCall::Unprotected(call),
        }
    }

    /// Runs the body: [`current`](crate::current()) in it is this execution, and a call of the same operation with the same
    /// key is [`Error::Reentrant`].
    pub fn body<B>(&self, body: B) -> impl Future<Output = Result<T, E>>
    where
        B: Future<Output = Result<T, E>>,
    {
        let running: Arc<dyn RunningBody> = match &self.call {
            RunningCall::Protected(protected) => protected.execution.clone(),
            RunningCall::Unprotected(call) => call.clone(),
        };
        // Boxed: the caller's future stays small.
        let body = Box::pin(Context::scope(running, body));
        async {
            let mut body = body;
            poll_fn(|cx| {
                self.span
                    .in_scope(|| report_panics(|| body.as_mut().poll(cx), || self.panicked()))
            })
            .await
        }
    }

    fn panicked(&self) {
        match &self.call {
            RunningCall::Protected(protected) => events::panicked(&protected.execution),
            RunningCall::Unprotected(call) => events::panicked_unprotected(call.scope),
        }
    }

    /// Records the body's result in the same transaction, and answers with it. What is committed afterwards is both or
    /// neither.
    ///
    /// An `Ok` is recorded. An `Err` is what `on_err` says: under `rerun` the record is deleted, under `record` it is recorded,
    /// and under `fail` the key is in doubt, each if the caller commits all the same. The body's `Err` is answered also where
    /// the database refuses that.
    ///
    /// # Cancel safety
    /// As for [`begin`](crate::Operation::begin): roll back.
    ///
    /// # Errors
    /// The body's own. In place of an `Ok`: [`Error::Uncommitted`] where the transaction cannot be committed any more,
    /// and [`Error::TransactionEnded`] where the body has ended it.
    pub async fn finish<C>(self, connection: &mut C, result: Result<T, E>) -> Result<T, E>
    where
        C: TxConnection + ?Sized,
        F: IntoErr<E>,
    {
        let Self {
            policy,
            into_err,
            span,
            call,
        } = self;
        let protected = match call {
            RunningCall::Protected(protected) => protected,
            RunningCall::Unprotected(call) => {
                span.in_scope(|| emit_unprotected(&call, result.is_err()));
                return result;
            }
        };
        let Protected { execution, granted } = *protected;
        let end = span.in_scope(|| conclude(&policy, &execution, &granted.record, &result));
        let finished = within(&span, finish(connection, &execution, granted, end)).await;
        match (finished, result) {
            (Ok((recorded, record)), result) => {
                span.in_scope(|| emit_ran(&execution, recorded, &record, result.is_err()));
                result
            }
            // The transaction is over, or the record is not ours: the body's own error says more.
            (Err((_, record)), Err(error)) => {
                span.in_scope(|| emit_ran(&execution, false, &record, true));
                Err(error)
            }
            (Err((error, _)), Ok(_)) => {
                span.refused(&error);
                execution.emit_refusal(&error);
                Err(into_err.into_err(error))
            }
        }
    }
}

/// Writes the end down. Answers whether a result is recorded, and the record as it was granted.
async fn finish<C: TxConnection + ?Sized>(
    connection: &mut C,
    execution: &Execution,
    granted: Granted,
    end: End,
) -> Result<(bool, Record), (Error, Record)> {
    let Granted {
        record,
        written,
        is_first,
        transaction,
    } = granted;
    let mut session = match Session::new(connection, &execution.key) {
        Ok(session) => session,
        Err(error) => return Err((Error::store(execution.operation_id(), error), record)),
    };
    let dialect = session.dialect();
    let is_recorded = matches!(
        &end,
        End::Write(target)
            if matches!(target.outcome, Some(RecordedBytes::Ok(_) | RecordedBytes::Err(_)))
    );
    let written = if session.has_no_transaction() {
        Ok(false)
    } else {
        match end {
            End::Write(mut target) => {
                target.seal(&execution.key);
                session.finish(&target, &written, transaction).await
            }
            End::Release if is_first => session.delete(&written, transaction).await,
            End::Release => {
                session
                    .finish(&released(&record), &written, transaction)
                    .await
            }
        }
    };
    match written {
        Ok(true) => Ok((is_recorded, record)),
        Ok(false) => {
            let operation = execution.operation_id();
            Err((Error::TransactionEnded { operation }, record))
        }
        Err(failure) => Err((
            uncommitted(execution.operation_id(), failure, dialect),
            record,
        )),
    }
}

/// Reports that a body has run and been answered for.
fn emit_ran(execution: &Arc<Execution>, recorded: bool, record: &Record, is_err: bool) {
    execution.emit_answer(Observed::Ran, recorded, record);
    if is_err && execution.refusals().first().is_some() {
        execution.emit_failed_by_refusal();
    }
    events::ran(execution, recorded);
}

fn emit_unprotected(call: &Unprotected, is_err: bool) {
    let caller = call.caller();
    caller.note_answer(call.scope, None, Observation::unprotected());
    if is_err && call.refusals().first().is_some() {
        caller.note_failed_by_refusal(call.scope, None);
    }
    events::ran_unprotected(call.scope);
}

/// Polls `future` inside the span of its call.
pub(super) async fn within<Fut: Future>(span: &Span, future: Fut) -> Fut::Output {
    let mut future = pin!(future);
    poll_fn(|cx| span.in_scope(|| future.as_mut().poll(cx))).await
}

impl<T, E, F> fmt::Debug for Running<T, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Running");
        if let RunningCall::Protected(protected) = &self.call {
            shown.field("operation", &protected.execution.operation_id());
        }
        shown.finish_non_exhaustive()
    }
}
