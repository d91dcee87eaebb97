//! What a running body can ask, and what surrounds it.

mod execution;
pub(crate) mod observe;

use std::{future::Future, sync::Arc};

use self::observe::{Observer, Refusals};
use crate::{Error, OperationId, SharedStore, events::Subject, key::Key};

pub use execution::Execution;
pub use observe::{Observation, Observed, observe};

/// Where a key's record is.
#[derive(Clone, Copy)]
pub(crate) enum Home<'a> {
    Store(&'a SharedStore),
    /// In the table that the caller's own transaction writes to.
    Transaction,
}

/// A body that is being run, as the calls made from it see it.
pub(crate) trait RunningBody: Subject + Send + Sync {
    /// The surroundings it was called in.
    fn caller(&self) -> &Context;

    /// What it was refused by other operations.
    fn refusals(&self) -> &Refusals;

    /// Whether it holds this key there.
    fn holds(&self, home: Home<'_>, key: &Key) -> bool;

    /// See [`Execution::fencing_token`].
    fn fencing_token(&self) -> u64;

    /// See [`Execution::attempt`].
    fn attempt(&self) -> u32;

    /// See [`Execution::is_protected`].
    fn is_protected(&self) -> bool;
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
///
/// ```
/// use idempotent_fn::try_current;
///
/// /// For code that is called from inside of bodies, and from outside.
/// fn log_line(text: &str) -> String {
///     match try_current() {
///         Some(execution) => format!("[{}] {text}", execution.key_digest()),
///         None => text.to_owned(),
///     }
/// }
/// assert_eq!(log_line("charging"), "charging");
/// ```
#[must_use]
pub fn try_current() -> Option<Execution> {
    Context::with(|context| context.execution.clone())
        .flatten()
        .map(Execution::of)
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
    execution: Option<Arc<dyn RunningBody>>,
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
        self.execution.as_deref().map(RunningBody::refusals)
    }

    /// Refuses a call whose key is held by a body it is made from.
    pub(crate) fn check_reentry(
        &self,
        scope: &'static str,
        home: Home<'_>,
        key: &Key,
    ) -> Result<(), Error> {
        let mut outer = self.execution.as_deref();
        while let Some(running) = outer {
            if running.holds(home, key) {
                let operation = OperationId::of(scope, key);
                return Err(Error::Reentrant { operation });
            }
            outer = running.caller().execution.as_deref();
        }
        Ok(())
    }

    /// Polls `body` as the one that is `running`, with the surroundings its call had: they may be gone by then.
    pub(crate) fn inside<F: Future>(
        running: Arc<dyn RunningBody>,
        body: F,
    ) -> impl Future<Output = F::Output> {
        CONTEXT.scope(Self::of(running), body)
    }

    /// Does `work` in the surroundings of the body that is `running`.
    pub(crate) fn sync_inside<R>(running: Arc<dyn RunningBody>, work: impl FnOnce() -> R) -> R {
        CONTEXT.sync_scope(Self::of(running), work)
    }

    fn of(running: Arc<dyn RunningBody>) -> Self {
        Self {
            store: running.caller().store.clone(),
            execution: Some(running),
            observer: None,
        }
    }

    /// The call with this key, or without one, made here, was answered with a result of its function.
    pub(crate) fn answered(
        &self,
        scope: &'static str,
        key: Option<&Key>,
        observation: Observation,
    ) {
        if let Some(refusals) = self.refusals() {
            refusals.remove(scope, key);
        }
        if let Some(observer) = self.observer() {
            observer.saw(observation);
        }
    }

    /// A call that was made here ran, and its `Err` comes of a call within it that was refused for now: what is made of it
    /// here is not final either.
    pub(crate) fn refused_within(&self, scope: &'static str, key: Option<&Key>) {
        if let Some(refusals) = self.refusals() {
            refusals.add(scope, key);
        }
    }

    /// A call that was made here was refused. A refusal that stays is an answer: what the body makes of it is as final as
    /// what it makes of a result. Were it not, a body that fails for good would run again with every call.
    pub(crate) fn refused(&self, scope: &'static str, key: Option<&Key>, error: &Error) {
        if let Some(refusals) = self.refusals() {
            if error.may_pass() {
                refusals.add(scope, key);
            } else {
                refusals.remove(scope, key);
            }
        }
        if let Some(observer) = self.observer() {
            observer.saw(Observation::refused());
        }
    }
}
