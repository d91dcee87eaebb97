//! Which store a call uses if it names none.
//!
//! The first of these: [`with_store`](crate::with_store); [`install`]; the environment variable
//! [`STORE_ENV_VAR`]; the one network store compiled in, at its usual local address (two of them are an error); memory.

use std::{env, fmt};

use once_cell::sync::OnceCell;

use crate::{SharedStore, StoreError, StoreErrorKind, error::AlreadyInstalled};

/// The environment variable that names the default store: `redis://…`, `rediss://…`,
/// `redis+cluster://…`, `redis+sentinel://…`, `redis+unix://…`, `postgres://…`, `sqlite:path` or
/// `memory:`. What those of Redis may say is documented at
#[cfg_attr(
    feature = "redis",
    doc = "[`RedisStore::new`](crate::store::RedisStore::new),"
)]
#[cfg_attr(not(feature = "redis"), doc = "`RedisStore::new` (feature `redis`),")]
/// and that of PostgreSQL at
#[cfg_attr(
    feature = "postgres",
    doc = "[`PostgresStore::new`](crate::store::PostgresStore::new)."
)]
#[cfg_attr(
    not(feature = "postgres"),
    doc = "`PostgresStore::new` (feature `postgres`)."
)]
/// The path in `sqlite:records.db`, `sqlite:///var/lib/app/records.db` or the like is a file's;
/// write `%25` for `%` in it.
pub const STORE_ENV_VAR: &str = "IDEMPOTENT_STORE";

static DEFAULT: OnceCell<SharedStore> = OnceCell::new();

/// Makes `store` the default store of this process: a [`SharedStore`], a reference to one, or any
/// [`Store`](crate::Store).
///
/// ```
/// use idempotent_fn::{install, store::MemoryStore};
///
/// # fn main() -> Result<(), idempotent_fn::error::AlreadyInstalled> {
/// install(MemoryStore::bounded(100_000))?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`AlreadyInstalled`] if a default store is in use, from an earlier `install` or because a call
/// has used the one from the environment. So install first thing in `main`.
pub fn install(store: impl Into<SharedStore>) -> Result<(), AlreadyInstalled> {
    match DEFAULT.try_insert(store.into()) {
        Ok(store) => {
            announce(store, By::Install);
            Ok(())
        }
        Err((standing, _)) => Err(AlreadyInstalled {
            standing: standing.describe(),
        }),
    }
}

/// The default store of this process.
///
/// # Errors
/// A text about a mistake in the set-up.
pub(crate) fn get_or_init() -> Result<&'static SharedStore, String> {
    let mut chosen_by = None;
    let store = DEFAULT.get_or_try_init(|| {
        let (store, by) = from_environment()?;
        chosen_by = Some(by);
        Ok::<_, String>(store)
    })?;
    // Only now: a subscriber to events may make calls, which would wait for the store that is being
    // made.
    if let Some(by) = chosen_by {
        announce(store, by);
    }
    Ok(store)
}

/// The default store of this process, if it is in use already.
pub(crate) fn get() -> Option<&'static SharedStore> {
    DEFAULT.get()
}

/// The store, and what chose it.
fn from_environment() -> Result<(SharedStore, By), String> {
    let opened = |named: Result<Named, StoreError>| {
        let named = named.map_err(|error| error.to_string())?;
        Ok::<_, String>(named.shared())
    };
    if let Some(url) = named()? {
        return Ok((opened(from_url(&url))?, By::Environment));
    }
    Ok(match unchosen()? {
        Some((feature, usual)) => {
            let store = opened((usual.open)(usual.url))?;
            (store, By::Nobody(Some((feature, usual.url))))
        }
        None => (memory()?, By::Nobody(None)),
    })
}

/// What chose a store.
#[derive(Clone, Copy)]
enum By {
    Install,
    Environment,
    /// A network store is the default only because its feature is compiled in; its feature and address.
    #[cfg_attr(
        not(feature = "tracing"),
        allow(dead_code, reason = "only an event tells it")
    )]
    Nobody(Option<(&'static str, &'static str)>),
}

/// The value of the environment variable.
fn named() -> Result<Option<String>, String> {
    match env::var(STORE_ENV_VAR) {
        Ok(url) if !url.trim().is_empty() => Ok(Some(url.trim().to_owned())),
        Ok(_) | Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{STORE_ENV_VAR} is not valid Unicode")),
    }
}

// Here and not in `store/`, which does not know which stores there are.
impl SharedStore {
    /// The store that the environment variable `IDEMPOTENT_STORE` names, connected and checked. So
    /// a wrong address, a missing right or an absent server ends `main`, and not the first call.
    ///
    /// It does not become the default store: [`install`] does that.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use idempotent_fn::{SharedStore, install};
    ///
    /// install(SharedStore::from_env().await?)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Config`](StoreErrorKind::Config) if the variable is not set, cannot be read, or names a
    /// store whose feature is off or which is not suitable for records;
    /// [`NotSent`](StoreErrorKind::NotSent) if the store cannot be reached;
    /// [`Refused`](StoreErrorKind::Refused) if it does not let this user in. No error shows a
    /// password.
    pub async fn from_env() -> Result<Self, StoreError> {
        let url = named().map_err(config)?;
        let url =
            url.ok_or_else(|| config(format!("{STORE_ENV_VAR} is not set; set it to {SHAPES}")))?;
        let store = from_url(&url)?;
        store.check().await?;
        Ok(store.shared())
    }
}

/// The forms of the environment variable.
const SHAPES: &str = "redis://…, rediss://…, redis+cluster://…, redis+sentinel://…, redis+unix://… (`valkey` for `redis` \
                      too), postgres://…, sqlite:path or memory:";

fn config(message: impl Into<std::sync::Arc<str>>) -> StoreError {
    StoreError::new(StoreErrorKind::Config, message)
}

/// A kind of store, as URLs name it.
struct Kind {
    is_scheme: fn(&str) -> bool,
    /// What an error calls it whose feature is off.
    called: &'static str,
    feature: &'static str,
    /// The store at a URL, where the feature is on.
    open: Option<Open>,
    /// Where a store behind a network is if nobody says so, where the feature is on.
    usual: Option<Usual>,
}

struct Usual {
    url: &'static str,
    /// The store there, whose errors say that nobody chose it.
    open: Open,
}

type Open = fn(&str) -> Result<Named, StoreError>;

/// Every kind of store that a URL can name.
const KINDS: &[Kind] = &[
    Kind {
        is_scheme: |scheme| scheme == "memory",
        called: "a store in memory",
        feature: "memory",
        open: Some(|_| memory().map(Named::Memory).map_err(config)),
        usual: None,
    },
    Kind {
        #[cfg(feature = "redis")]
        is_scheme: crate::store::redis::is_scheme,
        #[cfg(not(feature = "redis"))]
        is_scheme: |scheme| {
            scheme.starts_with("redis") || scheme.starts_with("valkey") || scheme == "unix"
        },
        called: "a Redis store",
        feature: "redis",
        #[cfg(feature = "redis")]
        open: Some(|url| crate::store::RedisStore::new(url).map(Named::Redis)),
        #[cfg(not(feature = "redis"))]
        open: None,
        #[cfg(feature = "redis")]
        usual: Some(Usual {
            url: "redis://127.0.0.1:6379",
            open: |url| crate::store::RedisStore::by_default(url).map(Named::Redis),
        }),
        #[cfg(not(feature = "redis"))]
        usual: None,
    },
    Kind {
        #[cfg(feature = "postgres")]
        is_scheme: crate::store::sql::postgres::is_scheme,
        #[cfg(not(feature = "postgres"))]
        is_scheme: |scheme| scheme.starts_with("postgres"),
        called: "a PostgreSQL store",
        feature: "postgres",
        #[cfg(feature = "postgres")]
        open: Some(|url| crate::store::PostgresStore::new(url).map(Named::Postgres)),
        #[cfg(not(feature = "postgres"))]
        open: None,
        #[cfg(feature = "postgres")]
        usual: Some(Usual {
            url: "postgres://localhost/",
            open: |url| crate::store::PostgresStore::by_default(url).map(Named::Postgres),
        }),
        #[cfg(not(feature = "postgres"))]
        usual: None,
    },
    Kind {
        is_scheme: |scheme| scheme == "sqlite",
        called: "an SQLite store",
        feature: "sqlite",
        #[cfg(feature = "sqlite-system")]
        open: Some(|url| crate::store::SqliteStore::from_url(url).map(Named::Sqlite)),
        #[cfg(not(feature = "sqlite-system"))]
        open: None,
        usual: None,
    },
];

/// A store that a URL names.
enum Named {
    Memory(SharedStore),
    #[cfg(feature = "redis")]
    Redis(crate::store::RedisStore),
    #[cfg(feature = "postgres")]
    Postgres(crate::store::PostgresStore),
    #[cfg(feature = "sqlite-system")]
    Sqlite(crate::store::SqliteStore),
}

impl Named {
    fn shared(self) -> SharedStore {
        match self {
            Self::Memory(store) => store,
            #[cfg(feature = "redis")]
            Self::Redis(store) => SharedStore::new(store),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => SharedStore::new(store),
            #[cfg(feature = "sqlite-system")]
            Self::Sqlite(store) => SharedStore::new(store),
        }
    }

    /// Connects, and looks whether the store is fit.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "redis", feature = "sqlite-system")),
        expect(clippy::unused_async, reason = "a store in memory needs no connection")
    )]
    async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Memory(_) => Ok(()),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.check().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.check().await,
            #[cfg(feature = "sqlite-system")]
            Self::Sqlite(store) => store.check().await,
        }
    }
}

/// The store with this address. It connects when it is first used.
fn from_url(url: &str) -> Result<Named, StoreError> {
    let scheme = url.split(':').next().unwrap_or_default();
    let kind = KINDS.iter().find(|kind| (kind.is_scheme)(scheme));
    match kind {
        Some(Kind {
            open: Some(open), ..
        }) => open(url),
        Some(Kind {
            called, feature, ..
        }) => Err(config(format!(
            "{STORE_ENV_VAR} names {called}; turn on the feature `{feature}` of idempotent-fn"
        ))),
        None => Err(config(format!(
            "{STORE_ENV_VAR} names a store of an unknown kind; use {SHAPES}"
        ))),
    }
}

/// The one network store that is compiled in, by its feature.
fn unchosen() -> Result<Option<(&'static str, &'static Usual)>, String> {
    let mut compiled_in = KINDS
        .iter()
        .filter_map(|kind| Some((kind.feature, kind.usual.as_ref()?)));
    let first = compiled_in.next();
    match (first, compiled_in.next()) {
        (Some((one, _)), Some((other, _))) => Err(format!(
            "the features `{one}` and `{other}` are both compiled in, and nobody has said which store to use: set {STORE_ENV_VAR}, \
             or call `install`"
        )),
        (first, _) => Ok(first),
    }
}

#[cfg(feature = "memory")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn memory() -> Result<SharedStore, String> {
    Ok(SharedStore::new(crate::store::MemoryStore::new()))
}

#[cfg(not(feature = "memory"))]
fn memory() -> Result<SharedStore, String> {
    Err(
        "there is no store: turn on a store's feature (`memory`, `redis`, `postgres`), or call `install`"
            .to_owned(),
    )
}

/// Announces the default store once. A network store that nobody chose is a warning: any crate of
/// the program may have turned on its feature, and other processes may use it too.
fn announce(store: &impl fmt::Debug, by: By) {
    #[cfg(feature = "tracing")]
    match by {
        By::Nobody(Some((feature, url))) => tracing::warn!(
            target: "idempotent_fn",
            ?store,
            by = "nobody",
            "default store: nobody chose one; the feature `{feature}` made it {url}. Set {STORE_ENV_VAR}, or call `install`"
        ),
        By::Nobody(None) => {
            tracing::info!(target: "idempotent_fn", ?store, by = "nobody", "default store");
        }
        By::Environment => {
            tracing::info!(target: "idempotent_fn", ?store, by = STORE_ENV_VAR, "default store");
        }
        By::Install => {
            tracing::info!(target: "idempotent_fn", ?store, by = "install", "default store");
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (store, by);
}
