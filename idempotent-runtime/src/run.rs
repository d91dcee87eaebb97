//! The whole flow of one call.
//!
//! `call → Key → claim → (Run: body → finish) | Replay(record) | InFlight(wait → claim again) | KeyReused | Indeterminate`

use std::{cell::Cell, cmp, future::Future, sync::Arc};

use tokio::{
    runtime::{Handle, Id},
    time,
};

use crate::{
    Error, Label, OnErr,
    admit::{self, Admission, admit},
    call::{InSpan, Run},
    claim::{Claim, not_recorded},
    codec::Format,
    default_store,
    events::{self, Span},
    execution::{Attempt, Context as Surroundings},
    heartbeat::Driven,
    key::Key,
    operation::Operation,
    record::{MAX_TTL, Nonce, Outcome, Record, RecordRef, State},
    recorded::IntoErr,
    store::{
        ClaimRequest, Settled, SharedStore, count,
        protocol::{lost, released},
    },
    terms::Terms,
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
        Run::new(self, body)
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
    pub async fn run_attached<B>(self, body: B) -> Result<T, E>
    where
        F: IntoErr<E>,
        B: Future<Output = Result<T, E>>,
    {
        if let Some(result) = self.at_hand() {
            return result;
        }
        let result = match self.begin() {
            Ok((attempt, span)) => {
                let flow = Box::pin(execute(attempt, self.terms, Box::pin(body)));
                InSpan { span, flow }.await
            }
            Err(error) => Err(error),
        };
        result.unwrap_or_else(|error| Err(self.into_err.into_err(error)))
    }

    /// The recorded result, where it is in this process and nothing is in its way. Whatever is not plain to see
    /// here, the claim finds out.
    #[inline]
    pub(crate) fn at_hand(&self) -> Option<Result<T, E>> {
        if !self.may_replay() {
            return None;
        }
        let inherited;
        let store = if let Some(store) = &self.store {
            store
        } else {
            inherited = Surroundings::store();
            inherited
                .as_ref()
                .map_or_else(|| default_store::standing().ok(), Some)?
        };
        if !store.can_peek() {
            return None;
        }
        store.qualified(&self.key, |key| {
            let mut result = None;
            let look = &mut |record: RecordRef<'_>| result = self.terms.read(record);
            store.peek(key, look);
            if result.is_some() {
                Span::new(self.scope, Some(key)).in_scope(|| events::replayed(self.scope, key));
            }
            result
        })
    }

    /// Prepares the claim. Everything that may be wrong is found here.
    pub(crate) fn begin(&self) -> Result<(Arc<Attempt>, Span), Error> {
        let (store, key) = self.place().inspect_err(|error| {
            Span::new(self.scope, None).refused(error);
        })?;
        let span = Span::new(self.scope, Some(&key));
        let attempt = prepare(self.scope, &store, key, &self.terms);
        match attempt {
            Ok(attempt) => Ok((attempt, span)),
            Err(error) => {
                span.refused(&error);
                Err(error)
            }
        }
    }
}

fn prepare<T, E>(
    scope: &'static str,
    store: &SharedStore,
    key: Key,
    terms: &Terms<T, E>,
) -> Result<Arc<Attempt>, Error> {
    let config = |reason| Error::config(Label::of(scope, &key), reason);
    let tokio = |what| config(format!("it must be called in a Tokio runtime{what}"));
    let runtime = Handle::try_current().map_err(|_| tokio(""))?;
    check_timers(&runtime)
        .map_err(|()| tokio(" with timers: build it with `enable_time` or `enable_all`"))?;
    let nonce = Nonce::random().map_err(|error| {
        config(format!(
            "the operating system gives no random bytes: {error}"
        ))
    })?;
    let request = ClaimRequest {
        nonce,
        lease: terms.lease,
        on_crash: terms.on_crash,
        fingerprint: terms.fingerprint(),
    };
    let attempt = Attempt::new(
        scope,
        key,
        store.clone(),
        request,
        // `Duration::MAX` says "for ever"; a clock does not reach that far.
        (cmp::min(terms.ttl, MAX_TTL), cmp::min(terms.wait, MAX_TTL)),
        runtime,
    );
    attempt
        .caller
        .check_reentry(scope, &attempt.store, &attempt.key)?;
    Ok(Arc::new(attempt))
}

thread_local! {
    /// The runtime in which this thread last found timers.
    static WITH_TIMERS: Cell<Option<Id>> = const { Cell::new(None) };
}

/// Whether the runtime has timers. Tokio tells only by a panic, so it is not asked again for the same runtime.
fn check_timers(runtime: &Handle) -> Result<(), ()> {
    if WITH_TIMERS.get() != Some(runtime.id()) {
        std::panic::catch_unwind(|| drop(time::sleep(std::time::Duration::ZERO))).map_err(drop)?;
        WITH_TIMERS.set(Some(runtime.id()));
    }
    Ok(())
}

/// Claims, and runs the body or replays.
pub(crate) async fn execute<T, E, B>(
    attempt: Arc<Attempt>,
    terms: Terms<T, E>,
    body: B,
) -> Result<Result<T, E>, Error>
where
    B: Future<Output = Result<T, E>>,
{
    let mut claim = match admit(&attempt).await? {
        Admission::Replay(record) => return replay(&attempt, &terms, &record),
        Admission::Run(claim) => claim,
    };
    let (record, lease_left) = match claim.drive(body).await {
        Driven::Returned(result) => {
            let target = target(&attempt, &terms, &mut claim, &result);
            let recorded = target.state == State::Done;
            match claim.finish(target).await {
                Some(Settled::Stale { record, lease_left }) => (record, lease_left),
                settled => {
                    count::ran(&attempt.store);
                    events::ran(&attempt, recorded && settled.is_some());
                    return Ok(result);
                }
            }
        }
        Driven::Overtaken(record, lease_left) => {
            claim.lose();
            (record, lease_left)
        }
    };
    // Another attempt owns the record: its result is the key's result, never our own.
    let record = admit::adopt(&attempt, record, lease_left).await?;
    replay(&attempt, &terms, &record)
}

fn replay<T, E>(
    attempt: &Attempt,
    terms: &Terms<T, E>,
    record: &Record,
) -> Result<Result<T, E>, Error> {
    let result = terms.replay(|| attempt.label(), record)?;
    events::replayed(attempt.scope, &attempt.key);
    Ok(result)
}

/// The record that says how the body ended.
fn target<T, E>(
    attempt: &Attempt,
    terms: &Terms<T, E>,
    claim: &mut Claim,
    result: &Result<T, E>,
) -> Record {
    match result {
        Ok(value) if (terms.ok.is_transient)(value) => match terms.judge_transient() {
            OnErr::Fail => lost(claim.granted()),
            OnErr::Rerun | OnErr::Record => released(claim.granted()),
        },
        Ok(value) => done(attempt, claim, &terms.ok, value, Outcome::Ok),
        Err(error) => match (terms.judge_err(error), &terms.err) {
            (OnErr::Rerun, _) => released(claim.granted()),
            (OnErr::Fail, _) => lost(claim.granted()),
            (OnErr::Record, Some(format)) => done(attempt, claim, format, error, Outcome::Err),
            (OnErr::Record, None) => {
                let reason = "it is an `Err`, and errors are not recorded here";
                events::not_recordable(attempt, reason);
                not_recorded(claim.granted(), reason)
            }
        },
    }
}

fn done<V>(
    attempt: &Attempt,
    claim: &mut Claim,
    format: &Format<V>,
    value: &V,
    outcome: fn(Arc<[u8]>) -> Outcome,
) -> Record {
    claim.encode();
    let mut bytes = Vec::with_capacity(128);
    let limit = attempt.store.result_limit();
    let reason = match (format.encode)(value, &mut bytes) {
        Ok(()) if bytes.len() <= limit => {
            return Record {
                state: State::Done,
                codec: format.codec,
                outcome: Some(outcome(bytes.into())),
                ..claim.granted().clone()
            };
        }
        Ok(()) => format!("it has {} bytes, the store takes {limit}", bytes.len()),
        Err(error) => format!("it cannot be encoded: {error}"),
    };
    events::not_recordable(attempt, &reason);
    not_recorded(claim.granted(), &reason)
}
