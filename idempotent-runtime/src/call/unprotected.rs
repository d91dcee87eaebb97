//! A call whose optional key is `None`: there is no record, but all else that surrounds a body.
//!
//! It has an execution of its own. Without one, its body would see the body that it was called from, and derive that one's
//! keys: two calls would give a bank one key for two payments.

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
    heartbeat::{Body, poll_end, telling_of_panics},
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
    /// Random: no two calls derive the same keys for others.
    pub(crate) key: Key,
    /// Now, in µs since 1970, as a store would have given it.
    pub(crate) token: u64,
    /// How long the body may run, where that is limited.
    pub(crate) timeout: Option<Duration>,
    pub(crate) on_crash: OnCrash,
    /// Who counts; nothing is asked of it.
    pub(crate) store: Option<SharedStore>,
    /// The body this call was made from.
    pub(crate) caller: Context,
    /// What the body was refused by other operations: noted here, and not with the body around it.
    pub(crate) refusals: Refusals,
}

impl Unprotected {
    fn count(&self, turn: Turn) {
        if let Some(store) = counting_store(self.store.as_ref()) {
            store.counters().count(self.scope, turn);
        }
    }

    /// Polls the body to its end, or to that of its time.
    async fn drive<W: ErasedBody + ?Sized>(self: &Arc<Self>, body: &mut W) -> Result<(), Error> {
        let timed_out = {
            let mut body = pin!(Context::inside(self.clone(), Body(body)));
            let mut end = self.timeout.map(|timeout| Box::pin(time::sleep(timeout)));
            let mut poll = |cx: &mut task::Context<'_>| {
                telling_of_panics(|| body.as_mut().poll(cx), || self.panicked())
            };
            poll_fn(|cx| match poll(cx) {
                Poll::Ready(()) => Poll::Ready(false),
                Poll::Pending => poll_end(&mut end, cx).map(|()| true),
            })
            .await
        };
        if timed_out {
            let error = self.timed_out();
            self.count(Turn::of(&error));
            self.caller.refused(self.scope, None, &error);
            return Err(error);
        }
        self.count(Turn::Unprotected);
        self.caller
            .answered(self.scope, None, Observation::unprotected());
        if body.is_err() && self.refusals.first().is_some() {
            self.caller.refused_within(self.scope, None);
        }
        events::ran_unprotected(self.scope);
        Ok(())
    }

    fn panicked(&self) {
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

/// In µs since 1970, by this machine's clock.
pub(crate) fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_1970.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}

/// The whole of a call without a key. Nothing is left behind when it is dropped: the body stops with its caller.
#[inline(never)]
pub(crate) fn unprotected(call: Arc<Unprotected>, mut body: Box<dyn OwnedBody>) -> Flow {
    Box::pin(async move {
        call.drive(&mut *body).await?;
        Ok(body)
    })
}

/// The same for a body that may borrow, and need not be `Send`.
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
