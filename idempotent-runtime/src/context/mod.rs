//! What a running body can ask, and what surrounds it.

pub(crate) mod observe;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use self::observe::{Observer, Refusals};
use crate::{
    Error, OperationId, SharedStore,
    call::unprotected::Unprotected,
    default_store::Chosen,
    events::{self, Subject},
    key::{Key, KeyDigest},
    record::Record,
    store::{ClaimRequest, counters::Turn},
};

pub use observe::{Observation, Observed, observe};

/// One call on its way through the store.
pub(crate) struct Attempt {
    pub(crate) scope: &'static str,
    pub(crate) key: Key,
    pub(crate) store: Chosen,
    pub(crate) request: ClaimRequest,
    pub(crate) wait: Duration,
    /// How long the body may run, where that is limited.
    pub(crate) timeout: Option<Duration>,
    /// The runtime that finishes what the caller leaves behind. Kept, because a drop may happen outside of it.
    pub(crate) runtime: Handle,
    /// The body this call was made from.
    pub(crate) caller: Context,
    pub(crate) progress: Progress,
}

/// What changes while a call is on its way.
#[derive(Default)]
pub(crate) struct Progress {
    /// The grant's fencing token, and its number; zero before.
    token: AtomicU64,
    attempts: AtomicU32,
    /// Whether the caller has gone and the runtime carries on.
    orphaned: AtomicBool,
    /// Whether something would be left in the store if the call just ended here.
    armed: AtomicBool,
    /// What the body was refused by other operations.
    pub(crate) refusals: Refusals,
}

impl Subject for Attempt {
    fn scope(&self) -> &'static str {
        self.scope
    }

    fn key(&self) -> &Key {
        &self.key
    }
}

impl Attempt {
    /// Made where it is needed: the digest costs more than the rest of a call.
    pub(crate) fn operation_id(&self) -> OperationId {
        OperationId::of(self.scope, &self.key)
    }

    pub(crate) fn granted(&self, record: &Record) {
        self.progress.token.store(record.token, Ordering::Relaxed);
        self.progress
            .attempts
            .store(record.attempts, Ordering::Relaxed);
    }

    pub(crate) fn orphan(&self) {
        self.progress.orphaned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        self.progress.orphaned.load(Ordering::Relaxed)
    }

    pub(crate) fn arm(&self, armed: bool) {
        self.progress.armed.store(armed, Ordering::Relaxed);
    }

    pub(crate) fn is_armed(&self) -> bool {
        self.progress.armed.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, turn: Turn) {
        self.store.counters().count(self.scope, turn);
    }

    /// The body, or what is asked about its result, panicked.
    pub(crate) fn panicked(&self) {
        self.count(Turn::Panicked);
        events::panicked(self);
    }

    /// The call was answered with a result of its function.
    pub(crate) fn answered(&self, outcome: Observed, recorded: bool, record: &Record) {
        let observation = Observation::of(outcome, recorded, record);
        self.caller
            .answered(self.scope, Some(&self.key), observation);
    }

    /// The call was refused. Nobody is refused whose caller has gone.
    pub(crate) fn refused(&self, error: &Error) {
        if !self.is_orphaned() {
            self.count(Turn::of(error));
            self.caller.refused(self.scope, Some(&self.key), error);
        }
    }

    pub(crate) fn is_for(&self, store: &SharedStore, key: &Key) -> bool {
        self.store.is(store) && self.key == *key
    }
}

/// A body that is being run.
#[derive(Clone)]
pub(crate) enum Running {
    Protected(Arc<Attempt>),
    /// Its key is `None`.
    Unprotected(Arc<Unprotected>),
}

impl Running {
    fn scope(&self) -> &'static str {
        match self {
            Self::Protected(attempt) => attempt.scope,
            Self::Unprotected(call) => call.scope,
        }
    }

    fn key(&self) -> &Key {
        match self {
            Self::Protected(attempt) => &attempt.key,
            Self::Unprotected(call) => &call.key,
        }
    }

    /// The surroundings it was called in.
    fn caller(&self) -> &Context {
        match self {
            Self::Protected(attempt) => &attempt.caller,
            Self::Unprotected(call) => &call.caller,
        }
    }

    fn refusals(&self) -> &Refusals {
        match self {
            Self::Protected(attempt) => &attempt.progress.refusals,
            Self::Unprotected(call) => &call.refusals,
        }
    }

    /// Whether it holds this key. Without protection a body holds none.
    fn holds(&self, store: &SharedStore, key: &Key) -> bool {
        matches!(self, Self::Protected(attempt) if attempt.is_for(store, key))
    }
}

/// The running execution of an annotated function, seen from inside its body.
#[derive(Clone)]
pub struct Execution {
    running: Running,
}

impl Execution {
    /// Whether this is the run of a key. `false` where the optional key is `None`: then there is no record, the body runs
    /// in each such call, and each is an execution of its own.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        matches!(self.running, Running::Protected(_))
    }

    /// The fencing token of this attempt: larger than that of every earlier attempt with this key, and below 2^53. Pass
    /// it to services that refuse smaller ones than they have seen, and a silent owner that comes back does no harm.
    ///
    /// Without [protection](Self::is_protected) it is the time of the call, in microseconds since 1970 by this machine's
    /// clock: below 2^53 too, but nothing is behind it that no two calls share.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        match &self.running {
            Running::Protected(attempt) => attempt.progress.token.load(Ordering::Relaxed),
            Running::Unprotected(call) => call.token,
        }
    }

    /// Which attempt with this key this is, from 1: more than 1 after an `Err` that may be retried, after a takeover, or
    /// shortly after the `ttl` of an earlier result. Always 1 without [protection](Self::is_protected).
    #[must_use]
    pub fn attempt(&self) -> u32 {
        match &self.running {
            Running::Protected(attempt) => attempt.progress.attempts.load(Ordering::Relaxed),
            Running::Unprotected(_) => 1,
        }
    }

    /// The operation's scope.
    #[must_use]
    pub fn scope(&self) -> &'static str {
        self.running.scope()
    }

    /// A short name of the key for logs, which does not show the key. Without [protection](Self::is_protected) it is a
    /// random one, of this call.
    #[must_use]
    pub fn key_digest(&self) -> KeyDigest {
        self.running.key().digest()
    }

    /// An idempotency key for a service this body calls: 32 hex characters, the same on every attempt with this key,
    /// and different for every `label`, key, scope and namespace. Use one label per effect (`"stripe"`, `"mail"`).
    /// Without [protection](Self::is_protected) it is different in every call: the service takes each for a new one.
    ///
    /// The format is frozen: the first 16 bytes of SHA-256 over `idempotent-fn derived key v1`, the record key's length
    /// (8 bytes, big-endian), the record key and the label.
    #[must_use]
    pub fn derive_key(&self, label: &str) -> String {
        let key = self.running.key().as_str();
        let hash = Sha256::new()
            .chain_update("idempotent-fn derived key v1")
            .chain_update((key.len() as u64).to_be_bytes())
            .chain_update(key)
            .chain_update(label)
            .finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        format!("{:032x}", u128::from_be_bytes(half))
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Execution")
            .field(
                "operation",
                &OperationId::of(self.running.scope(), self.running.key()),
            )
            .field("is_protected", &self.is_protected())
            .field("fencing_token", &self.fencing_token())
            .field("attempt", &self.attempt())
            .finish()
    }
}

/// The execution whose body is being polled.
///
/// It is known in the body's own task: a task that the body spawns does not have it; pass it on.
///
/// ```
/// # use idempotent_fn::{Error, current, idempotent, store::MemoryStore, with_store};
/// #[idempotent(scope = "payments.charge", key = order)]
/// async fn charge(order: u64) -> Result<String, Error> {
///     let bank_key = current().derive_key("bank"); // the same on every attempt at this order
///     Ok(bank_key)
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # assert_eq!(with_store(MemoryStore::new(), charge(42)).await?.len(), 32);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Outside of a body. [`try_current`] does not.
#[must_use]
pub fn current() -> Execution {
    try_current()
        .expect("`idempotent_fn::current()` is called outside of an idempotent function's body")
}

/// The execution whose body is being polled; `None` outside of any.
#[must_use]
pub fn try_current() -> Option<Execution> {
    Context::with(|context| context.execution.clone())
        .flatten()
        .map(|running| Execution { running })
}

/// Runs `future` with `store` as the default store, in this task: for tests and tenants. `install` and the environment
/// do not matter inside.
///
/// ```
/// # use idempotent_fn::{Error, SharedStore, idempotent, store::MemoryStore, with_store};
/// #[idempotent(scope = "payments.charge", key = order)]
/// async fn charge(order: u64) -> Result<u64, Error> {
///     Ok(order)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let store = SharedStore::new(MemoryStore::new());
/// with_store(&store, charge(42)).await?;
/// with_store(&store, charge(42)).await?;
/// assert_eq!(store.counters().ran(), 1);
/// # Ok(())
/// # }
/// ```
///
/// `store` is a [`SharedStore`], a reference to one, or a [`Store`](crate::Store) as it is. Tasks spawned inside do not
/// inherit it.
pub fn with_store<S, F>(store: S, future: F) -> impl Future<Output = F::Output>
where
    S: Into<SharedStore>,
    F: Future,
{
    let store = store.into();
    async move {
        // Asked where it is polled, not where it was made: it may have been spawned.
        let context = Context {
            store: Some(store),
            ..Context::current()
        };
        CONTEXT.scope(context, future).await
    }
}

/// Runs `future` with an observer of the calls that it makes.
pub(crate) async fn observed<F: Future>(observer: Arc<Observer>, future: F) -> F::Output {
    let context = Context {
        observer: Some(observer),
        ..Context::current()
    };
    CONTEXT.scope(context, future).await
}

tokio::task_local! {
    static CONTEXT: Context;
}

/// What a call inherits from the code around it.
#[derive(Clone, Default)]
pub(crate) struct Context {
    execution: Option<Running>,
    store: Option<SharedStore>,
    /// Of the calls made here, and not of those that their bodies make.
    observer: Option<Arc<Observer>>,
}

impl Context {
    pub(crate) fn current() -> Self {
        Self::with(Self::clone).unwrap_or_default()
    }

    pub(crate) fn with<T>(look: impl FnOnce(&Self) -> T) -> Option<T> {
        CONTEXT.try_with(look).ok()
    }

    /// The store that `with_store` set, if any.
    pub(crate) fn store() -> Option<SharedStore> {
        Self::with(|context| context.store.clone()).flatten()
    }

    pub(crate) fn observer(&self) -> Option<&Arc<Observer>> {
        self.observer.as_ref()
    }

    /// Where the refusals of calls made here are noted: with the body that makes them.
    pub(crate) fn refusals(&self) -> Option<&Refusals> {
        self.execution.as_ref().map(Running::refusals)
    }

    /// Refuses a call whose key is held by a body it is made from.
    pub(crate) fn check_reentry(
        &self,
        scope: &'static str,
        store: &SharedStore,
        key: &Key,
    ) -> Result<(), Error> {
        let mut outer = self.execution.as_ref();
        while let Some(running) = outer {
            if running.holds(store, key) {
                let operation = OperationId::of(scope, key);
                return Err(Error::Reentrant { operation });
            }
            outer = running.caller().execution.as_ref();
        }
        Ok(())
    }

    /// Polls `body` as the one that is `running`, with the surroundings its call had: they may be gone by then.
    pub(crate) fn inside<F: Future>(running: Running, body: F) -> impl Future<Output = F::Output> {
        CONTEXT.scope(Self::of(running), body)
    }

    /// Does `work` in the surroundings of the body that is `running`.
    pub(crate) fn sync_inside<R>(running: Running, work: impl FnOnce() -> R) -> R {
        CONTEXT.sync_scope(Self::of(running), work)
    }

    fn of(running: Running) -> Self {
        Self {
            store: running.caller().store.clone(),
            execution: Some(running),
            observer: None,
        }
    }
}
