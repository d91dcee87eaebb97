//! What is bounded: time, memory, the size of futures, and the work owed to a store.

#[path = "../common/mod.rs"]
mod common;

mod future_size;
#[cfg(target_os = "linux")]
mod lengths;
#[cfg(feature = "memory")]
mod nesting;
mod owed;
mod timeout;
mod tokio_time;
