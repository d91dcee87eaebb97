//! The clock of a memory store.

use std::{
    cmp, fmt,
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::time::Instant as TokioInstant;

use crate::{
    record::MAX_TOKEN,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// The latest time of a manual clock, in µs since 1970: some days before the largest token.
const MAX_TIME: u64 = MAX_TOKEN - (1 << 40);

/// A clock that stands still until a test moves it.
///
/// If you advance it by a lease or more in one step while a body is pending, the owner counts as
/// silent, and a duplicate takes over. To avoid that, give the operation a long lease or
/// `on_crash = fail`. Or advance in steps shorter than a third of the lease and let the owner renew
/// in between, which it does by Tokio's clock.
///
/// ```
/// # use std::time::Duration;
/// use idempotent_fn::store::{ManualClock, MemoryStore};
///
/// let clock = ManualClock::new();
/// let store = MemoryStore::with_clock(&clock);
/// clock.advance(Duration::from_secs(24 * 60 * 60)); // every result recorded so far is past its `ttl`
/// # let _ = store;
/// ```
#[cfg(feature = "memory")]
#[derive(Clone, Default)]
pub struct ManualClock {
    shared: Arc<Manual>,
}

#[derive(Default)]
struct Manual {
    micros: AtomicU64,
    /// Called when the clock moves: waiters for a lapse must check again.
    moved: Mutex<Vec<Listener>>,
}

type Listener = Arc<dyn Fn() + Send + Sync>;

impl ManualClock {
    /// A clock at the present time.
    #[must_use]
    pub fn new() -> Self {
        let clock = Self::default();
        clock.shared.micros.store(unix_micros(), Ordering::SeqCst);
        clock
    }

    /// The time that it shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.shared.micros.load(Ordering::SeqCst))
    }

    /// Moves the clock forward, at most to the year 2255, and wakes all waiters.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        let add = |now: u64| Some(cmp::min(now.saturating_add(micros), MAX_TIME));
        // `fetch_update` fails only where the closure returns `None`.
        let _ = self
            .shared
            .micros
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
        // Called after the lock is released: a waker may run anybody's code, this function too.
        let moved = self.listeners().clone();
        for listener in moved {
            listener();
        }
    }

    pub(crate) fn on_advance(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.listeners().push(Arc::new(listener));
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        let moved = self.shared.moved.lock();
        moved.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock")
            .field("micros", &self.shared.micros)
            .finish_non_exhaustive()
    }
}

/// Microseconds since 1970, never going back: the system's time when the clock was made, plus
/// monotonic time since.
#[derive(Clone, Debug)]
pub(crate) enum MemoryClock {
    System {
        start: Instant,
        coarse_start: coarsetime::Instant,
        unix: u64,
    },
    Manual(ManualClock),
    /// Tokio's clock, which tests may pause.
    Tokio {
        start: TokioInstant,
        unix: u64,
    },
}

impl MemoryClock {
    pub(crate) fn tokio() -> Self {
        Self::Tokio {
            start: TokioInstant::now(),
            unix: unix_micros(),
        }
    }

    pub(crate) fn system() -> Self {
        Self::System {
            start: Instant::now(),
            coarse_start: coarsetime::Instant::now_without_cache_update(),
            unix: unix_micros(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::System { start, unix, .. } => {
                let since = start.elapsed();
                unix + since.as_secs() * 1_000_000 + u64::from(since.subsec_micros())
            }
            Self::Manual(clock) => clock.shared.micros.load(Ordering::SeqCst),
            Self::Tokio { start, unix } => {
                let since = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
                cmp::min(unix.saturating_add(since), MAX_TIME)
            }
        }
    }

    /// A coarse time, some milliseconds old, at a quarter of the cost.
    pub(crate) fn recent(&self) -> u64 {
        match self {
            Self::System {
                coarse_start, unix, ..
            } => {
                let now = coarsetime::Instant::now_without_cache_update();
                unix + now.duration_since(*coarse_start).as_micros()
            }
            Self::Manual(_) | Self::Tokio { .. } => self.now(),
        }
    }
}

pub(crate) fn unix_micros() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}
