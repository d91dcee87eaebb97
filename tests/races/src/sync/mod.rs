//! `sync` for the scheduler: shuttle's locks and atomics, and what the runtime uses of tokio and
//! dashmap, built on them.

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
