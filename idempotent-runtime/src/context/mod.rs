//! What a call inherits from the code around it, and what a running body can ask.
//!
//! A [`Context`] is a task-local value: the store of `with_store`, the body that is being polled,
//! and an observer. A call reads it when it begins. It polls its own body in a context of its own
//! ([`Context::scope`]), where [`current`] finds the body's execution.

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

/// A running body, as the calls made from it see it.
pub(crate) trait RunningBody: Subject + Send + Sync {
    /// The context that its call was made in.
    fn caller(&self) -> &Context;

    /// The calls made by it that were refused for now.
    fn refusals(&self) -> &Refusals;

    /// Whether it is the run of this key there.
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
/// Only the body's own task has it. A task that the body spawns does not: pass it on.
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
/// Outside of a body. [`try_current`] does not panic.
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

/// Runs `future` with `store` as the default store, in this task: for tests and tenants. Inside,
/// neither `install` nor the environment variable matters.
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
/// `store` is a [`SharedStore`], a reference to one, or a [`Store`](crate::Store) as it is. Tasks
/// spawned inside do not inherit it.
pub fn with_store<S, F>(store: S, future: F) -> impl Future<Output = F::Output>
where
    S: Into<SharedStore>,
    F: Future,
{
    let store = store.into();
    async move {
        // The context where the future is polled, not where it was made: it may have been spawned.
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
    /// It sees the calls made here, and not those that their bodies make.
    observer: Option<Arc<Observer>>,
}

impl Context {
    /// The context of the code that is polled now; an empty one outside of any.
    pub(crate) fn current() -> Self {
        Self::with(Self::clone).unwrap_or_default()
    }

    /// Shows `look` the current context, without a clone. `None` outside of any.
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

    /// The refusals of the body that makes calls here.
    pub(crate) fn refusals(&self) -> Option<&Refusals> {
        self.execution.as_deref().map(RunningBody::refusals)
    }

    /// Refuses a call if one of the bodies it is made from is the run of the same key.
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

    /// Polls `body` in a context of its own, as the one that is `running`. It has the store of its
    /// call's context, which may be gone by then.
    pub(crate) fn scope<F: Future>(
        running: Arc<dyn RunningBody>,
        body: F,
    ) -> impl Future<Output = F::Output> {
        CONTEXT.scope(Self::of(running), body)
    }

    /// As [`scope`](Self::scope), for `work` that does not wait.
    pub(crate) fn sync_scope<R>(running: Arc<dyn RunningBody>, work: impl FnOnce() -> R) -> R {
        CONTEXT.sync_scope(Self::of(running), work)
    }

    fn of(running: Arc<dyn RunningBody>) -> Self {
        Self {
            store: running.caller().store.clone(),
            execution: Some(running),
            observer: None,
        }
    }

    /// A call made here, with this key or without one, has returned a result of its function. An
    /// earlier refusal of it is removed.
    pub(crate) fn note_answer(
        &self,
        scope: &'static str,
        key: Option<&Key>,
        observation: Observation,
    ) {
        if let Some(refusals) = self.refusals() {
            refusals.remove(scope, key);
        }
        if let Some(observer) = self.observer() {
            observer.record(observation);
        }
    }

    /// A call made here returned `Err` after one of its body's own calls was refused for now. So
    /// what the body here makes of that `Err` is not final either.
    pub(crate) fn note_failed_by_refusal(&self, scope: &'static str, key: Option<&Key>) {
        if let Some(refusals) = self.refusals() {
            refusals.add(scope, key);
        }
    }

    /// An inspection or a decision by hand, made here, has ended: with this error if it was
    /// refused.
    pub(crate) fn note_by_hand(&self, scope: &'static str, key: &Key, refused: Option<&Error>) {
        if let Some(refusals) = self.refusals() {
            refusals.note_by_hand(scope, key, refused.is_some_and(Error::may_pass));
        }
    }

    /// A call made here was refused. A refusal for now is noted with the body here, whose `Err` is
    /// then not final. A refusal for good counts as an answer: if it did not, a body that fails
    /// because of it would run again with every call.
    pub(crate) fn note_refusal(&self, scope: &'static str, key: Option<&Key>, error: &Error) {
        if let Some(refusals) = self.refusals() {
            if error.may_pass() {
                refusals.add(scope, key);
            } else {
                refusals.remove(scope, key);
            }
        }
        if let Some(observer) = self.observer() {
            observer.record(Observation::refused());
        }
    }
}
