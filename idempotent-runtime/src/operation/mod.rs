//! The builder of one operation with one key: what the attribute's expansion calls, and what may be
//! called by hand.

mod admin;
#[cfg(feature = "axum")]
mod axum;
pub(crate) mod options;
pub(crate) mod result;
pub(crate) mod result_policy;
pub(crate) mod scope;

use std::{fmt, panic::Location, time::Duration};

use self::{options::Options, result::format_of, result_policy::ResultPolicy};
use crate::{
    Codec, Error, Key, OnCrash, OnErr, SharedStore,
    codec::Format,
    fingerprint::{Fingerprint, Fingerprinted},
    key::{KeyParts, Stored},
};

pub use crate::policy::{DEFAULT_LEASE, DEFAULT_TTL, DEFAULT_WAIT};
pub use crate::store::inspection::Inspection;
pub use admin::Resolution;
#[cfg(feature = "axum")]
pub use axum::Axum;
pub use result::{
    ByFn, ByFrom, Decision, Fallible, IntoErr, Outcome, Recorded, RecordedErr, SendErr,
};

/// One operation with one key, to be [`run`](Operation::run) once.
///
/// `#[idempotent]` makes one. By hand:
///
/// ```
/// # use idempotent_fn::{operation, Error, SharedStore, store::MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let store = SharedStore::new(MemoryStore::new());
/// for _ in 0..2 {
///     let charge = operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]).store(&store);
///     let receipt = charge.run(async move { Ok(4711) }).await?; // runs the first time only
///     assert_eq!(receipt, 4711);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Its options are the attribute's:
///
/// ```
/// # use std::time::Duration;
/// # use idempotent_fn::{Error, OnCrash, OnErr, SharedStore, operation, store::MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let store = SharedStore::new(MemoryStore::new());
/// let charge = operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"])
///     .ttl(Duration::from_secs(60 * 60))
///     .lease(Duration::from_secs(10))
///     .wait(Duration::ZERO)
///     .on_crash(OnCrash::Fail)
///     .on_err(OnErr::Rerun)
///     .store(&store);
/// # charge.run(async { Ok(4711) }).await?;
/// # Ok(())
/// # }
/// ```
///
/// Calls written by hand may share a scope, and then share records: give them the same result type
/// and codec.
#[must_use = "an operation does nothing until it is run"]
pub struct Operation<T, E, F = ByFrom> {
    pub(crate) options: Options,
    pub(crate) policy: ResultPolicy<T, E>,
    pub(crate) into_err: F,
}

/// An [`Operation<T, E>`](Operation) that returns `R`, a `Result<T, E>`, for one key.
///
/// `scope` is the operation's durable name. `key` has one part, `&[&order]`, or several,
/// `&(&user, &order)`. No part may be empty, and different parts never make the same key.
/// [`Operation::run`] reports a bad key as [`Error::InvalidKey`]. `M` is found by inference
/// ([`Recorded`]).
///
/// ```
/// # use idempotent_fn::{Error, store::MemoryStore, with_store};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # with_store(MemoryStore::new(), async {
/// let (tenant, order) = ("eu", 42);
/// let charge = idempotent_fn::operation::<Result<String, Error>, _>("payments.charge", &(&tenant, &order));
/// let receipt = charge.run(async move { Ok(format!("receipt {order}")) }).await?;
/// # assert_eq!(receipt, "receipt 42");
/// # Ok(())
/// # }).await
/// # }
/// ```
#[inline]
pub fn operation<R, M>(scope: &'static str, key: &(impl KeyParts + ?Sized)) -> R::Operation
where
    R: Outcome<M>,
{
    R::operation(scope, key)
}

/// The operation whose record is at `key`, as [`SharedStore::list`] shows it. It is for operators
/// and their tools, who know neither the function nor the parts of its key. For
/// [`inspect`](Operation::inspect), [`forget`](Operation::forget) and [`Resolution::Rerun`], any
/// `R` will do. A result given by [`Resolution::Done`] is recorded as an `R`.
///
/// The key does not name its store. Name the store that listed it by [`store`](Operation::store),
/// with its namespace.
///
/// ```
/// # use idempotent_fn::{operation::Resolution, operation_at, Error, SharedStore, StoreError};
/// # use idempotent_fn::{record::State, store::{Filter, MemoryStore}};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = SharedStore::new(MemoryStore::new());
/// let in_doubt = Filter::new().with_scope("payments.charge").with_state(State::Lost);
/// for listed in store.list(&in_doubt, None).await?.records { // the first page
///     // The bank says that nothing was booked for this one.
///     let charge = operation_at::<Result<(), Error>, _>(&listed.key).store(&store);
///     charge.resolve(Resolution::Rerun).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "an operation does nothing until it is asked for something"]
pub fn operation_at<R, M>(key: &Key) -> R::Operation
where
    R: Outcome<M>,
{
    R::operation(scope::of_stored(key), &Stored(key))
}

/// As [`operation`](operation()), with the result's bytes made by `C`.
///
/// ```
/// # use idempotent_fn::{Error, codec::MessagePack, operation_with_codec, store::MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// // `MessagePack` is what `operation` uses; `codec::Json` or one of your own goes here.
/// let charge = operation_with_codec::<Result<u64, Error>, MessagePack>("payments.charge", &[&"order-42"]);
/// assert_eq!(charge.store(MemoryStore::new()).run(async { Ok(4711) }).await?, 4711);
/// # Ok(())
/// # }
/// ```
#[inline]
pub fn operation_with_codec<R, C>(
    scope: &'static str,
    key: &(impl KeyParts + ?Sized),
) -> Operation<R::Ok, R::Err>
where
    R: Fallible,
    C: Codec<R::Ok>,
{
    Operation::new(scope, key, Format::of::<C>())
}

impl<T, E> Operation<T, E> {
    #[inline]
    pub(crate) fn new(scope: &'static str, key: &(impl KeyParts + ?Sized), ok: Format<T>) -> Self {
        Self {
            options: Options::new(scope, key),
            policy: ResultPolicy::new(ok),
            into_err: ByFrom,
        }
    }

    /// How the library's [`Error`] becomes the function's error. By default, `E::from`.
    ///
    /// ```
    /// # use idempotent_fn::{operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), String> {
    /// let charge = operation::<Result<u64, String>, _>("payments.charge", &[&"order-42"]).store(MemoryStore::new());
    /// let charge = charge.map_err(|error| format!("not charged: {error}"));
    /// assert_eq!(charge.run(async { Ok(4711) }).await?, 4711);
    /// # Ok(())
    /// # }
    /// ```
    pub fn map_err<F: FnOnce(Error) -> E>(self, map: F) -> Operation<T, E, ByFn<F>> {
        let Self {
            options, policy, ..
        } = self;
        Operation {
            options,
            policy,
            into_err: ByFn(map),
        }
    }
}

impl<T, E, F> Operation<T, E, F> {
    /// Reserves the scope for this operation. Another operation that reserves the same scope is
    /// refused with [`Error::Config`] when it is first run, because the two would replay each
    /// other's results. The attribute does this.
    ///
    /// An operation is this place in the code together with the type of the body. In a generic
    /// function, each choice of the type parameters is an operation.
    #[inline]
    #[track_caller]
    pub fn unique_scope(mut self) -> Self {
        self.options.unique_at = Some(Location::caller());
        self
    }

    /// Binds the key to this payload: a call with the same key and another fingerprint is
    /// [`Error::KeyReused`]. The value is hashed to 128 bits and not kept. The order of maps plays
    /// no part.
    ///
    /// ```
    /// # use idempotent_fn::{Error, SharedStore, operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let charge = |cents: u64| {
    ///     let charge = operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]).store(&store);
    ///     charge.fingerprint(&cents).run(async move { Ok(cents) })
    /// };
    /// charge(1999).await?;
    /// assert!(matches!(charge(2500).await, Err(Error::KeyReused { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fingerprint(mut self, payload: &(impl Fingerprinted + ?Sized)) -> Self {
        self.options.fingerprint = Some(Fingerprint::of(payload));
        self
    }

    /// How long a completed result is replayed: from 1 ms to 100 years, by default 24 hours. A
    /// longer time counts as 100 years.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = Some(ttl);
        self
    }

    /// How long a completed result is replayed, depending on the result: a decline for a minute,
    /// say, and a payment for a week. `ttl` is called once, when the body has returned. Less than 1
    /// ms counts as 1 ms. [`ttl`](Self::ttl) still applies where there is no result: to a record in
    /// doubt, and to one that is resolved to run again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use idempotent_fn::{operation, Error, SharedStore, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let charge = operation::<Result<Option<u64>, Error>, _>("payments.charge", &[&"order-42"]).store(&store);
    /// let charge = charge.ttl_with(|result| match result {
    ///     Ok(None) => Duration::from_secs(60), // declined: the card may be good again
    ///     _ => Duration::from_secs(7 * 24 * 60 * 60),
    /// });
    /// charge.run(async { Ok(None) }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ttl_with(mut self, ttl: fn(&Result<T, E>) -> Duration) -> Self {
        self.policy.ttl = Some(ttl);
        self
    }

    /// How long a silent owner counts as alive: from 1 ms to 1 day, in whole milliseconds, by
    /// default 30 seconds. While the body is pending, the lease is renewed every third of it. A body
    /// that blocks its thread cannot be renewed: use `tokio::task::spawn_blocking` in it, or a lease
    /// that is longer than it blocks.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// How long a duplicate waits for the running owner's result: by default 10 seconds. If zero, it
    /// waits only for the store's answer: where the store is slow or silent, for up to about 2
    /// seconds.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.options.wait = wait;
        self
    }

    /// How long the body may run: at least 1 ms, by default without limit. A body that runs longer
    /// is dropped at the await point where it is, also if its caller has gone. The caller gets
    /// [`Error::TimedOut`]. `on_crash` says what that means for the key: under [`OnCrash::Rerun`]
    /// it is free, under [`OnCrash::Fail`] it is in doubt.
    ///
    /// A body that blocks its thread is only stopped at its next await point.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use idempotent_fn::{operation, Error, SharedStore, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// let charge = operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]).store(&store);
    /// let charge = charge.timeout(Duration::from_millis(20));
    /// let answer = charge.run(std::future::pending()).await;
    /// assert!(matches!(answer, Err(Error::TimedOut { .. })));
    /// # }
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// What an `Err` of the body means. By default [`OnErr::Rerun`], and [`OnErr::Fail`] under
    /// [`OnCrash::Fail`]. [`OnErr::Record`] also needs [`record_err`](Self::record_err).
    pub fn on_err(mut self, on_err: OnErr) -> Self {
        self.policy.on_err = Some(on_err);
        self
    }

    /// What an `Err` of the body means, decided for each error by a function. It returns [`OnErr`]
    /// if errors can be recorded, or [`RerunOrFail`](crate::RerunOrFail) for any error. `M` is
    /// found by inference.
    ///
    /// ```
    /// # use idempotent_fn::{operation, Error, RerunOrFail, store::MemoryStore};
    /// #[derive(Debug)]
    /// enum Refusal { Busy, Unclear, Library(Error) }
    /// # impl From<Error> for Refusal { fn from(error: Error) -> Self { Self::Library(error) } }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let charge = operation::<Result<u64, Refusal>, _>("payments.charge", &[&"order-42"]).store(MemoryStore::new());
    /// let charge = charge.on_err_with(|refusal| match refusal {
    ///     Refusal::Busy => RerunOrFail::Rerun, // nothing happened
    ///     _ => RerunOrFail::Fail,
    /// });
    /// charge.run(async { Err(Refusal::Unclear) }).await.unwrap_err();
    /// # }
    /// ```
    pub fn on_err_with<D, M>(self, decide: fn(&E) -> D) -> Self
    where
        D: Decision<E, M>,
    {
        D::decide(self, decide)
    }

    /// Records errors too: an `Err` is final and replayed, unless [`on_err`](Self::on_err) or
    /// [`on_err_with`](Self::on_err_with) says otherwise.
    ///
    /// ```
    /// # use idempotent_fn::{SharedStore, operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let store = SharedStore::new(MemoryStore::new());
    /// // An error that serde writes and reads: here, a text.
    /// let charge = || {
    ///     let charge = operation::<Result<u64, String>, _>("payments.charge", &[&"order-42"]);
    ///     charge.map_err(|error| error.to_string()).record_err().store(&store)
    /// };
    /// let declined = charge().run(async { Err("declined".to_owned()) }).await;
    /// assert_eq!(declined, charge().run(async { Ok(4711) }).await); // replayed
    /// # }
    /// ```
    pub fn record_err<M>(mut self) -> Self
    where
        E: RecordedErr<M>,
    {
        self.policy.err = Some(format_of::<E, M>());
        self
    }

    /// What a lapsed lease means: the owner vanished, and nobody knows what its body did. By
    /// default [`OnCrash::Rerun`].
    pub fn on_crash(mut self, on_crash: OnCrash) -> Self {
        self.options.on_crash = on_crash;
        self
    }

    /// Uses this store instead of the default one: a [`SharedStore`] or a reference to one. Make it
    /// once. A new `SharedStore` for each call would know nothing of the duplicates in flight in
    /// this process.
    pub fn store(mut self, store: impl Into<SharedStore>) -> Self {
        self.options.store = Some(store.into());
        self
    }
}

impl<T, E, F> fmt::Debug for Operation<T, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("operation", &self.options.operation_id())
            .field("store", &self.options.store)
            .finish_non_exhaustive()
    }
}
