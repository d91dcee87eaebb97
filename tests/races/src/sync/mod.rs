//! The runtime's `sync` for the checker: shuttle's locks and atomics, and what the runtime uses of
//! tokio's and dashmap's on top of them.

mod dashmap;
mod notify;
pub(crate) mod time;
pub(crate) mod watch;

pub(crate) use shuttle::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
};

pub(crate) use self::{
    dashmap::{DashMap, Entry, SharedValue},
    notify::Notify,
};
