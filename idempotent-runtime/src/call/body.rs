//! A body and its result, with their types erased: the flow is compiled once, not once for each
//! annotated function.

use std::{
    any::Any,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    CodecError, Error, OnCrash, OnErr, OperationId,
    operation::result_policy::ResultPolicy,
    record::{Record, RecordedBytesRef},
};

/// A body and its result, as the flow uses them.
pub(crate) trait ErasedBody {
    /// Polls the body. When it returns, stores its result and drops the body.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Drops the body, however far it has come.
    fn stop(&mut self);

    /// What the result means for the record.
    fn verdict(&self, on_crash: OnCrash) -> OnErr;

    /// Whether the body has returned an `Err`.
    fn is_err(&self) -> bool;

    /// How long the result is to be kept, where the result says so.
    fn ttl(&self) -> Option<Duration>;

    /// Appends the result's bytes.
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<EncodedResult, CodecError>;

    /// Decodes the recorded result and stores it, in place of the body's.
    fn replay(
        &mut self,
        record: &Record,
        operation_id: &dyn Fn() -> OperationId,
    ) -> Result<(), Error>;
}

/// What the bytes of an encoded result are.
pub(crate) struct EncodedResult {
    /// The codec's id.
    pub(crate) codec: u32,
    /// Whether they are an `Err`'s.
    pub(crate) is_err: bool,
}

impl EncodedResult {
    pub(crate) fn outcome(self, bytes: &[u8]) -> RecordedBytesRef<'_> {
        if self.is_err {
            RecordedBytesRef::Err(bytes)
        } else {
            RecordedBytesRef::Ok(bytes)
        }
    }
}

/// A body that may outlive its caller. `Any` gives it its type back at the end.
pub(crate) trait OwnedBody: ErasedBody + Any + Send {}

impl<W: ErasedBody + Any + Send> OwnedBody for W {}

/// A boxed body that may outlive its caller.
pub(crate) type Detached<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The body and the result of a function that returns `Result<T, E>`.
pub(crate) struct BodySlot<T, E, B> {
    policy: ResultPolicy<T, E>,
    body: Option<B>,
    /// Stored just as the body's poll returns it, which saves copies.
    result: Poll<Result<T, E>>,
}

impl<T, E, B> BodySlot<T, E, B> {
    pub(crate) fn new(policy: ResultPolicy<T, E>, body: B) -> Self {
        Self {
            policy,
            body: Some(body),
            result: Poll::Pending,
        }
    }

    /// The result, `Pending` if there is none.
    #[inline]
    pub(crate) fn into_poll(self) -> Poll<Result<T, E>> {
        self.result
    }

    /// The result, after a flow that returned `Ok`.
    pub(crate) fn into_result(self) -> Result<T, E> {
        match self.result {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("the flow ends well with a result only"),
        }
    }
}

impl<T, E, B> ErasedBody for BodySlot<T, E, B>
where
    B: Future<Output = Result<T, E>> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(body) = &mut self.body {
            self.result = Pin::new(body).poll(cx);
            if self.result.is_pending() {
                return Poll::Pending;
            }
            self.body = None;
        }
        Poll::Ready(())
    }

    fn stop(&mut self) {
        self.body = None;
    }

    fn verdict(&self, on_crash: OnCrash) -> OnErr {
        match &self.result {
            Poll::Ready(Ok(value)) if (self.policy.ok.is_transient)(value) => {
                self.policy.judge_transient(on_crash)
            }
            Poll::Ready(Ok(_)) => OnErr::Record,
            Poll::Ready(Err(error)) => self.policy.judge_err(on_crash, error),
            // Nothing was returned, so nobody knows what happened.
            Poll::Pending => OnErr::Fail,
        }
    }

    fn is_err(&self) -> bool {
        matches!(self.result, Poll::Ready(Err(_)))
    }

    fn ttl(&self) -> Option<Duration> {
        match &self.result {
            Poll::Ready(result) => Some((self.policy.ttl?)(result)),
            Poll::Pending => None,
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<EncodedResult, CodecError> {
        let (codec, is_err) = match (&self.result, &self.policy.err) {
            (Poll::Ready(Ok(value)), _) => {
                (self.policy.ok.encode)(value, bytes)?;
                (self.policy.ok.codec, false)
            }
            (Poll::Ready(Err(error)), Some(format)) => {
                (format.encode)(error, bytes)?;
                (format.codec, true)
            }
            (Poll::Ready(Err(_)), None) => {
                let reason = "it is an `Err`, and this function records none";
                return Err(CodecError::own(reason));
            }
            (Poll::Pending, _) => return Err(CodecError::own("there is no result")),
        };
        Ok(EncodedResult { codec, is_err })
    }

    fn replay(
        &mut self,
        record: &Record,
        operation_id: &dyn Fn() -> OperationId,
    ) -> Result<(), Error> {
        self.result = Poll::Ready(self.policy.replay(operation_id, record)?);
        Ok(())
    }
}
