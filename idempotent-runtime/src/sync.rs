//! The locks, atomics, channels, map and time of the code that many threads enter at once.
//!
//! They are those of std, tokio and dashmap. `tests/races` compiles this crate with
//! `cfg(idempotent_shuttle)`. Then a scheduler stands in for them, and decides at each use which
//! thread goes on.

#[cfg(not(idempotent_shuttle))]
mod real {
    pub(crate) use std::sync::{
        Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
    };

    #[cfg(feature = "memory")]
    pub(crate) use dashmap::SharedValue;
    pub(crate) use dashmap::{DashMap, Entry};
    pub(crate) use tokio::sync::{Notify, watch};

    pub(crate) mod time {
        pub(crate) use tokio::time::{Instant, timeout_at};

        #[inline]
        pub(crate) fn now() -> Instant {
            Instant::now()
        }
    }
}
#[cfg(not(idempotent_shuttle))]
pub(crate) use real::*;

#[cfg(idempotent_shuttle)]
pub(crate) use crate::races::sync::*;

/// `mutant!("what is wrong" => code)`: a fault that `tests/races` turns on to show that it would be
/// found. Nothing else compiles it.
macro_rules! mutant {
    ($fault:literal => $($code:tt)*) => {
        #[cfg(idempotent_shuttle)]
        if crate::races::is_mutant($fault) {
            $($code)*;
        }
    };
}
pub(crate) use mutant;
