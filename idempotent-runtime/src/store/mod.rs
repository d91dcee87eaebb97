//! What a store must do, and the handle that operations share.

pub mod cas;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod connection;
pub(crate) mod counters;
mod forward;
pub(crate) mod inspection;
mod list;
#[cfg(feature = "memory")]
mod memory;
mod near;
mod notify;
pub mod protocol;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod shared;
pub(crate) mod single_flight;
pub(crate) mod sql;
#[cfg(any(feature = "postgres", feature = "redis", feature = "sqlite-system"))]
mod warning;

use std::{future::Future, time::Duration};

#[cfg(feature = "redis")]
pub use self::redis::{RedisCredentials, RedisOptions, RedisStore};
pub use counters::{Counters, Counts};
pub use list::{Cursor, Filter, Found, Lapsed, Listed, Page};
#[cfg(feature = "memory")]
pub use memory::{ManualClock, MemoryStore};
pub use near::NearCache;
pub use notify::{KeyNotifier, Subscription};
pub use shared::SharedStore;
#[cfg(feature = "postgres")]
pub use sql::{POSTGRES_SCHEMA, PostgresOptions, PostgresStore};
// `sqlite` implies the other. It is named for who has neither: rustc shows this line then.
#[cfg(any(feature = "sqlite", feature = "sqlite-system"))]
pub use sql::{SQLITE_SCHEMA, SqliteOptions, SqliteStore, SqliteSynchronous};

use crate::{
    DEFAULT_LEASE, DEFAULT_TTL, OnCrash, StoreError, StoreErrorKind,
    fingerprint::Fingerprint,
    key::Key,
    record::{Nonce, Owner, Record, RecordRef, RecordedBytesRef, State},
};

/// Results larger than this are not recorded, unless a store says otherwise: 1 MiB.
pub const DEFAULT_MAX_RESULT: usize = 1024 * 1024;

/// Keeps records: one per key, changed only in single atomic steps.
///
/// Implement it with plain `async fn`s. [`store::protocol`](crate::store::protocol) has every
/// decision as a function. A store that can run code beside its records (under a lock, in a
/// transaction) reads the record, calls the function, and writes its result ([`protocol::Write`]).
/// For a database that can only write on a condition, [`cas`] makes a store of two methods. The
/// suite in `store::conformance` (feature `conformance`) checks the contract.
/// [WRITING_A_STORE](https://github.com/idempotent-fn/idempotent-fn/blob/main/docs/WRITING_A_STORE.md)
/// shows all of it.
///
/// # Contract
/// 1. **Atomic.** Each method is one step: no other change of the same key comes between its
///    reading and its writing. Different keys never wait for each other.
/// 2. **Authoritative.** Reads see every acknowledged write: primaries only, no replica, no cache.
/// 3. **One clock.** The store's own clock judges leases and retention, never the caller's. A
///    record's age is the time since it was granted or last renewed; a clock that went back counts
///    as age zero.
/// 4. **Retention.** `Running` and `Lost` records are kept for [`HOLD`](crate::record::HOLD),
///    `Done` for their [`ttl`](Record::ttl), `Failed` for their `ttl` but at most `HOLD`, each
///    counted from the write ([`protocol::retention`]). Nothing is dropped earlier. `Done` and
///    `Failed` are then kept for [`protocol::grace`] more, in which nobody sees them but late
///    messages and the next claim; afterwards it is as if they had never been.
/// 5. **Safe to send twice.** A repeated call (same nonce) changes nothing and answers as the
///    first.
/// 6. **Tokens grow** with every grant of a key and stay below 2^53, also across retention and
///    [`overrule`](Store::overrule): `max(previous + 1, the store's time in µs)`, where the
///    previous one may be that of a record past its end.
/// 7. **Readable or left alone.** Bytes that are not a record of a known version are
///    [`Incompatible`](crate::StoreErrorKind::Incompatible) and are never overwritten.
/// 8. **Honest errors.** [`StoreErrorKind`] says whether a failed command may have been carried
///    out. When in doubt: `Ambiguous`. A store does not repeat commands on its own and is never
///    quietly empty.
/// 9. **Cancel-safe to the protocol.** A dropped future may or may not have been carried out; the
///    caller takes it as ambiguous. So does it with a command that has no answer after 10 seconds.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no store",
    label = "needs a `SharedStore`, a reference to one, or what implements `Store`"
)]
pub trait Store: Send + Sync + 'static {
    /// Asks for the right to run: see [`protocol::claim`].
    fn claim(
        &self,
        key: &Key,
        request: &ClaimRequest,
    ) -> impl Future<Output = Result<ClaimReply, StoreError>> + Send;

    /// A heartbeat of `owned`, the record as it was granted: see [`protocol::renew`].
    fn renew(
        &self,
        key: &Key,
        owned: &Record,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Ends an attempt: see [`protocol::finish`]. `target` is done, failed or lost. The store sets
    /// [`Record::expires`], and wakes subscribers once the record is written.
    fn finish(
        &self,
        key: &Key,
        target: &Record,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// The current record and what is left of a running owner's lease. `None` if the record is past
    /// its end ([`protocol::visible`]).
    fn read(
        &self,
        key: &Key,
    ) -> impl Future<Output = Result<Option<(Record, Duration)>, StoreError>> + Send;

    /// Replaces the record that was `seen` by an operator's decision: see [`protocol::overrule`].
    /// Wakes subscribers.
    fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Tells waiters of a change. It returns once the subscription is in force: whatever is written
    /// afterwards wakes it. Waking too often is allowed, waking too late costs the waiters time. By
    /// default they poll.
    fn subscribe(
        &self,
        key: &Key,
    ) -> impl Future<Output = Result<Subscription, StoreError>> + Send {
        let _ = key;
        std::future::ready(Ok(Subscription::polling()))
    }

    /// Records in pages, for operators: those that are not past their end, whose key's text begins
    /// with [`Filter::prefix`], and which [`Filter::shows`]. `cursor` is what the page before ended
    /// with, `None` at first.
    ///
    /// Whatever is there from the first page to the last is shown at least once; twice is allowed.
    /// Bytes that cannot be read are shown as errors, where [`Filter::shows_unreadable`]. No page
    /// takes longer the more records there are: it may have fewer records than [`Filter::page`]
    /// asks for, or none, though others follow.
    ///
    /// By default it answers [`Config`](crate::StoreErrorKind::Config): this store cannot list.
    fn list(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> impl Future<Output = Result<Page<Found>, StoreError>> + Send {
        let _ = (filter, cursor);
        let reason = "this store cannot list its records";
        std::future::ready(Err(StoreError::new(StoreErrorKind::Config, reason)))
    }

    /// The same store without I/O, if it has none and no other process reaches its records. A
    /// replay then costs a lookup and no future, a first call may begin and end without one, and
    /// nonces are drawn several at a time.
    fn local(&self) -> Option<&dyn LocalStore> {
        None
    }

    /// The store's time in µs since 1970, if it is known without asking. It may be some seconds
    /// behind, but never ahead. A [near cache](SharedStore::with_near_cache) uses it to tell when
    /// another process' result ends. By default it is not known, and this machine's clock is used.
    fn clock(&self) -> Option<u64> {
        None
    }

    /// Whether the store needs a runtime with I/O. A call in a runtime without it is refused with
    /// [`Error::Config`](crate::Error::Config) before anything is sent. By default it does not.
    fn needs_io(&self) -> bool {
        false
    }

    /// What to call this store in events: its kind and place, never a password.
    fn describe(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }
}

/// A store in this process' memory, without futures: most of what a call asks is answered at once.
/// For anything else the same store is used as a [`Store`].
pub trait LocalStore: Send + Sync {
    /// Shows the record, if there is one that is not past its end. `look` decodes the result, which
    /// may run user code and take long, so it must not be called under a lock.
    fn peek(&self, key: &Key, look: &mut dyn FnMut(&RecordRef<'_>));

    /// Grants the claim of a key that has no record, as [`Store::claim`] does, and returns the
    /// token. `None` means that nothing has changed, and that `Store::claim` is to be asked.
    fn grant(&self, key: &Key, request: &ClaimRequest) -> Option<u64> {
        let _ = (key, request);
        None
    }

    /// Finishes the attempt of `owned`, a record as it was granted, with this result, as
    /// [`Store::finish`] does, if the record is still the attempt's. `false` means that nothing has
    /// changed, and that `Store::finish` is to be asked.
    fn complete(
        &self,
        key: &Key,
        owned: &Record,
        codec: u32,
        outcome: RecordedBytesRef<'_>,
    ) -> bool {
        let _ = (key, owned, codec, outcome);
        false
    }
}

/// An attempt's claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// The attempt.
    pub nonce: Nonce,
    /// The lease it asks for.
    pub lease: Duration,
    /// What it means if its owner vanishes.
    pub on_crash: OnCrash,
    /// Its payload's fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// How long its result is to be kept, in whole milliseconds.
    pub ttl: Duration,
    /// The owner's name, for operators.
    pub owner: Option<Owner>,
    /// The trace that the attempt is part of, if there is one.
    pub trace: Option<[u8; 16]>,
}

impl ClaimRequest {
    /// The claim of an attempt with the options' defaults: no fingerprint, [`OnCrash::Rerun`],
    /// [`DEFAULT_LEASE`] and [`DEFAULT_TTL`].
    ///
    /// A store's tests make one, and from it a record:
    ///
    /// ```
    /// # fn main() -> Result<(), idempotent_fn::record::NonceError> {
    /// use std::time::Duration;
    /// use idempotent_fn::{record::Nonce, store::ClaimRequest};
    ///
    /// let mut request = ClaimRequest::new(Nonce::random()?);
    /// request.lease = Duration::from_secs(5);
    /// let mut owned = request.record();
    /// owned.token = 7;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn new(nonce: Nonce) -> Self {
        Self {
            nonce,
            lease: DEFAULT_LEASE,
            on_crash: OnCrash::Rerun,
            fingerprint: None,
            ttl: DEFAULT_TTL,
            owner: None,
            trace: None,
        }
    }

    /// The running record of a first attempt. Its token is zero; the store sets it.
    #[must_use]
    pub fn record(&self) -> Record {
        self.granted(0, 1, self.lease)
    }

    /// The running record of this request, once granted. Made where it stays: to copy one that was
    /// just written takes longer than to write it.
    #[inline]
    pub(crate) fn granted(&self, token: u64, attempts: u32, lease: Duration) -> Record {
        Record {
            state: State::Running,
            nonce: self.nonce,
            token,
            lease,
            on_crash: self.on_crash,
            attempts,
            fingerprint: self.fingerprint,
            codec: 0,
            expires: 0,
            ttl: self.ttl,
            check: 0,
            owner: self.owner.clone(),
            trace: self.trace,
            outcome: None,
        }
    }
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimReply {
    /// The claim has the right to run.
    Granted {
        /// The record as it was written, with its token and the granted lease.
        record: Record,
        /// Whether a silent owner was overtaken. After a repeated claim this may be a guess from
        /// the number of attempts.
        takeover: bool,
    },
    /// Another attempt's record is there.
    Held {
        /// The record.
        record: Record,
        /// What is left of a running owner's lease; zero for other states.
        lease_left: Duration,
    },
}

/// The answer to a renew, a finish or an overruling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// Applied as asked, now or by an earlier sending of the same.
    Applied,
    /// There was no record, and it was put back as asked: the store had lost it, or kept it for too
    /// short a time.
    PutBack,
    /// Another attempt's record is there, or the owner's own record is final. Nothing changed.
    Stale {
        /// The current record.
        record: Record,
        /// What is left of a running owner's lease; zero for other states.
        lease_left: Duration,
    },
    /// Only by [`Store::overrule`]: the record that was seen is gone. Nothing changed.
    Absent,
}
