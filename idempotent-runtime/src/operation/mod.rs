//! One operation with one key: what the attribute's expansion calls, and what anybody may call by hand.

mod admin;
#[cfg(feature = "axum")]
mod axum;
pub(crate) mod options;
pub(crate) mod result;
pub(crate) mod result_policy;
pub(crate) mod scope;

use std::{panic::Location, time::Duration};

use serde::Serialize;

use self::{options::Options, result::format_of, result_policy::ResultPolicy};
use crate::{
    Codec, Error, OnCrash, OnErr, SharedStore, codec::Format, fingerprint::Fingerprint,
    key::KeyParts,
};

pub use admin::Resolution;
#[cfg(feature = "axum")]
pub use axum::Axum;
pub use result::{ByFn, ByFrom, Decision, Fallible, IntoErr, Outcome, Recorded, RecordedErr};

/// `ttl` where none is given: 24 hours.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// `lease` where none is given: 30 seconds.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// `wait` where none is given: 10 seconds.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// One operation with one key, to be [`run`](Operation::run) once.
///
/// This is what `#[idempotent]` writes, and the same by hand:
///
/// ```
/// # use idempotent_runtime::{operation, Error, SharedStore, store::MemoryStore};
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
/// Calls written by hand may share a scope, and then share records: give them the same result type and codec.
#[must_use = "an operation does nothing until it is run"]
pub struct Operation<T, E, F = ByFrom> {
    pub(crate) options: Options,
    pub(crate) policy: ResultPolicy<T, E>,
    pub(crate) into_err: F,
}

/// An [`Operation<T, E>`](Operation) that returns `R`, a `Result<T, E>`, for one key.
///
/// `scope` is the operation's durable name. `key` has one part, `&[&order]`, or more, `&(&user, &order)`, each of them not
/// empty; different parts never meet in one key. A bad key is reported by [`Operation::run`] as [`Error::InvalidKey`]. `M` is
/// found by inference ([`Recorded`](crate::Recorded)).
#[inline]
pub fn operation<R, M>(scope: &'static str, key: &(impl KeyParts + ?Sized)) -> R::Operation
where
    R: Outcome<M>,
{
    R::operation(scope, key)
}

/// As [`operation`], with the result's bytes made by `C`.
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

    /// How the library's [`Error`] becomes the function's own; by default `E::from`.
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
    /// Keeps the scope for this operation: another one that asks for the same scope is refused with [`Error::Config`]
    /// when it is first run, since the two would replay each other's results. The attribute does this.
    ///
    /// An operation is this place in the code together with the type of the body: in a generic function, each choice of
    /// the type parameters is an operation.
    #[inline]
    #[track_caller]
    pub fn unique_scope(mut self) -> Self {
        self.options.unique_at = Some(Location::caller());
        self
    }

    /// Pins the payload: the same key with another fingerprint is [`Error::KeyReused`]. The value is hashed (128 bits,
    /// map order plays no part); it is not kept.
    pub fn fingerprint(mut self, payload: &(impl Serialize + ?Sized)) -> Self {
        self.options.fingerprint = Some(Fingerprint::of(payload));
        self
    }

    /// How long a completed result is replayed, from 1 ms on; by default 24 hours. More than 100 years is 100 years.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = Some(ttl);
        self
    }

    /// How long a completed result is replayed, by the result itself: a decline for a minute, say, and a payment for a
    /// week. It is asked once, when the body has returned, and its answer is the record's; less than 1 ms is 1 ms.
    /// [`ttl`](Self::ttl) remains what is kept where there is no result to ask about: a record in doubt, and one that is resolved
    /// to be run again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use idempotent_runtime::{operation, Error, SharedStore, store::MemoryStore};
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

    /// How long a silent owner is believed alive, from 1 ms to 1 day in whole milliseconds; by default 30 seconds. It is
    /// renewed every third of it while the body is pending.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// How long a duplicate waits for the running owner's result, zero for not at all; by default 10 seconds.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.options.wait = wait;
        self
    }

    /// How long the body may run, from 1 ms on; by default for as long as it takes. Then it is stopped (dropped, at the
    /// await point where it is), also where its caller has gone, and the caller gets [`Error::TimedOut`]. `on_crash` says
    /// what that means for the key: under [`OnCrash::Rerun`] it is free, under [`OnCrash::Fail`] it is in doubt.
    ///
    /// A body that blocks its thread is stopped at its next await point.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use idempotent_runtime::{operation, Error, SharedStore, store::MemoryStore};
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

    /// What an `Err` of the body means. By default [`OnErr::Rerun`], and [`OnErr::Fail`] under [`OnCrash::Fail`].
    /// [`OnErr::Record`] needs [`record_err`](Self::record_err) too.
    pub fn on_err(mut self, on_err: OnErr) -> Self {
        self.policy.on_err = Some(on_err);
        self
    }

    /// What an `Err` of the body means, decided case by case: by a function that answers [`OnErr`], for errors that can be
    /// recorded, or [`RerunOrFail`](crate::RerunOrFail), for any. `M` is found by inference.
    pub fn on_err_with<D, M>(self, decide: fn(&E) -> D) -> Self
    where
        D: Decision<E, M>,
    {
        D::decide(self, decide)
    }

    /// Makes errors recordable: an `Err` is final and replayed, unless [`on_err`](Self::on_err) or
    /// [`on_err_with`](Self::on_err_with) says otherwise.
    pub fn record_err<M>(mut self) -> Self
    where
        E: RecordedErr<M>,
    {
        self.policy.err = Some(format_of::<E, M>());
        self
    }

    /// What it means that an owner vanished. By default [`OnCrash::Rerun`].
    pub fn on_crash(mut self, on_crash: OnCrash) -> Self {
        self.options.on_crash = on_crash;
        self
    }

    /// This store instead of the default one.
    pub fn store(mut self, store: &SharedStore) -> Self {
        self.options.store = Some(store.clone());
        self
    }
}
