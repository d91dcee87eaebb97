//! The handle around any store.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    ClaimReply, ClaimRequest, DEFAULT_MAX_RESULT, LocalStore, Settled, Store, Subscription,
    count::Counters,
    near::{Asked, Near},
};
use crate::{StoreError, flight::Flights, key::Key, record::Record};

/// A store as operations share it: what `install`, `store = …` and `with_store` take.
///
/// Cloning is cheap, and clones are one store: the same records, the same duplicates in flight, the same counters.
// One pointer: it is handed through every call.
#[derive(Clone)]
pub struct SharedStore(Arc<Handle>);

/// A store, and how it is seen.
#[derive(Clone)]
struct Handle {
    inner: Arc<Inner>,
    namespace: Option<Box<str>>,
    max_result: usize,
    /// Whether it replays from the near cache, and fills it.
    replays_near: bool,
}

struct Inner {
    store: Box<dyn Erased>,
    flights: Flights,
    counters: Counters,
    /// Bodies that are pending, where the store is in this process.
    running: AtomicUsize,
    /// Made by the first handle that asks for one.
    near: OnceLock<Near>,
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
        }))
    }

    /// The same store, seen otherwise.
    fn seen(&self, change: impl FnOnce(&mut Handle)) -> Self {
        let mut handle = Handle::clone(&self.0);
        change(&mut handle);
        Self(Arc::new(handle))
    }

    /// The same store, seen through a namespace: its keys never meet those of another namespace, or of none.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Self {
        self.seen(|handle| handle.namespace = Some(namespace.into()))
    }

    /// The same store with another limit for what is kept of a result (1 MiB by default): its bytes, and those of its record's
    /// head. It must not be above what the server takes for one value. A larger result is not recorded: the call that ran the body gets it, replays get [`Error::NotRecorded`](crate::Error::NotRecorded).
    #[must_use]
    pub fn max_result(&self, bytes: usize) -> Self {
        self.seen(|handle| handle.max_result = bytes)
    }

    /// What happened in this store, counted since the process started.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.inner.counters
    }

    /// The same store, from a handle that uses its near cache.
    pub(super) fn replaying_near(&self) -> Self {
        self.seen(|handle| handle.replays_near = true)
    }

    pub(super) fn replays_near(&self) -> bool {
        self.0.replays_near
    }

    /// Where its near cache is, once there is one.
    pub(super) fn near_place(&self) -> &OnceLock<Near> {
        &self.0.inner.near
    }

    /// The store's time in µs since 1970, where it is known without asking.
    pub(super) fn clock(&self) -> Option<u64> {
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

    /// How many keys are being asked for, run or waited for in this process right now. Zero when all is quiet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        match self.local() {
            // Here nobody asks for others; but whoever waits, waits for a body that runs.
            Some(_) => self.0.inner.running.load(Ordering::Relaxed),
            None => self.0.inner.flights.len(),
        }
    }

    /// Counts a body that has begun and is pending, as long as the answer is kept.
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

    /// Shows `look` the key as this handle's namespace has it.
    #[inline]
    pub(crate) fn qualified<R>(&self, key: &Key, look: impl FnOnce(&Key) -> R) -> R {
        match &self.0.namespace {
            None => look(key),
            Some(namespace) => look(&key.in_namespace(namespace)),
        }
    }

    /// Whether both handles reach the same records.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.inner, &other.0.inner)
    }

    pub(crate) fn claim<'a>(
        &'a self,
        key: &'a Key,
        request: &'a ClaimRequest,
    ) -> Pending<'a, ClaimReply> {
        let asked = self.ask(key);
        let reply = self.0.inner.store.claim(key, request);
        noting(reply, asked, |asked, reply| {
            asked.shown(match reply {
                ClaimReply::Held { record, .. } => Some(record),
                ClaimReply::Granted { .. } => None,
            });
        })
    }

    pub(crate) fn renew<'a>(&'a self, key: &'a Key, owned: &'a Record) -> Pending<'a, Settled> {
        self.0.inner.store.renew(key, owned)
    }

    /// The first sending of a finish.
    pub(crate) fn finish<'a>(
        &'a self,
        key: &'a Key,
        target: &'a Record,
        retain: Duration,
    ) -> Pending<'a, Settled> {
        let asked = self.ask(key);
        let settled = self.finish_again(key, target, retain);
        noting(settled, asked, move |asked, settled| match settled {
            Settled::Applied | Settled::PutBack => asked.recorded(target, retain),
            Settled::Stale { record, .. } => asked.shown(Some(record)),
            Settled::Absent => asked.shown(None),
        })
    }

    /// Another sending. An earlier one may have been carried out long ago, so the record's end is not known from this.
    pub(crate) fn finish_again<'a>(
        &'a self,
        key: &'a Key,
        target: &'a Record,
        retain: Duration,
    ) -> Pending<'a, Settled> {
        self.0.inner.store.finish(key, target, retain)
    }

    pub(crate) fn read<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<(Record, Duration)>> {
        let asked = self.ask(key);
        let read = self.0.inner.store.read(key);
        noting(read, asked, |asked, read| {
            asked.shown(read.as_ref().map(|(record, _)| record));
        })
    }

    pub(crate) async fn overrule(
        &self,
        key: &Key,
        seen: Option<&Record>,
        replacement: &Record,
        retain: Duration,
    ) -> Result<Settled, StoreError> {
        let _overruling = self.overruling(key);
        self.0
            .inner
            .store
            .overrule(key, seen, replacement, retain)
            .await
    }

    pub(crate) async fn subscribe(&self, key: &Key) -> Result<Subscription, StoreError> {
        self.0.inner.store.subscribe(key).await
    }
}

/// A body that is pending.
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

/// What the store answers. It is a box and no more: calls keep one for as long as they are under way.
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Lets a near cache know of an answer, where there is one.
fn noting<'a, T: Send + 'a>(
    reply: Pending<'a, T>,
    asked: Option<Asked<'a>>,
    note: impl FnOnce(&Asked<'_>, &T) + Send + 'a,
) -> Pending<'a, T> {
    let Some(asked) = asked else {
        return reply;
    };
    Box::pin(async move {
        let reply = reply.await?;
        note(&asked, &reply);
        Ok(reply)
    })
}

/// [`Store`], made into an object.
trait Erased: Send + Sync {
    fn claim<'a>(&'a self, key: &'a Key, request: &'a ClaimRequest) -> Pending<'a, ClaimReply>;
    fn renew<'a>(&'a self, key: &'a Key, owned: &'a Record) -> Pending<'a, Settled>;
    fn finish<'a>(
        &'a self,
        key: &'a Key,
        target: &'a Record,
        retain: Duration,
    ) -> Pending<'a, Settled>;
    fn read<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<(Record, Duration)>>;
    fn overrule<'a>(
        &'a self,
        key: &'a Key,
        seen: Option<&'a Record>,
        replacement: &'a Record,
        retain: Duration,
    ) -> Pending<'a, Settled>;
    fn subscribe<'a>(&'a self, key: &'a Key) -> Pending<'a, Subscription>;
    fn local(&self) -> Option<&dyn LocalStore>;
    fn clock(&self) -> Option<u64>;
    fn needs_io(&self) -> bool;
    fn describe(&self) -> String;
}

impl<S: Store> Erased for S {
    fn claim<'a>(&'a self, key: &'a Key, request: &'a ClaimRequest) -> Pending<'a, ClaimReply> {
        Box::pin(Store::claim(self, key, request))
    }

    fn renew<'a>(&'a self, key: &'a Key, owned: &'a Record) -> Pending<'a, Settled> {
        Box::pin(Store::renew(self, key, owned))
    }

    fn finish<'a>(
        &'a self,
        key: &'a Key,
        target: &'a Record,
        retain: Duration,
    ) -> Pending<'a, Settled> {
        Box::pin(Store::finish(self, key, target, retain))
    }

    fn read<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<(Record, Duration)>> {
        Box::pin(Store::read(self, key))
    }

    fn overrule<'a>(
        &'a self,
        key: &'a Key,
        seen: Option<&'a Record>,
        replacement: &'a Record,
        retain: Duration,
    ) -> Pending<'a, Settled> {
        Box::pin(Store::overrule(self, key, seen, replacement, retain))
    }

    fn subscribe<'a>(&'a self, key: &'a Key) -> Pending<'a, Subscription> {
        Box::pin(Store::subscribe(self, key))
    }

    fn local(&self) -> Option<&dyn LocalStore> {
        Store::local(self)
    }

    fn clock(&self) -> Option<u64> {
        Store::clock(self)
    }

    fn needs_io(&self) -> bool {
        Store::needs_io(self)
    }

    fn describe(&self) -> String {
        Store::describe(self)
    }
}
