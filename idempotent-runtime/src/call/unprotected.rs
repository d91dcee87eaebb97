//! A call whose optional key is `None`. The body runs without a record; all else is as in a call
//! with a key.
//!
//! It has an [`Execution`](crate::Execution) of its own. Otherwise its body would see the execution
//! that it was called from, and derive that one's keys: two calls would give a bank one key for two
//! payments.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{self, Poll},
    time::{Duration, SystemTime},
};

use tokio::time;

use super::{
    Flow,
    body::{BodySlot, ErasedBody, OwnedBody},
    heartbeat::{StopOnDrop, poll_timeout, report_panics},
};
use crate::{
    Error, Key, OnCrash, OperationId, SharedStore,
    context::{
        Context, Home, RunningBody,
        observe::{Observation, Refusals},
    },
    events::{self, Subject},
    operation::options::counting_store,
    store::counters::Turn,
};

/// One call without a key.
pub(crate) struct Unprotected {
    pub(crate) scope: &'static str,
    /// A random key: no two calls derive the same keys from it.
    pub(crate) key: Key,
    /// The time of the call, in µs since 1970, in place of a store's fencing token.
    pub(crate) token: u64,
    /// The limit of the body's running time, if there is one.
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_crash: OnCrash,
    /// The store whose counters count this call. No command is sent to it.
    pub(crate) store: Option<SharedStore>,
    /// The context that the call was made in.
    pub(crate) caller: Context,
    /// The calls made by the body that were refused for now. They are not noted with the body
    /// around this one.
    pub(crate) refusals: Refusals,
}

impl Unprotected {
    fn count(&self, turn: Turn) {
        if let Some(store) = counting_store(self.store.as_ref()) {
            store.counters().count(self.scope, turn);
        }
    }

    /// Polls the body until it returns or its timeout is over.
    async fn drive<W: ErasedBody + ?Sized>(self: &Arc<Self>, body: &mut W) -> Result<(), Error> {
        let timed_out = {
            let mut body = pin!(Context::scope(self.clone(), StopOnDrop(body)));
            let mut timeout = self.timeout.map(|after| Box::pin(time::sleep(after)));
            let mut poll = |cx: &mut task::Context<'_>| {
                report_panics(|| body.as_mut().poll(cx), || self.emit_panic())
            };
            poll_fn(|cx| match poll(cx) {
                Poll::Ready(()) => Poll::Ready(false),
                Poll::Pending => poll_timeout(&mut timeout, cx).map(|()| true),
            })
            .await
        };
        if timed_out {
            let error = self.timed_out();
            self.count(Turn::of(&error));
            self.caller.note_refusal(self.scope, None, &error);
            return Err(error);
        }
        self.count(Turn::Unprotected);
        self.caller
            .note_answer(self.scope, None, Observation::unprotected());
        if body.is_err() && self.refusals.first().is_some() {
            self.caller.note_failed_by_refusal(self.scope, None);
        }
        events::ran_unprotected(self.scope);
        Ok(())
    }

    fn emit_panic(&self) {
        self.count(Turn::Panicked);
        events::panicked_unprotected(self.scope);
    }

    fn timed_out(&self) -> Error {
        Error::TimedOut {
            operation: OperationId {
                scope: self.scope,
                digest: None,
            },
            after: self.timeout.unwrap_or_default(),
            on_crash: self.on_crash,
        }
    }
}

impl Subject for Unprotected {
    fn scope(&self) -> &'static str {
        self.scope
    }

    fn key(&self) -> &Key {
        &self.key
    }
}

impl RunningBody for Unprotected {
    fn caller(&self) -> &Context {
        &self.caller
    }

    fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Without protection a body holds no key.
    fn holds(&self, _: Home<'_>, _: &Key) -> bool {
        false
    }

    fn fencing_token(&self) -> u64 {
        self.token
    }

    fn attempt(&self) -> u32 {
        1
    }

    fn is_protected(&self) -> bool {
        false
    }
}

/// The time in µs since 1970, by this machine's clock.
pub(crate) fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

/// A call without a key. When it is dropped, the body stops, and nothing is left behind.
#[inline(never)]
pub(crate) fn unprotected(call: Arc<Unprotected>, mut body: Box<dyn OwnedBody>) -> Flow {
    Box::pin(async move {
        call.drive(&mut *body).await?;
        Ok(body)
    })
}

/// As [`unprotected`], for a body that may borrow and need not be `Send`.
pub(crate) async fn unprotected_attached<T, E, B>(
    call: Arc<Unprotected>,
    mut body: BodySlot<T, E, Pin<Box<B>>>,
) -> Result<Result<T, E>, Error>
where
    B: Future<Output = Result<T, E>>,
{
    call.drive(&mut body).await?;
    Ok(body.into_result())
}
