//! Counters for operators: every turn of a call, by operation and in all.
//!
//! A turn is counted once, for its operation, and summed on request. So a call pays for one
//! addition, in a shard that few other threads use.

#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::Error;

/// How many operations one store counts separately. Later ones share one entry.
const SCOPES: usize = 256;
/// The scope of that shared entry.
const OTHERS: &str = "(other scopes)";
/// The number of shards. More threads than this share them.
const SHARDS: usize = 8;

macro_rules! turns {
    ($($(#[$doc:meta])* $name:ident $turn:ident)*) => {
        /// A turn that a call takes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Turn { $($turn,)* }

        const TURNS: usize = [$(Turn::$turn,)*].len();

        /// The counts of one operation or of all, at one moment.
        ///
        /// ```
        /// # use idempotent_fn::{operation, Error, SharedStore, store::MemoryStore};
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), Error> {
        /// let store = SharedStore::new(MemoryStore::new());
        /// for _ in 0..3 {
        ///     let charge = operation::<Result<u64, Error>, _>("payments.charge", &[&"order-42"]);
        ///     charge.store(&store).run(async { Ok(4711) }).await?;
        /// }
        /// let counts = store.counters().scope("payments.charge");
        /// assert_eq!((counts.ran, counts.replayed()), (1, 2));
        /// assert_eq!(store.counters().all(), counts);
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        impl Counts {
            fn add(&mut self, entry: &Entry) {
                $(self.$name += entry.sum(Turn::$turn);)*
            }
        }

        impl Counters {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> u64 { self.all().$name })*
        }
    };
}

turns! {
    /// Bodies that were run to their end and answered.
    ran Ran
    /// Bodies that ran to their end without a key, which is optional: nothing is recorded. They are
    /// counted in the store that a call with a key would use, or nowhere while no default store is
    /// in use.
    unprotected Unprotected
    /// Recorded results that were replayed from the store.
    replayed_by_store ReplayedByStore
    /// Recorded results that were replayed from the near cache.
    replayed_by_near_cache ReplayedByNearCache
    /// Recorded results that another call of this process had fetched or recorded while this one
    /// waited for it.
    replayed_by_flight ReplayedByFlight
    /// Recorded results of a successor, answered by a call that had been overtaken.
    adopted Adopted
    /// Calls that waited for another call with their key, whatever came of it.
    waited Waited
    /// Calls refused with [`Error::InFlight`](crate::Error::InFlight).
    in_flight InFlight
    /// Calls refused with [`Error::KeyReused`](crate::Error::KeyReused).
    key_reused KeyReused
    /// Calls refused with [`Error::Indeterminate`](crate::Error::Indeterminate).
    indeterminate Indeterminate
    /// Calls refused with [`Error::Reentrant`](crate::Error::Reentrant).
    reentrant Reentrant
    /// Calls refused with [`Error::Incompatible`](crate::Error::Incompatible).
    incompatible Incompatible
    /// Calls refused with [`Error::NotRecorded`](crate::Error::NotRecorded).
    not_recorded NotRecorded
    /// Calls that ended with [`Error::Superseded`](crate::Error::Superseded).
    superseded Superseded
    /// Calls refused with [`Error::InvalidKey`](crate::Error::InvalidKey).
    invalid_key InvalidKey
    /// Calls refused with [`Error::Unavailable`](crate::Error::Unavailable): the store could not be
    /// asked.
    unavailable Unavailable
    /// Calls refused with [`Error::Config`](crate::Error::Config).
    misconfigured Misconfigured
    /// Bodies that were stopped because their `timeout` was over.
    timed_out TimedOut
    /// Bodies that panicked, also where their caller had gone, and results whose `on_err`, `ttl` or
    /// encoding did. The panic goes on to whoever polls.
    panicked Panicked
    /// Leases taken over from a silent owner.
    taken_over TakenOver
    /// Finishes and renews that were refused because another attempt owns the record.
    stale Stale
    /// Results handed to their caller before the store had acknowledged them.
    unrecorded Unrecorded
    /// Outcomes that the store has acknowledged later, in the background.
    recorded_later RecordedLater
    /// Results that could not be recorded, because they are too large or cannot be encoded. Their
    /// replays are `NotRecorded`.
    not_recordable NotRecordable
    /// Records that were gone while their owner was alive, and were put back.
    record_lost RecordLost
    /// Claims and outcomes that were owed to the store and given up, because too many were owed or
    /// for too long. The lease settles them.
    owed_dropped OwedDropped
}

impl Turn {
    /// The turn of a call refused with this error.
    pub(crate) const fn of(error: &Error) -> Self {
        match error {
            Error::InFlight { .. } => Self::InFlight,
            Error::KeyReused { .. } => Self::KeyReused,
            Error::Indeterminate { .. } => Self::Indeterminate,
            Error::Reentrant { .. } => Self::Reentrant,
            Error::Incompatible { .. } => Self::Incompatible,
            Error::NotRecorded { .. } => Self::NotRecorded,
            Error::Superseded { .. } => Self::Superseded,
            Error::InvalidKey { .. } => Self::InvalidKey,
            Error::Unavailable { .. } => Self::Unavailable,
            // No call through a store is refused with the others: only decisions by hand, and calls in a caller's
            // transaction.
            Error::Config { .. }
            | Error::AlreadyRecorded { .. }
            | Error::Uncommitted { .. }
            | Error::TransactionEnded { .. } => Self::Misconfigured,
            Error::TimedOut { .. } => Self::TimedOut,
        }
    }
}

impl Counts {
    /// All replayed results, wherever they were found.
    #[must_use]
    pub const fn replayed(&self) -> u64 {
        self.replayed_by_store + self.replayed_by_near_cache + self.replayed_by_flight
    }

    /// All calls that this library refused, instead of the body answering.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.in_flight
            + self.key_reused
            + self.indeterminate
            + self.reentrant
            + self.incompatible
            + self.not_recorded
            + self.superseded
            + self.invalid_key
            + self.unavailable
            + self.misconfigured
            + self.timed_out
    }
}

/// The counters of one store, since it was made. Namespaces are counted together.
///
/// A method named like a field of [`Counts`] returns that field of [`all`](Self::all).
pub struct Counters {
    entries: Box<[OnceLock<Box<Entry>>]>,
    others: Entry,
    owed: AtomicUsize,
}

impl Counters {
    /// The sum over all operations.
    #[must_use]
    pub fn all(&self) -> Counts {
        self.sum(|_| true)
    }

    /// The counts of the operation with this scope.
    ///
    /// The first 256 operations of a store are counted separately, later ones as one
    /// (`"(other scopes)"`).
    #[must_use]
    pub fn scope(&self, scope: &str) -> Counts {
        self.sum(|counted| counted == scope)
    }

    /// The scopes counted so far, each once, in no particular order.
    #[must_use]
    pub fn scopes(&self) -> Vec<&'static str> {
        let mut scopes: Vec<_> = self.entries().map(|entry| entry.scope).collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }

    /// How much is owed to the store right now, in the background: claims without an answer, and
    /// outcomes that the store has not acknowledged. It is bounded: see
    /// [`owed_dropped`](Self::owed_dropped).
    #[must_use]
    pub fn owed(&self) -> usize {
        self.owed.load(Ordering::Relaxed)
    }

    fn sum(&self, takes: impl Fn(&str) -> bool) -> Counts {
        let mut counts = Counts::default();
        for entry in self.entries().filter(|entry| takes(entry.scope)) {
            counts.add(entry);
        }
        counts
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.iter().filter_map(OnceLock::get);
        let others = Some(&self.others).filter(|others| !others.is_empty());
        entries.map(|entry| &**entry).chain(others)
    }

    #[inline]
    pub(crate) fn count(&self, scope: &'static str, turn: Turn) {
        self.entry(scope).add(turn);
    }

    /// A scope's entry. It is identified by address: the same text at two addresses has two
    /// entries, which are summed on request.
    #[inline]
    fn entry(&self, scope: &'static str) -> &Entry {
        let at = hash(scope);
        match self.entries[at].get() {
            Some(entry) if entry.is(scope) => entry,
            _ => self.look_up(scope, at),
        }
    }

    #[cold]
    fn look_up(&self, scope: &'static str, at: usize) -> &Entry {
        for step in 0..SCOPES {
            let slot = &self.entries[(at + step) % SCOPES];
            let entry = slot.get_or_init(|| Box::new(Entry::new(scope)));
            if entry.is(scope) {
                return entry;
            }
        }
        &self.others
    }

    /// Counts one more owed item, unless `limit` are owed already.
    pub(crate) fn owe(&self, limit: usize) -> bool {
        let more = |owed: usize| (owed < limit).then_some(owed + 1);
        self.owed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    pub(crate) fn settle(&self) {
        self.owed.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            entries: (0..SCOPES).map(|_| OnceLock::new()).collect(),
            others: Entry::new(OTHERS),
            owed: AtomicUsize::new(0),
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters")
            .field("all", &self.all())
            .field("owed", &self.owed())
            .finish_non_exhaustive()
    }
}

fn hash(scope: &'static str) -> usize {
    // The high bits, because addresses are aligned and close together.
    let mixed = (scope.as_ptr().addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::from(mixed.to_le_bytes()[7]) % SCOPES
}

struct Entry {
    scope: &'static str,
    shards: [Shard; SHARDS],
}

/// At least one cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Shard([AtomicU64; TURNS]);

impl Entry {
    fn new(scope: &'static str) -> Self {
        Self {
            scope,
            shards: Default::default(),
        }
    }

    #[inline]
    fn is(&self, scope: &'static str) -> bool {
        std::ptr::eq(self.scope, scope)
    }

    #[inline]
    fn add(&self, turn: Turn) {
        self.shards[shard()].0[turn as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self, turn: Turn) -> u64 {
        let counted = |shard: &Shard| shard.0[turn as usize].load(Ordering::Relaxed);
        self.shards.iter().map(counted).sum()
    }

    fn is_empty(&self) -> bool {
        let mut counts = Counts::default();
        counts.add(self);
        counts == Counts::default()
    }
}

thread_local! {
    /// The shard of this thread.
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[inline]
fn shard() -> usize {
    let shard = SHARD.get();
    if shard < SHARDS {
        shard
    } else {
        choose_shard()
    }
}

#[cold]
fn choose_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    SHARD.set(shard);
    shard
}
