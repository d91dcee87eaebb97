//! The options of an operation, without its types: their checks, the choice of the store, and the
//! replay from this process.

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

/// The shortest `timeout`. Zero, with which no body could run, is a mistake.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// An operation without the types of its result, so that its code is compiled once and not for each
/// function.
pub(crate) struct Options {
    pub(crate) scope: &'static str,
    pub(crate) key: Key,
    pub(crate) key_error: Option<InvalidKeyError>,
    /// The optional key is `None`: the body runs without a record.
    pub(crate) is_unprotected: bool,
    /// Whether the call has yielded before it began: see `give_way`.
    pub(crate) gave_way: bool,
    pub(crate) store: Option<SharedStore>,
    /// Where the operation stands in the code, if its scope is reserved for it.
    pub(crate) unique_at: Option<&'static Location<'static>>,
    /// The body's type name.
    body: Option<fn() -> &'static str>,
    /// Why the scope cannot be reserved: another operation has it.
    pub(crate) scope_conflict: Option<Arc<str>>,
    pub(crate) on_crash: OnCrash,
    /// `None` means the default; see [`ttl`](Self::ttl).
    pub(crate) ttl: Option<Duration>,
    pub(crate) lease: Duration,
    pub(crate) wait: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) fingerprint: Option<Result<Fingerprint, FingerprintError>>,
}

/// The key that is made from an operation's parts, and what is wrong with them.
struct KeyText {
    key: Key,
    key_error: Option<InvalidKeyError>,
    is_unprotected: bool,
}

impl KeyText {
    /// Writes the key. Not inlined, so that users' functions contain one call for a key.
    #[inline(never)]
    fn write(&mut self, scope: &str, parts: Option<&[&dyn Display]>) {
        match parts {
            Some(parts) => self.key_error = self.key.write(scope, parts).err(),
            None => self.is_unprotected = true,
        }
    }
}

impl Options {
    /// The options' defaults, with the key that `parts` make.
    ///
    /// It is inlined, and writes the key before it makes the options. So the compiler builds the
    /// options in their final place. Otherwise it would move all their 330 bytes once more, right
    /// after they were written: 22 ns more for a replay.
    #[inline]
    pub(crate) fn new(scope: &'static str, parts: &(impl KeyParts + ?Sized)) -> Self {
        let mut key_text = KeyText {
            key: Key::empty(),
            key_error: None,
            is_unprotected: false,
        };
        match parts.stored() {
            Some(key) => key_text.key = key.clone(),
            None => parts.show(&mut |parts| key_text.write(scope, parts)),
        }
        Self {
            scope,
            key: key_text.key,
            key_error: key_text.key_error,
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

    /// Reserves the scope for the operation with this type of body, if
    /// [`Operation::unique_scope`](super::Operation::unique_scope) asked for it.
    #[inline]
    pub(crate) fn claim_scope(&mut self, body: scope::BodyType) {
        self.body = Some(body.name);
        if let Some(location) = self.unique_at
            && let Err(reason) = scope::claim(self.scope, location, body)
        {
            self.scope_conflict = Some(reason.into());
        }
    }

    /// Refuses a default scope that is not unique, if the store is shared with other processes: see
    /// [`scope::default_scope_conflict`].
    pub(crate) fn check_scope_in(&self, store: &SharedStore) -> Result<(), Error> {
        if store.local().is_some() || self.unique_at.is_none() {
            return Ok(());
        }
        let shared = self
            .body
            .and_then(|body| scope::default_scope_conflict(self.scope, body()));
        shared.map_or(Ok(()), |reason| Err(self.config(reason)))
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl.unwrap_or(DEFAULT_TTL)
    }

    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        // `check` has refused a fingerprint that is an error.
        self.fingerprint
            .as_ref()
            .and_then(|fingerprint| fingerprint.as_ref().ok().copied())
    }

    /// The operation's name for errors and logs, with a digest of its key.
    pub(crate) fn operation_id(&self) -> OperationId {
        OperationId {
            scope: self.scope,
            digest: (self.key_error.is_none() && !self.is_unprotected).then(|| self.key.digest()),
        }
    }

    /// The store of this call, and the key with the store's namespace.
    pub(crate) fn store_and_key(&self) -> Result<(ChosenStore, Key), Error> {
        self.check()?;
        let store = self.choose_store()?;
        if store.needs_io() {
            self.runtime(true)?;
        }
        let key = store.qualified(&self.key).into_owned();
        Ok((store, key))
    }

    /// The store of the operation, or that of `with_store` around it.
    pub(crate) fn named_store(&self) -> Option<SharedStore> {
        self.store.clone().or_else(Context::store)
    }

    /// The named store, or else the default store.
    pub(crate) fn choose_store(&self) -> Result<ChosenStore, Error> {
        Ok(match self.named_store() {
            Some(store) => ChosenStore::Named(store),
            None => match default_store::get_or_init() {
                Ok(store) => ChosenStore::Default(store),
                Err(reason) => return Err(self.config(reason)),
            },
        })
    }

    pub(crate) fn config(&self, reason: impl Into<Arc<str>>) -> Error {
        Error::config(self.operation_id(), reason)
    }

    /// The part of [`check`](Self::check) that a replay needs.
    #[inline]
    pub(crate) fn may_replay_locally(&self) -> bool {
        self.key_error.is_none()
            && !self.is_unprotected
            && !matches!(self.fingerprint, Some(Err(_)))
            && self.scope_conflict.is_none()
    }

    /// Checks all options. A key that is `None` is an error here.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_unprotected {
            return Err(self.config("its key is `None`, so there is no record"));
        }
        self.check_options()
    }

    /// Checks all options; the key may be `None`.
    pub(crate) fn check_options(&self) -> Result<(), Error> {
        if let Some(reason) = self.key_error {
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

    /// Shows `read` the key's record if this process has it, in a local store or a near cache.
    /// `read` returns whether it could use the record; then this counts and reports a replay.
    ///
    /// It handles only the plain case. In all others it does nothing, and the call goes on to its
    /// claim.
    pub(crate) fn replay_local(&self, read: &mut dyn FnMut(&RecordRef<'_>) -> bool) {
        if !self.may_replay_locally() {
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
                .map_or_else(|| default_store::get_or_init().ok(), Some)
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
            // An observer wants more of the record than is shown here. The claim gets it, at little
            // cost.
            return;
        }
        let key = &*store.qualified(&self.key);
        let mut is_read = false;
        let mut show = |record: &RecordRef<'_>| is_read = read(record);
        let turn = if let Some(local) = local {
            local.peek(key, &mut show);
            Turn::ReplayedByStore
        } else {
            store.peek_near(key, &mut show);
            Turn::ReplayedByNearCache
        };
        if !is_read {
            return;
        }
        store.counters().count(self.scope, turn);
        if is_watched {
            Context::with(|context| {
                context.note_answer(self.scope, Some(key), Observation::near());
            });
        }
        Span::new(self.scope, Some(key)).in_scope(|| events::replayed(self.scope, key));
    }

    /// The claim of the attempt with this `nonce`.
    #[inline]
    pub(crate) fn request(&self, store: &SharedStore, nonce: Nonce) -> ClaimRequest {
        let ttl = cmp::min(self.ttl(), MAX_TTL);
        ClaimRequest {
            nonce,
            lease: self.lease,
            on_crash: self.on_crash,
            fingerprint: self.fingerprint(),
            // In whole milliseconds, as in the record.
            ttl: Duration::new(ttl.as_secs(), ttl.subsec_millis() * 1_000_000),
            owner: store.claims_as(),
            trace: store.current_trace(),
        }
    }

    /// The current Tokio runtime. An error if it has no timers, or no I/O although `needs_io`.
    #[inline]
    pub(crate) fn runtime(&self, needs_io: bool) -> Result<Handle, Error> {
        let tokio = |what| self.config(format!("it must be called in a Tokio runtime{what}"));
        let runtime = Handle::try_current().map_err(|_| tokio(""))?;
        runtime_check::check(&runtime, needs_io).map_err(tokio)?;
        Ok(runtime)
    }
}

/// The store of one call. The default store is not cloned, because all threads would then write to
/// one reference count.
pub(crate) enum ChosenStore {
    /// The store of the operation, or that of `with_store`.
    Named(SharedStore),
    Default(&'static SharedStore),
}

impl Deref for ChosenStore {
    type Target = SharedStore;

    fn deref(&self) -> &SharedStore {
        match self {
            Self::Named(store) => store,
            Self::Default(store) => store,
        }
    }
}

/// The store whose counters count a call that goes to no store: the one `named`, or the default
/// store if there is one already.
pub(crate) fn counting_store(named: Option<&SharedStore>) -> Option<&SharedStore> {
    let default = || default_store::get().map(|store| -> &SharedStore { store });
    named.or_else(default)
}
