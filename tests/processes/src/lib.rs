//! The worker process: one operation in two variants with different `on_crash`, and a body whose
//! effect is counted outside of the store and whose end the test decides.

// A command that makes no sense must end the worker, and so the test, at once.
#![allow(
    clippy::missing_panics_doc,
    reason = "a test program says by a panic what went wrong"
)]

pub mod body;
pub mod calls;
pub mod functions;
pub mod serve;

use std::{io::Write, time::Duration};

use idempotent_fn::{
    SharedStore, StoreError,
    store::{RedisOptions, RedisStore},
};

/// A duration in milliseconds from the environment: how the tests deploy another `ttl`, `lease` or
/// `wait`.
#[must_use]
pub fn setting(name: &str, default: Duration) -> Duration {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .map_or(default, Duration::from_millis)
}

/// Says a line to the test, at once.
pub fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    // Whoever listened may be gone: so will this process be.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// The store that the arguments name: `one URL`, `cluster URL…`, `sentinel MASTER URL…`.
pub fn store(arguments: &[String]) -> Result<SharedStore, StoreError> {
    let options =
        RedisOptions::new().with_response_timeout(setting("ANSWER", Duration::from_secs(2)));
    let store: RedisStore = match arguments {
        [kind, url] if kind == "one" => options.open(url)?,
        [kind, urls @ ..] if kind == "cluster" => options.open_cluster(urls)?,
        [kind, master, urls @ ..] if kind == "sentinel" => options.open_sentinel(urls, master)?,
        _ => panic!("say `one URL`, `cluster URL…` or `sentinel MASTER URL…`, not {arguments:?}"),
    };
    Ok(SharedStore::new(store))
}
