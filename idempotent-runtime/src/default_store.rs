//! Which store a call goes to when it names none.
//!
//! In this order: [`with_store`](crate::with_store); [`install`]; the environment variable [`ENV`]; the one network store
//! compiled in, at its usual local address; memory.

use std::{env, fmt, ops::Deref};

use once_cell::sync::OnceCell;

use crate::SharedStore;

/// The environment variable that names the default store: `redis://…`, `rediss://…`, `redis+unix://…` or `memory:`.
pub const ENV: &str = "IDEMPOTENT_STORE";

static DEFAULT: OnceCell<SharedStore> = OnceCell::new();

/// Makes `store` the default store of this process.
///
/// # Errors
/// [`AlreadyInstalled`] when a default store is in use: by an earlier `install`, or because a call has already used the
/// one from the environment. Install first thing in `main`.
pub fn install(store: SharedStore) -> Result<(), AlreadyInstalled> {
    match DEFAULT.try_insert(store) {
        Ok(store) => {
            announce(store, "install");
            Ok(())
        }
        Err((standing, _)) => Err(AlreadyInstalled {
            standing: standing.describe(),
        }),
    }
}

/// A default store is in use already.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "a default store is in use already ({standing}); call `install` before the first idempotent call"
)]
pub struct AlreadyInstalled {
    standing: String,
}

/// The default store of this process.
///
/// # Errors
/// A text that says what is set up wrongly.
pub(crate) fn standing() -> Result<&'static SharedStore, String> {
    let mut chosen_by = None;
    let store = DEFAULT.get_or_try_init(|| {
        let (store, by) = from_environment()?;
        chosen_by = Some(by);
        Ok::<_, String>(store)
    })?;
    // Only now: who listens to events may make calls, and would wait for the store that is being made.
    if let Some(by) = chosen_by {
        announce(store, by);
    }
    Ok(store)
}

/// A store that was chosen for one call. The process' default store is not cloned: that would be a count that all threads
/// share.
pub(crate) enum Chosen {
    /// By the call, or around it by `with_store`.
    Named(SharedStore),
    Standing(&'static SharedStore),
}

impl Deref for Chosen {
    type Target = SharedStore;

    fn deref(&self) -> &SharedStore {
        match self {
            Self::Named(store) => store,
            Self::Standing(store) => store,
        }
    }
}

/// The store, and what chose it.
fn from_environment() -> Result<(SharedStore, &'static str), String> {
    Ok(match env::var(ENV) {
        Ok(url) if !url.trim().is_empty() => (from_url(url.trim())?, ENV),
        Ok(_) | Err(env::VarError::NotPresent) => (compiled_in()?, "the features compiled in"),
        Err(env::VarError::NotUnicode(_)) => return Err(format!("{ENV} is not valid Unicode")),
    })
}

/// The store with this address, connected to when it is first used.
fn from_url(url: &str) -> Result<SharedStore, String> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "memory" => memory(),
        #[cfg(feature = "redis")]
        scheme if crate::store::redis::is_scheme(scheme) => {
            crate::store::redis::RedisStore::new(url)
                .map(SharedStore::new)
                .map_err(|error| error.to_string())
        }
        #[cfg(not(feature = "redis"))]
        scheme
            if scheme.starts_with("redis") || scheme.starts_with("valkey") || scheme == "unix" =>
        {
            Err(format!(
                "{ENV} names a Redis store; turn on the feature `redis` of idempotent-fn"
            ))
        }
        _ => Err(format!(
            "{ENV} names a store of an unknown kind; use redis://…, rediss://…, redis+cluster://…, redis+sentinel://…, \
             redis+unix://… (`valkey` for `redis` too) or memory:"
        )),
    }
}

/// The one network store compiled in, or else memory.
#[cfg(feature = "redis")]
fn compiled_in() -> Result<SharedStore, String> {
    from_url("redis://127.0.0.1:6379/")
}

#[cfg(not(feature = "redis"))]
fn compiled_in() -> Result<SharedStore, String> {
    memory()
}

#[cfg(feature = "memory")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn memory() -> Result<SharedStore, String> {
    Ok(SharedStore::new(crate::store::MemoryStore::new()))
}

#[cfg(not(feature = "memory"))]
fn memory() -> Result<SharedStore, String> {
    Err(
        "there is no store: turn on a store's feature (`memory`, `redis`), or call `install`"
            .to_owned(),
    )
}

fn announce(store: &impl fmt::Debug, by: &str) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "idempotent_fn", ?store, by, "default store");
    #[cfg(not(feature = "tracing"))]
    let _ = (store, by);
}
