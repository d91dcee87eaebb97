//! What operators count.

use std::sync::atomic::{AtomicU64, Ordering};

use super::SharedStore;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// What happened in one store, counted since the process started.
        #[derive(Debug, Default)]
        pub struct Counters { $($name: AtomicU64,)* }

        impl Counters {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> u64 { self.$name.load(Ordering::Relaxed) })*
        }

        $(pub(crate) fn $name(store: &SharedStore) { store.counters().$name.fetch_add(1, Ordering::Relaxed); })*
    };
}

counters! {
    /// Bodies that were run to their end and answered.
    ran
    /// Leases taken over from a silent owner.
    taken_over
    /// Finishes and renews that were refused because another attempt owns the record.
    stale
    /// Results handed to their caller before the store had acknowledged them.
    unrecorded
    /// Records that were gone while their owner was alive, and were put back.
    record_lost
}
