//! What the stores behind a network share: connections of each runtime, made in tasks.

#[cfg_attr(
    not(feature = "redis"),
    allow(
        dead_code,
        reason = "PostgreSQL puts the times into its records itself"
    )
)]
pub(crate) mod clock;
pub(crate) mod per_runtime;
pub(crate) mod shared_try;
pub(crate) mod slot;
#[cfg(feature = "tls")]
pub(crate) mod tls;
