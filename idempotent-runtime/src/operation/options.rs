//! Which record a call is about, and what it asks of the store: all of an operation but its types.

use std::{cmp, fmt::Display, ops::Deref, panic::Location, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::scope;
use crate::{
    DEFAULT_LEASE, DEFAULT_TTL, DEFAULT_WAIT, Error, InvalidKeyError, Key, OnCrash, OperationId,
    SharedStore,
    context::{
        Context,
        observe::{self, Observation},
    },
    default_store,
    events::{self, Span},
    fingerprint::{Fingerprint, FingerprintError},
    key::KeyParts,
    record::{MAX_LEASE, MAX_TTL, MIN_LEASE, Nonce, RecordRef},
    runtime_check,
    store::{ClaimRequest, counters::Turn},
};

/// A body that may not run at all is a mistake.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// An operation without the types of its result: compiled here, and not once for each of them.
pub(crate) struct Options {
    pub(crate) scope: &'static str,
    pub(crate) key: Key,
    pub(crate) invalid: Option<InvalidKeyError>,
    /// A part of the key is missing, and the body runs as if there were no record of it anywhere.
    pub(crate) is_unprotected: bool,
    /// The call has let others run before it began, as its task's cooperative budget was used up.
    pub(crate) gave_way: bool,
    pub(crate) store: Option<SharedStore>,
    /// Where the operation is written, if it wants its scope for itself.
    pub(crate) unique_at: Option<&'static Location<'static>>,
    /// What the compiler calls the body.
    body: Option<fn() -> &'static str>,
    /// Why it may not have that.
    pub(crate) scope_conflict: Option<Arc<str>>,
    pub(crate) on_crash: OnCrash,
    /// Where none was given, the default counts.
    pub(crate) ttl: Option<Duration>,
    pub(crate) lease: Duration,
    pub(crate) wait: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) fingerprint: Option<Result<Fingerprint, FingerprintError>>,
}

/// The key that an operation's parts make, if they are good.
struct KeyText {
    key: Key,
    invalid: Option<InvalidKeyError>,
    is_unprotected: bool,
}

impl KeyText {
    /// One call for a key, which is compiled here.
    #[inline(never)]
    fn write(&mut self, scope: &str, parts: Option<&[&dyn Display]>) {
        match parts {
            Some(parts) => self.invalid = self.key.write(scope, parts).err(),
            None => self.is_unprotected = true,
        }
    }
}

impl Options {
    /// Inlined, and the key is written before there are options: so no address of them is known to anybody, and they are
    /// put together where it stays in the end, with one move of the key. Otherwise it is moved
    /// twice as a whole, 330 bytes that were just written in smaller pieces: 22 ns more a replay.
    #[inline]
    pub(crate) fn new(scope: &'static str, parts: &(impl KeyParts + ?Sized)) -> Self {
        let mut key_text = KeyText {
            key: Key::empty(),
            invalid: None,
            is_unprotected: false,
        };
        match parts.stored() {
            Some(key) => key_text.key = key.clone(),
            None => parts.show(&mut |parts| key_text.write(scope, parts)),
        }
        Self {
            scope,
            key: key_text.key,
            invalid: key_text.invalid,
            is_unprotected: key_text.is_unprotected,
            gave_way: false,
            store: None,
            unique_at: None,
            body: None,
            scope_conflict: None,
            on_crash: OnCrash::Rerun,
            ttl: None,
            lease: DEFAULT_LEASE,
            wait: DEFAULT_WAIT,
            timeout: None,
            fingerprint: None,
        }
    }

    /// Claims the scope for the operation with this type of body, if it wants its scope for itself.
    #[inline]
    pub(crate) fn claim_scope(&mut self, body: scope::BodyType) {
        self.body = Some(body.name);
        if let Some(location) = self.unique_at
            && let Err(reason) = scope::claim(self.scope, location, body)
        {
            self.scope_conflict = Some(reason.into());
        }
    }

    /// Refuses a default scope that is not safe in a store that other processes use.
    pub(crate) fn check_scope_in(&self, store: &SharedStore) -> Result<(), Error> {
        if store.local().is_some() || self.unique_at.is_none() {
            return Ok(());
        }
        let shared = self
            .body
            .and_then(|body| scope::shared_default(self.scope, body()));
        shared.map_or(Ok(()), |reason| Err(self.config(reason)))
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl.unwrap_or(DEFAULT_TTL)
    }

    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        // An error was refused by `check`, before anything asks.
        self.fingerprint
            .as_ref()
            .and_then(|fingerprint| fingerprint.as_ref().ok().copied())
    }

    /// The operation and its key as far as they may be shown.
    pub(crate) fn operation_id(&self) -> OperationId {
        OperationId {
            scope: self.scope,
            digest: (self.invalid.is_none() && !self.is_unprotected).then(|| self.key.digest()),
        }
    }

    /// The store this call goes to, and the key as it stands there.
    pub(crate) fn store_and_key(&self) -> Result<(Chosen, Key), Error> {
        self.check()?;
        let store = self.choose()?;
        if store.needs_io() {
            self.runtime(true)?;
        }
        let key = store.qualified(&self.key).into_owned();
        Ok((store, key))
    }

    /// The store that was named, by the operation or around it.
    pub(crate) fn named(&self) -> Option<SharedStore> {
        self.store.clone().or_else(Context::store)
    }

    pub(crate) fn choose(&self) -> Result<Chosen, Error> {
        Ok(match self.named() {
            Some(store) => Chosen::Named(store),
            None => match default_store::standing() {
                Ok(store) => Chosen::Standing(store),
                Err(reason) => return Err(self.config(reason)),
            },
        })
    }

    pub(crate) fn config(&self, reason: impl Into<Arc<str>>) -> Error {
        Error::config(self.operation_id(), reason)
    }

    /// As much of [`check`](Self::check) as a replay needs.
    #[inline]
    pub(crate) fn may_replay(&self) -> bool {
        self.invalid.is_none()
            && !self.is_unprotected
            && !matches!(self.fingerprint, Some(Err(_)))
            && self.scope_conflict.is_none()
    }

    /// Whether anything is wrong with what was asked for, a key that is `None` included.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_unprotected {
            return Err(self.config("its key is `None`, so there is no record"));
        }
        self.check_options()
    }

    pub(crate) fn check_options(&self) -> Result<(), Error> {
        if let Some(reason) = self.invalid {
            let operation = self.operation_id();
            return Err(Error::InvalidKey { operation, reason });
        }
        let (ttl, lease) = (self.ttl(), self.lease);
        let config = |reason: String| Err(self.config(reason));
        if let Some(reason) = &self.scope_conflict {
            return Err(self.config(Arc::clone(reason)));
        }
        if lease < MIN_LEASE || lease > MAX_LEASE {
            return config(format!(
                "`lease` is {lease:?}; it must be between {MIN_LEASE:?} and 1 day"
            ));
        }
        if ttl < Duration::from_millis(1) {
            return config(format!(
                "`ttl` is {ttl:?}; a result must be kept for at least 1 ms"
            ));
        }
        if self.timeout.is_some_and(|timeout| timeout < MIN_TIMEOUT) {
            return config(format!(
                "`timeout` is {:?}; a body must be let run for at least {MIN_TIMEOUT:?}",
                self.timeout.unwrap_or_default()
            ));
        }
        if let Some(Err(error)) = &self.fingerprint {
            return config(format!(
                "the fingerprint cannot be computed: {}",
                error.shape()
            ));
        }
        Ok(())
    }

    /// Shows `read` the record, where it is in this process and nothing is in its way; `read` answers whether it was of
    /// use. Whatever is not plain to see here, the claim finds out.
    pub(crate) fn peek(&self, read: &mut dyn FnMut(&RecordRef<'_>) -> bool) {
        if !self.may_replay() {
            return;
        }
        let is_watched = observe::is_watched();
        let inherited;
        let store = if let Some(store) = &self.store {
            store
        } else {
            inherited = Context::store();
            match inherited
                .as_ref()
                .map_or_else(|| default_store::standing().ok(), Some)
            {
                Some(store) => store,
                None => return,
            }
        };
        let local = store.local();
        if is_watched
            && local.is_some()
            && Context::with(|context| context.observer().is_some()) == Some(true)
        {
            // Whoever observes wants to know more of the record than is seen here, and the store is near enough to be asked.
            return;
        }
        let key = &*store.qualified(&self.key);
        let mut is_read = false;
        let mut look = |record: &RecordRef<'_>| is_read = read(record);
        let turn = if let Some(local) = local {
            local.peek(key, &mut look);
            Turn::ReplayedByStore
        } else {
            store.peek_near(key, &mut look);
            Turn::ReplayedByNearCache
        };
        if !is_read {
            return;
        }
        store.counters().count(self.scope, turn);
        if is_watched {
            Context::with(|context| {
                context.answered(self.scope, Some(key), Observation::near());
            });
        }
        Span::new(self.scope, Some(key)).in_scope(|| events::replayed(self.scope, key));
    }

    /// The claim that an attempt called `nonce` makes in this store.
    #[inline]
    pub(crate) fn request(&self, store: &SharedStore, nonce: Nonce) -> ClaimRequest {
        let ttl = cmp::min(self.ttl(), MAX_TTL);
        ClaimRequest {
            nonce,
            lease: self.lease,
            on_crash: self.on_crash,
            fingerprint: self.fingerprint(),
            // Whole milliseconds, as the record keeps it.
            ttl: Duration::new(ttl.as_secs(), ttl.subsec_millis() * 1_000_000),
            owner: store.claims_as(),
            trace: store.current_trace(),
        }
    }

    /// The current runtime, if it has timers, and I/O where that is needed.
    #[inline]
    pub(crate) fn runtime(&self, needs_io: bool) -> Result<Handle, Error> {
        let tokio = |what| self.config(format!("it must be called in a Tokio runtime{what}"));
        let runtime = Handle::try_current().map_err(|_| tokio(""))?;
        runtime_check::check(&runtime, needs_io).map_err(tokio)?;
        Ok(runtime)
    }
}

/// A store that was chosen for one call. The process' default store is not cloned: that would be a count that all threads
/// share.
pub(crate) enum Chosen {
    /// By the call, or around it by `with_store`.
    Named(SharedStore),
    Standing(&'static SharedStore),
}

impl Deref for Chosen {
    type Target = SharedStore;

    fn deref(&self) -> &SharedStore {
        match self {
            Self::Named(store) => store,
            Self::Standing(store) => store,
        }
    }
}

/// The store that counts a call with no store of its own: the one `named`, or the default store if it is in use.
pub(crate) fn counting_store(named: Option<&SharedStore>) -> Option<&SharedStore> {
    let default = || default_store::in_use().map(|store| -> &SharedStore { store });
    named.or_else(default)
}
