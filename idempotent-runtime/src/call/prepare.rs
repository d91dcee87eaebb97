//! Prepares a call: checks its options, chooses its store, and makes the attempt.

use std::{cmp, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{
    attempt::{Attempt, Progress},
    unprotected::{self, Unprotected},
};
use crate::{
    Error, Key, SharedStore,
    context::{Context, Home, observe::Refusals},
    events::Span,
    operation::options::{ChosenStore, Options, counting_store},
    record::{MAX_TTL, Nonce},
    store::counters::Turn,
};

/// Checks everything that was asked for, the result policy included (`policy`), and makes the
/// attempt and its span.
pub(crate) fn prepare(
    options: &Options,
    policy: Result<(), &'static str>,
) -> Result<(Arc<Attempt>, Span), Error> {
    let store = match checked_store(options, policy) {
        Ok(store) => store,
        Err(error) => {
            Span::new(options.scope, None).refused(&error);
            let store = options.named_store();
            let store = counting_store(store.as_ref());
            emit_refusal(options, store, None, &error);
            return Err(error);
        }
    };
    let key = store.qualified(&options.key).into_owned();
    let span = Span::new(options.scope, Some(&key));
    let refuse = |error, span: &Span| {
        span.refused(&error);
        emit_refusal(options, Some(&store), Some(&key), &error);
        error
    };
    let (runtime, nonce) = match runtime_and_nonce(options, &store) {
        Ok(both) => both,
        Err(error) => return Err(refuse(error, &span)),
    };
    let caller = Context::current();
    if let Err(error) = caller.check_reentry(options.scope, Home::Store(&store), &key) {
        return Err(refuse(error, &span));
    }
    let request = options.request(&store, nonce);
    let attempt = Arc::new(Attempt {
        scope: options.scope,
        key,
        store,
        request,
        wait: capped(options.wait),
        timeout: options.timeout.map(capped),
        runtime,
        caller,
        progress: Progress::default(),
    });
    Ok((attempt, span))
}

/// Prepares a call without a key. It is refused for the same mistakes as one with a key, so that a
/// test finds them with either. It needs no store.
pub(crate) fn unprotected(
    options: &Options,
    policy: Result<(), &'static str>,
) -> Result<(Arc<Unprotected>, Span), Error> {
    let span = Span::new(options.scope, None);
    let store = options.named_store();
    let key = options
        .check_options()
        .and_then(|()| policy.map_err(|reason| options.config(reason)))
        .and_then(|()| check_timers(options))
        .and_then(|()| random_key(options));
    match key {
        Ok(key) => {
            let call = Unprotected {
                scope: options.scope,
                key,
                token: unprotected::now(),
                timeout: options.timeout.map(capped),
                on_crash: options.on_crash,
                store,
                caller: Context::current(),
                refusals: Refusals::default(),
            };
            Ok((Arc::new(call), span))
        }
        Err(error) => {
            span.refused(&error);
            let store = counting_store(store.as_ref());
            emit_refusal(options, store, None, &error);
            Err(error)
        }
    }
}

/// Checks that the runtime has timers, if the call has a timeout. Without a record, nothing else
/// needs a runtime.
fn check_timers(options: &Options) -> Result<(), Error> {
    match options.timeout {
        Some(_) => options.runtime(false).map(drop),
        None => Ok(()),
    }
}

/// A key that no other call has. Keys derived from it reach other services, so not even a copy of
/// this process (a fork, a machine's snapshot) may draw the same one.
fn random_key(options: &Options) -> Result<Key, Error> {
    let nonce = Nonce::random().map_err(|error| options.config(error.to_string()))?;
    let number = format!("{:032x}", u128::from_be_bytes(*nonce.as_bytes()));
    Key::new(options.scope, &[&"unprotected", &number]).map_err(|reason| Error::InvalidKey {
        operation: options.operation_id(),
        reason,
    })
}

/// Counts and reports a call that was refused before it began.
#[cold]
fn emit_refusal(options: &Options, store: Option<&SharedStore>, key: Option<&Key>, error: &Error) {
    if let Some(store) = store {
        store.counters().count(options.scope, Turn::of(error));
    }
    Context::with(|context| context.note_refusal(options.scope, key, error));
}

/// Checks the options and the result policy, and chooses the store.
fn checked_store(
    options: &Options,
    policy: Result<(), &'static str>,
) -> Result<ChosenStore, Error> {
    options.check()?;
    let store = options.choose_store()?;
    options.check_scope_in(&store)?;
    policy.map_err(|reason| options.config(reason))?;
    Ok(store)
}

/// The runtime that will finish what the caller leaves behind, and the attempt's nonce.
#[inline]
fn runtime_and_nonce(options: &Options, store: &SharedStore) -> Result<(Handle, Nonce), Error> {
    let runtime = options.runtime(store.needs_io())?;
    let nonce = match store.local() {
        Some(_) => Nonce::within_process(),
        None => Nonce::random(),
    };
    let nonce = nonce.map_err(|error| options.config(error.to_string()))?;
    Ok((runtime, nonce))
}

/// At most [`MAX_TTL`]. `Duration::MAX` means "for ever", and would overflow a clock.
fn capped(duration: Duration) -> Duration {
    cmp::min(duration, MAX_TTL)
}
