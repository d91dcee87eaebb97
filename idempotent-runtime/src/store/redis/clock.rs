//! The server's time, as it was last learned.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// This process' clocks may drift apart by this much before the server is asked again: a machine that slept has a
/// monotonic clock that did not count.
const DRIFT: u64 = 1_000_000;

/// How long what was learned is good for more than tokens: until then the clocks' rates part by microseconds.
const FRESH: u64 = 5_000_000;

/// Tells the server's time without asking, for the token of a fresh claim.
///
/// It is learned at every connect and in every script's answer, and goes on with the monotonic clock. It is behind the
/// server's by the time an answer takes, so it is no measure for leases: the server judges those.
pub(super) struct Clock {
    origin: Instant,
    /// The server's time at `origin`, µs since 1970; 0 while unknown.
    ahead: AtomicU64,
    /// The wall clock's time at `origin`, as it was when the server's was learned.
    wall: AtomicI64,
    /// When it was learned, µs since `origin`.
    learned: AtomicU64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            ahead: AtomicU64::new(0),
            wall: AtomicI64::new(0),
            learned: AtomicU64::new(0),
        }
    }

    /// Takes over the server's time, µs since 1970.
    pub(super) fn learn(&self, server: u64) {
        let elapsed = micros(self.origin.elapsed());
        self.wall.store(wall_origin(elapsed), Ordering::Relaxed);
        self.learned.store(elapsed, Ordering::Relaxed);
        self.ahead
            .store(server.saturating_sub(elapsed), Ordering::Relaxed);
    }

    /// The server's time, µs since 1970; none while it is unknown, or after this machine has slept.
    pub(super) fn now(&self) -> Option<u64> {
        self.at(micros(self.origin.elapsed()))
    }

    /// As [`now`](Self::now), and none where it was not learned just now.
    pub(super) fn fresh(&self) -> Option<u64> {
        let elapsed = micros(self.origin.elapsed());
        let since = elapsed.saturating_sub(self.learned.load(Ordering::Relaxed));
        self.at(elapsed).filter(|_| since <= FRESH)
    }

    fn at(&self, elapsed: u64) -> Option<u64> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let drift = wall_origin(elapsed).abs_diff(self.wall.load(Ordering::Relaxed));
        (ahead != 0 && drift <= DRIFT).then(|| ahead + elapsed)
    }
}

/// The wall clock's time when this process' clock began, were both to run alike.
fn wall_origin(elapsed: u64) -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    micros(now).cast_signed() - elapsed.cast_signed()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_time_is_not_told() {
        assert_eq!(Clock::new().now(), None);
    }

    #[test]
    fn a_learned_time_goes_on() {
        let clock = Clock::new();
        clock.learn(1_700_000_000_000_000);
        let first = clock.now().expect("learned");
        assert!(first >= 1_700_000_000_000_000);
        assert!(clock.now().expect("learned") >= first);
    }

    #[test]
    fn a_machine_that_slept_asks_again() {
        let clock = Clock::new();
        clock.learn(1_700_000_000_000_000);
        // The wall clock went on while the monotonic one stood still.
        clock.wall.fetch_sub(2_000_000, Ordering::Relaxed);
        assert_eq!(clock.now(), None);
        clock.learn(1_700_000_100_000_000);
        assert!(clock.now().is_some());
    }

    #[test]
    fn what_was_learned_long_ago_is_not_fresh() {
        let begun = Instant::now().checked_sub(Duration::from_secs(6));
        let clock = Clock {
            origin: begun.expect("the machine has been up for so long"),
            ..Clock::new()
        };
        assert_eq!(clock.fresh(), None);
        clock.learn(1_700_000_000_000_000);
        assert!(clock.fresh().is_some());
        clock.learned.store(0, Ordering::Relaxed);
        assert_eq!(clock.fresh(), None);
        assert!(clock.now().is_some());
    }
}
