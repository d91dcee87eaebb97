//! The annotated functions. Both have one scope: one process uses the first, and a later deploy the
//! second.

use std::time::Duration;

use idempotent_fn::{Error, idempotent};

use crate::{
    body::{self, End},
    setting,
};

/// Effects at least once.
#[idempotent(
    scope = "processes.charge",
    key = key,
    lease = setting("LEASE", Duration::from_secs(60)),
    ttl = setting("TTL", Duration::from_secs(3600)),
    wait = setting("WAIT", Duration::from_secs(50)),
)]
pub async fn rerun(key: String, call: String, end: End) -> Result<String, Error> {
    body::run(&key, call, end).await
}

/// Effects at most once.
#[idempotent(
    scope = "processes.charge",
    key = key,
    lease = setting("LEASE", Duration::from_secs(60)),
    ttl = setting("TTL", Duration::from_secs(3600)),
    wait = setting("WAIT", Duration::from_secs(50)),
    on_crash = fail,
)]
pub async fn fail(key: String, call: String, end: End) -> Result<String, Error> {
    body::run(&key, call, end).await
}
