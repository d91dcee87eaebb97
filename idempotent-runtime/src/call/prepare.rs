//! Prepares a call: finds everything that may be wrong with its options, and where it goes.

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
    operation::options::{Chosen, Options, counting_store},
    record::{MAX_TTL, Nonce},
    store::counters::Turn,
};

/// Prepares the claim. Everything that may be wrong is found here, also with the `policy`.
pub(crate) fn prepare(
    options: &Options,
    policy: Result<(), &'static str>,
) -> Result<(Arc<Attempt>, Span), Error> {
    let store = match agreed(options, policy) {
        Ok(store) => store,
        Err(error) => {
            Span::new(options.scope, None).refused(&error);
            let store = options.named();
            let store = counting_store(store.as_ref());
            refused(options, store, None, &error);
            return Err(error);
        }
    };
    let key = store.qualified(&options.key).into_owned();
    let span = Span::new(options.scope, Some(&key));
    let refuse = |error, span: &Span| {
        span.refused(&error);
        refused(options, Some(&store), Some(&key), &error);
        error
    };
    let (runtime, nonce) = match surroundings(options, &store) {
        Ok(surroundings) => surroundings,
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
        wait: within(options.wait),
        timeout: options.timeout.map(within),
        runtime,
        caller,
        progress: Progress::default(),
    });
    Ok((attempt, span))
}

/// Prepares a call without a key. It is refused for the same mistakes as one with a key, so that they are found whatever
/// comes first; only that there is a store is not asked.
pub(crate) fn unprotected(
    options: &Options,
    policy: Result<(), &'static str>,
) -> Result<(Arc<Unprotected>, Span), Error> {
    let span = Span::new(options.scope, None);
    let store = options.named();
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
                timeout: options.timeout.map(within),
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
            refused(options, store, None, &error);
            Err(error)
        }
    }
}

/// Without a record, timers are all that a runtime is needed for.
fn check_timers(options: &Options) -> Result<(), Error> {
    match options.timeout {
        Some(_) => options.runtime(false).map(drop),
        None => Ok(()),
    }
}

/// A key that no other call has, nor a copy of this process: what is derived from it may reach another service.
fn random_key(options: &Options) -> Result<Key, Error> {
    let nonce = Nonce::random().map_err(|error| options.config(error.to_string()))?;
    let number = format!("{:032x}", u128::from_be_bytes(*nonce.as_bytes()));
    Key::new(options.scope, &[&"unprotected", &number]).map_err(|reason| Error::InvalidKey {
        operation: options.operation_id(),
        reason,
    })
}

/// Lets those who count and observe know of a call that was refused before it began.
#[cold]
fn refused(options: &Options, store: Option<&SharedStore>, key: Option<&Key>, error: &Error) {
    if let Some(store) = store {
        store.counters().count(options.scope, Turn::of(error));
    }
    Context::with(|context| context.refused(options.scope, key, error));
}

/// The store, where nothing is wrong with what was asked for.
fn agreed(options: &Options, policy: Result<(), &'static str>) -> Result<Chosen, Error> {
    options.check()?;
    let store = options.choose()?;
    options.check_scope_in(&store)?;
    policy.map_err(|reason| options.config(reason))?;
    Ok(store)
}

/// The runtime that will finish what the caller leaves behind, and the attempt's name.
#[inline]
fn surroundings(options: &Options, store: &SharedStore) -> Result<(Handle, Nonce), Error> {
    let runtime = options.runtime(store.needs_io())?;
    let nonce = match store.local() {
        Some(_) => Nonce::within_process(),
        None => Nonce::random(),
    };
    let nonce = nonce.map_err(|error| options.config(error.to_string()))?;
    Ok((runtime, nonce))
}

/// `Duration::MAX` says "for ever"; a clock does not reach that far.
fn within(duration: Duration) -> Duration {
    cmp::min(duration, MAX_TTL)
}
