//! What the runtime's sources stand on here, in place of std, tokio and dashmap.

pub(crate) mod clock;
pub(crate) mod dashmap;
pub(crate) mod notify;
pub(crate) mod time;
pub(crate) mod watch;

pub(crate) mod std {
    pub(crate) use ::std::{collections, fmt, hash, mem, num, time};

    pub(crate) mod sync {
        pub(crate) use ::std::sync::{Arc, PoisonError};
        pub(crate) use shuttle::sync::{
            Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
        };
    }
}

pub(crate) mod tokio {
    pub(crate) use super::time;

    pub(crate) mod sync {
        pub(crate) use crate::shim::{notify::Notify, watch};
    }
}
