//! `SharedStore`: the handle around any store.

mod erased;

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use self::erased::{Erased, Pending, feed_near_cache, verify};
use super::{
    ClaimReply, ClaimRequest, Cursor, DEFAULT_MAX_RESULT, Filter, Found, LocalStore, Page, Settled,
    Store, Subscription, counters::Counters, near::Near, single_flight::Flights,
};
use crate::{
    StoreError,
    key::{self, Key},
    record::{Owner, Record},
};

/// A store as operations share it. `install`, `store = …` and `with_store` take one, a reference to
/// one, or what becomes one: any [`Store`].
///
/// Cloning is cheap, and clones are one store: they share records, duplicates in flight and
/// counters.
///
/// ```
/// use idempotent_fn::{SharedStore, store::MemoryStore};
///
/// let store = SharedStore::new(MemoryStore::new());
/// let tenant = store.with_namespace("tenant-a").with_max_result(64 * 1024);
/// # let _ = tenant;
/// ```
// One pointer, because every call passes it on.
#[derive(Clone)]
pub struct SharedStore(Arc<Handle>);

/// A store, and the options of one handle on it.
#[derive(Clone)]
struct Handle {
    inner: Arc<Inner>,
    /// Its namespaces: see [`key::namespace_path`].
    namespace: Option<Box<str>>,
    max_result: usize,
    /// Whether this handle replays from the near cache, and fills it.
    replays_near: bool,
    owner: Option<Owner>,
    trace: Option<fn() -> Option<[u8; 16]>>,
}

struct Inner {
    store: Box<dyn Erased>,
    flights: Flights,
    counters: Counters,
    /// The number of pending bodies, if the store is in this process.
    running: AtomicUsize,
    /// Created by the first handle that asks for it.
    near: OnceLock<Near>,
}

/// Lets nobody else join a key's flight, once dropped.
struct FlightCloser<'a>(&'a Flights, &'a Key);

impl Drop for FlightCloser<'_> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

impl SharedStore {
    /// Shares `store`.
    pub fn new(store: impl Store) -> Self {
        let inner = Inner {
            store: Box::new(store),
            flights: Flights::default(),
            counters: Counters::default(),
            running: AtomicUsize::new(0),
            near: OnceLock::new(),
        };
        Self(Arc::new(Handle {
            inner: Arc::new(inner),
            namespace: None,
            max_result: DEFAULT_MAX_RESULT,
            replays_near: false,
            owner: None,
            trace: None,
        }))
    }

    /// The same store, with other options.
    fn with_handle(&self, change: impl FnOnce(&mut Handle)) -> Self {
        let mut handle = Handle::clone(&self.0);
        change(&mut handle);
        Self(Arc::new(handle))
    }

    /// The same store within a namespace. Its keys never collide with those of another namespace,
    /// or of none.
    ///
    /// Namespaces nest: `store.with_namespace("tenant-a").with_namespace("mail")` is `mail` within
    /// `tenant-a`, and has no key in common with `mail` within `tenant-b`, or with `mail` alone.
    /// Of a name over [`Key::MAX_NAMESPACE`] bytes the beginning stands in keys, with a digest of
    /// the whole.
    ///
    /// ```
    /// # use idempotent_fn::{Error, SharedStore, operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let store = SharedStore::new(MemoryStore::new());
    /// for tenant in ["tenant-a", "tenant-b"] {
    ///     let charge = operation::<Result<String, Error>, _>("payments.charge", &[&"order-42"]);
    ///     let charge = charge.store(store.with_namespace(tenant));
    ///     assert_eq!(charge.run(async move { Ok(tenant.to_owned()) }).await?, tenant);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_namespace(&self, namespace: &str) -> Self {
        self.with_handle(|handle| {
            let path = key::namespace_path(handle.namespace.as_deref(), namespace);
            handle.namespace = Some(path);
        })
    }

    /// The same store with another limit for a result's bytes and its record's head (1 MiB by
    /// default). It must not exceed what the server takes for one value. A larger result is not
    /// recorded: the call that ran the body gets it, and replays get
    /// [`Error::NotRecorded`](crate::Error::NotRecorded).
    ///
    /// ```
    /// # use idempotent_fn::{Error, SharedStore, operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let store = SharedStore::new(MemoryStore::new()).with_max_result(1000);
    /// let report = || operation::<Result<String, Error>, _>("reports.make", &[&42]).store(&store);
    /// report().run(async { Ok("long".repeat(1000)) }).await?;
    /// let replay = report().run(async { Ok(String::new()) }).await;
    /// assert!(matches!(replay, Err(Error::NotRecorded { .. })));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_max_result(&self, bytes: usize) -> Self {
        self.with_handle(|handle| handle.max_result = bytes)
    }

    /// The same store, with the name under which this process claims. Operators see it on a record
    /// that is running or in doubt ([`Inspection::owner`](crate::operation::Inspection::owner)). By
    /// default it is `host:pid`.
    ///
    /// A name has up to 64 bytes; a longer one is cut. An empty one means the default.
    ///
    /// ```
    /// # use idempotent_fn::{Error, SharedStore, operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let store = SharedStore::new(MemoryStore::new()).with_owner("billing-7f9c");
    /// let charge = || operation::<Result<(), Error>, _>("payments.charge", &[&"order-42"]).store(&store);
    /// let look = charge();
    /// charge().run(async move {
    ///     let running = look.inspect().await?.expect("this attempt's record");
    ///     assert_eq!(running.owner.expect("a name").as_str(), "billing-7f9c");
    ///     Ok(())
    /// }).await
    /// # }
    /// ```
    #[must_use]
    pub fn with_owner(&self, name: &str) -> Self {
        self.with_handle(|handle| handle.owner = Owner::new(name))
    }

    /// The same store, with a function that returns the current trace's 16 bytes. They are stored
    /// in the record, so that operators find the call's trace
    /// ([`Inspection::trace`](crate::operation::Inspection::trace)). By default there is none.
    ///
    /// The function runs in the caller's own task when the call begins.
    ///
    /// ```
    /// # use idempotent_fn::{SharedStore, store::MemoryStore};
    /// # fn current_trace_id() -> Option<u128> { None }
    /// // `current_trace_id` asks your tracing library.
    /// let store = SharedStore::new(MemoryStore::new())
    ///     .with_trace(|| current_trace_id().map(u128::to_be_bytes));
    /// # let _ = store;
    /// ```
    #[must_use]
    pub fn with_trace(&self, current: fn() -> Option<[u8; 16]>) -> Self {
        self.with_handle(|handle| handle.trace = Some(current))
    }

    /// The owner's name for claims through this handle. A store in this process needs none, unless
    /// one was given.
    pub(crate) fn claims_as(&self) -> Option<Owner> {
        let named = self.0.owner.clone();
        named.or_else(|| self.local().is_none().then(Owner::here).flatten())
    }

    /// The trace of the current call.
    pub(crate) fn current_trace(&self) -> Option<[u8; 16]> {
        self.0.trace.and_then(|current| current())
    }

    /// The counters of this store, since the process started.
    ///
    /// ```
    /// # use idempotent_fn::{Error, SharedStore, operation, store::MemoryStore};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// let store = SharedStore::new(MemoryStore::new());
    /// for _ in 0..3 {
    ///     let charge = operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]);
    ///     charge.store(&store).run(async { Ok(4711) }).await?;
    /// }
    /// assert_eq!((store.counters().ran(), store.counters().all().replayed()), (1, 2));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.inner.counters
    }

    /// The same store, through a handle that uses its near cache.
    pub(super) fn replaying_near(&self) -> Self {
        self.with_handle(|handle| handle.replays_near = true)
    }

    pub(super) fn replays_near(&self) -> bool {
        self.0.replays_near
    }

    /// Its near cache, once there is one.
    pub(super) fn near_cell(&self) -> &OnceLock<Near> {
        &self.0.inner.near
    }

    /// The store's time in µs since 1970, if it is known without asking.
    pub(crate) fn clock(&self) -> Option<u64> {
        self.0.inner.store.clock()
    }

    pub(crate) fn needs_io(&self) -> bool {
        self.0.inner.store.needs_io()
    }

    /// The store's kind and place, without passwords.
    #[must_use]
    pub fn describe(&self) -> String {
        self.0.inner.store.describe()
    }

    /// How many keys this process is claiming, running or waiting for right now. Zero when nothing
    /// is in progress. [`drain`](crate::drain) counts less: only what callers have left behind.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        match self.local() {
            // There are no flights here, but every waiter waits for a running body.
            Some(_) => self.0.inner.running.load(Ordering::Relaxed),
            None => self.0.inner.flights.len(),
        }
    }

    /// Counts a pending body until the returned guard is dropped.
    pub(crate) fn running(&self) -> Running {
        self.0.inner.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(&self.0.inner))
    }

    pub(crate) fn result_limit(&self) -> usize {
        self.0.max_result
    }

    pub(crate) fn flights(&self) -> &Flights {
        &self.0.inner.flights
    }

    pub(crate) fn local(&self) -> Option<&dyn LocalStore> {
        self.0.inner.store.local()
    }

    /// The key within this handle's namespace.
    #[inline]
    pub(crate) fn qualified<'k>(&self, key: &'k Key) -> Cow<'k, Key> {
        match &self.0.namespace {
            None => Cow::Borrowed(key),
            Some(namespace) => Cow::Owned(key.in_path(namespace)),
        }
    }

    /// Whether both handles are of one store.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.inner, &other.0.inner)
    }

    pub(crate) fn claim<'a>(
        &'a self,
        key: &'a Key,
        request: &'a ClaimRequest,
    ) -> Pending<'a, ClaimReply> {
        let lookup = self.lookup(key);
        let reply = self.0.inner.store.claim(key, request);
        feed_near_cache(reply, lookup, |lookup, reply| {
            lookup.observed(match reply {
                ClaimReply::Held { record, .. } => Some(record),
                ClaimReply::Granted { .. } => None,
            });
        })
    }

    pub(crate) fn renew<'a>(&'a self, key: &'a Key, owned: &'a Record) -> Pending<'a, Settled> {
        self.0.inner.store.renew(key, owned)
    }

    /// Sends a finish for the first time.
    pub(crate) fn finish<'a>(&'a self, key: &'a Key, target: &'a Record) -> Pending<'a, Settled> {
        let lookup = self.lookup(key);
        let settled = self.finish_again(key, target);
        feed_near_cache(settled, lookup, move |lookup, settled| match settled {
            Settled::Applied | Settled::PutBack => lookup.acknowledged(target),
            Settled::Stale { record, .. } => {
                lookup.observed(Some(record).filter(|it| it.is_sound(key)));
            }
            Settled::Absent => lookup.observed(None),
        })
    }

    /// Sends a finish again. An earlier one may have been carried out long ago, so the answer does
    /// not tell the record's end.
    pub(crate) fn finish_again<'a>(
        &'a self,
        key: &'a Key,
        target: &'a Record,
    ) -> Pending<'a, Settled> {
        self.0.inner.store.finish(key, target)
    }

    pub(crate) fn read<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<(Record, Duration)>> {
        let lookup = self.lookup(key);
        let read = self.0.inner.store.read(key);
        feed_near_cache(read, lookup, |lookup, read| {
            lookup.observed(read.as_ref().map(|(record, _)| record));
        })
    }

    pub(crate) async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
    ) -> Result<Settled, StoreError> {
        let _overruling = self.overruling(key);
        // Calls that begin later must not be told what was read before; also where the answer is
        // lost, or nobody waits for it.
        let _closing = FlightCloser(self.flights(), key);
        let store = &self.0.inner.store;
        store.overrule(key, seen, replacement).await
    }

    /// Refuses a record whose check does not fit `key`. A store that only this process reaches is
    /// trusted.
    pub(crate) fn verify(&self, key: &Key, record: &Record) -> Result<(), StoreError> {
        verify(self.local(), key, record)
    }

    /// Lists records whose whole key begins with the filter's prefix.
    pub(super) async fn list_keys(
        &self,
        filter: &Filter,
        cursor: Option<&Cursor>,
    ) -> Result<Page<Found>, StoreError> {
        self.0.inner.store.list(filter, cursor).await
    }

    pub(crate) async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        self.0.inner.store.subscribe(key).await
    }
}

/// Counts a pending body while it lives.
pub(crate) struct Running(Arc<Inner>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore")
            .field("store", &self.describe())
            .field("namespace", &self.0.namespace)
            .finish_non_exhaustive()
    }
}

impl<S: Store> From<S> for SharedStore {
    fn from(store: S) -> Self {
        Self::new(store)
    }
}

impl From<&Self> for SharedStore {
    /// A clone: the same store.
    fn from(store: &Self) -> Self {
        store.clone()
    }
}

impl From<&&Self> for SharedStore {
    /// A clone: the same store.
    fn from(store: &&Self) -> Self {
        Self::clone(store)
    }
}

impl<F: FnOnce() -> Self> From<&LazyLock<Self, F>> for SharedStore {
    /// A clone of the store in a `static`.
    fn from(store: &LazyLock<Self, F>) -> Self {
        Self::clone(store)
    }
}
