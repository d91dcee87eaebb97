//! The server's time, extrapolated from what was last learned.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// How far this process' two clocks may drift apart before the server is asked again. A machine
/// that slept has a monotonic clock that stood still.
const MAX_DRIFT: u64 = 1_000_000;

/// How long a learned time is good for an end of retention: the clocks' rates differ by
/// microseconds until then.
const FRESH_FOR: u64 = 5_000_000;

/// How long a learned time is good for tokens: clocks whose rates differ by a ten-thousandth differ
/// by a third of a second until then.
const RECENT_FOR: u64 = 3_600_000_000;

/// Tells a server's time without a command, for the token of a fresh claim.
///
/// It learns the time at every connect and from every script's answer, and continues with the
/// monotonic clock. It lags the server by the time that an answer takes. So it does not judge
/// leases: the server does.
///
/// It never goes back: a slower answer, or a server whose time was set back, changes nothing. A
/// fresh claim's token must be above that of every removed record. A removed record was kept past
/// its end for its grace, 30 seconds at least. A claim in that time meets the record, and a script
/// derives its token from the record's. So a clock may be wrong by nearly that long. That is more
/// than an answer takes, and more than the clocks of a cluster's nodes differ, between which a slot
/// may move. Each node has a clock of its own, and nothing compares two.
pub(crate) struct Clock {
    origin: Instant,
    /// A lower bound of the server's time at `origin`, µs since 1970; 0 while unknown.
    ahead: AtomicU64,
    /// An upper bound of the server's time at `origin`: as if the latest answer had been given when
    /// it was asked for.
    latest: AtomicU64,
    /// The wall clock's time at `origin`, computed when the server's time was learned.
    wall: AtomicI64,
    /// When it was learned, µs since `origin`.
    learned: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            ahead: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            wall: AtomicI64::new(0),
            learned: AtomicU64::new(0),
        }
    }

    /// Learns the server's time, µs since 1970, from an answer to a command sent at `asked`.
    pub(crate) fn learn(&self, server: u64, asked: Instant) {
        let elapsed = micros(self.origin.elapsed());
        let trip = micros(asked.elapsed());
        self.wall.store(wall_origin(elapsed), Ordering::Relaxed);
        self.learned.store(elapsed, Ordering::Relaxed);
        self.latest.store(
            server.saturating_add(trip).saturating_sub(elapsed),
            Ordering::Relaxed,
        );
        self.ahead
            .fetch_max(server.saturating_sub(elapsed), Ordering::Relaxed);
    }

    /// The server's time, µs since 1970, or a little earlier. `None` while it is unknown, or after
    /// this machine has slept.
    pub(crate) fn now(&self) -> Option<u64> {
        self.server_time_at(micros(self.origin.elapsed()))
    }

    /// As [`now`](Self::now), for a token: `None` if it was learned too long ago.
    pub(crate) fn recent(&self) -> Option<u64> {
        let elapsed = micros(self.origin.elapsed());
        self.server_time_at(elapsed)
            .filter(|_| self.age(elapsed) <= RECENT_FOR)
    }

    /// The server's time, µs since 1970, or a little later. `None` unless it was learned just now.
    pub(crate) fn fresh(&self) -> Option<u64> {
        let elapsed = micros(self.origin.elapsed());
        let now = self
            .server_time_at(elapsed)
            .filter(|_| self.age(elapsed) <= FRESH_FOR)?;
        Some(now.max(self.latest.load(Ordering::Relaxed).saturating_add(elapsed)))
    }

    fn age(&self, elapsed: u64) -> u64 {
        elapsed.saturating_sub(self.learned.load(Ordering::Relaxed))
    }

    fn server_time_at(&self, elapsed: u64) -> Option<u64> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let drift = wall_origin(elapsed).abs_diff(self.wall.load(Ordering::Relaxed));
        (ahead != 0 && drift <= MAX_DRIFT).then(|| ahead + elapsed)
    }
}

/// The wall clock's time at `origin`, if both clocks run alike.
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

    const THEN: u64 = 1_700_000_000_000_000;
    const SECOND: u64 = 1_000_000;

    #[test]
    fn an_unknown_time_is_not_told() {
        assert_eq!(Clock::new().now(), None);
    }

    #[test]
    fn a_learned_time_goes_on() {
        let clock = Clock::new();
        clock.learn(THEN, Instant::now());
        let first = clock.now().expect("learned");
        assert!(first >= THEN);
        assert!(clock.now().expect("learned") >= first);
    }

    /// A late answer tells a time that is earlier than the known one. So does a server that was set
    /// back.
    #[test]
    fn a_learned_time_never_goes_back() {
        let clock = Clock::new();
        clock.learn(THEN, Instant::now());
        for earlier in [1, 950_000, 10 * SECOND] {
            clock.learn(THEN - earlier, Instant::now());
            assert!(clock.now().expect("learned") >= THEN);
        }
        clock.learn(THEN + SECOND, Instant::now());
        assert!(clock.now().expect("learned") >= THEN + SECOND);
    }

    /// An end of retention computed from it is never early.
    #[test]
    fn a_fresh_time_is_not_behind_the_servers() {
        let clock = Clock::new();
        let asked = Instant::now().checked_sub(Duration::from_secs(2));
        clock.learn(THEN, asked.expect("the machine has been up for so long"));
        assert!(clock.fresh().expect("learned") >= THEN + 2 * SECOND);
        let now = clock.now().expect("learned");
        assert!(now < THEN + 2 * SECOND, "{now}");
    }

    #[test]
    fn a_machine_that_slept_asks_again() {
        let clock = Clock::new();
        clock.learn(THEN, Instant::now());
        // The wall clock went on while the monotonic one stood still.
        clock.wall.fetch_sub(2_000_000, Ordering::Relaxed);
        assert_eq!(clock.now(), None);
        clock.learn(THEN + 100 * SECOND, Instant::now());
        assert!(clock.now().is_some());
    }

    #[test]
    fn what_was_learned_long_ago_is_not_fresh_and_later_not_recent() {
        let clock = Clock::new();
        clock.learn(THEN, Instant::now());
        assert!(clock.fresh().is_some() && clock.recent().is_some());
        for (age, recent) in [(FRESH_FOR + SECOND, true), (RECENT_FOR + SECOND, false)] {
            let aged = Clock {
                origin: Instant::now()
                    .checked_sub(Duration::from_micros(age))
                    .expect("the machine has been up for so long"),
                ahead: AtomicU64::new(THEN),
                ..Clock::new()
            };
            let wall = wall_origin(micros(aged.origin.elapsed()));
            aged.wall.store(wall, Ordering::Relaxed);
            assert_eq!(aged.fresh(), None);
            assert_eq!(aged.recent().is_some(), recent);
            assert!(aged.now().is_some());
        }
    }
}
