//! A body and its result without their types: the flow is compiled once, not once for each annotated function.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    CodecError, Error, Label, OnCrash, OnErr,
    record::{Outcome, Record},
    terms::Terms,
};

/// What the flow asks of a body and of the result that it leaves.
pub(crate) trait Work {
    /// Polls the body. Once it has returned, its result is kept here, and the body is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Drops the body, wherever it is.
    fn stop(&mut self);

    /// What the result means for the record.
    fn verdict(&self, on_crash: OnCrash) -> OnErr;

    /// Appends the result's bytes; answers which codec's they are, and what they are the bytes of.
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(u32, Wrap), CodecError>;

    /// Takes the recorded result in place of the body's.
    fn replay(&mut self, record: &Record, label: &dyn Fn() -> Label) -> Result<(), Error>;
}

/// The work's result as it is to be recorded, with its codec, or why it cannot be.
pub(crate) fn encoded<W: Work + ?Sized>(work: &W, limit: usize) -> Result<(u32, Outcome), String> {
    with_buffer(|bytes| match work.encode(bytes) {
        Ok((codec, wrap)) if bytes.len() <= limit => Ok((codec, wrap(bytes.as_slice().into()))),
        Ok(_) => Err(format!(
            "it has {} bytes, the store takes {limit}",
            bytes.len()
        )),
        Err(error) => Err(format!("it cannot be encoded: {error}")),
    })
}

/// A buffer that has grown larger is given back.
const LARGEST_KEPT: usize = 4 * 1024;

thread_local! {
    /// Results are encoded here first: how long one gets is known afterwards.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn with_buffer<R>(encode: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    // Taken out: encoding may call anything, also this.
    let mut bytes = BUFFER.try_with(Cell::take).unwrap_or_default();
    let result = encode(&mut bytes);
    if bytes.capacity() <= LARGEST_KEPT {
        bytes.clear();
        let _ = BUFFER.try_with(|buffer| buffer.set(bytes));
    }
    result
}

/// Makes an outcome of its bytes.
pub(crate) type Wrap = fn(Arc<[u8]>) -> Outcome;

/// A body that may outlive its caller.
pub(crate) type Detached<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// The work of a function that returns `Result<T, E>`.
pub(crate) struct Typed<T, E, B> {
    terms: Terms<T, E>,
    body: Option<B>,
    result: Option<Result<T, E>>,
}

impl<T, E, B> Typed<T, E, B> {
    pub(crate) fn new(terms: Terms<T, E>, body: B) -> Self {
        Self {
            terms,
            body: Some(body),
            result: None,
        }
    }

    /// The body's result or the recorded one: what a flow that went well has left.
    pub(crate) fn into_result(self) -> Result<T, E> {
        self.result.expect("the flow ends well with a result only")
    }
}

impl<T, E, B> Work for Typed<T, E, B>
where
    B: Future<Output = Result<T, E>> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(body) = &mut self.body {
            let Poll::Ready(result) = Pin::new(body).poll(cx) else {
                return Poll::Pending;
            };
            self.result = Some(result);
            self.body = None;
        }
        Poll::Ready(())
    }

    fn stop(&mut self) {
        self.body = None;
    }

    fn verdict(&self, on_crash: OnCrash) -> OnErr {
        match &self.result {
            Some(Ok(value)) if (self.terms.ok.is_transient)(value) => {
                self.terms.judge_transient(on_crash)
            }
            Some(Ok(_)) => OnErr::Record,
            Some(Err(error)) => self.terms.judge_err(on_crash, error),
            // Nothing was returned, and nobody knows what happened.
            None => OnErr::Fail,
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(u32, Wrap), CodecError> {
        match (&self.result, &self.terms.err) {
            (Some(Ok(value)), _) => {
                (self.terms.ok.encode)(value, bytes)?;
                Ok((self.terms.ok.codec, Outcome::Ok))
            }
            (Some(Err(error)), Some(format)) => {
                (format.encode)(error, bytes)?;
                Ok((format.codec, Outcome::Err))
            }
            (Some(Err(_)), None) => Err(CodecError::new(
                "it is an `Err`, and this function records none",
            )),
            (None, _) => Err(CodecError::new("there is no result")),
        }
    }

    fn replay(&mut self, record: &Record, label: &dyn Fn() -> Label) -> Result<(), Error> {
        self.result = Some(self.terms.replay(label, record)?);
        Ok(())
    }
}
