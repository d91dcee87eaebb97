//! Deadlines by two clocks, for the near cache.

use std::time::{Duration, Instant, SystemTime};

/// A point in time by two clocks. The monotonic clock may stop while the machine sleeps, and the
/// wall clock may be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    monotonic: Instant,
    wall: SystemTime,
}

impl Deadline {
    /// The present, by both clocks.
    pub(super) fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// The deadline `by` later. `None` if a clock cannot represent it.
    pub(super) fn after(self, by: Duration) -> Option<Self> {
        Some(Self {
            monotonic: self.monotonic.checked_add(by)?,
            wall: self.wall.checked_add(by)?,
        })
    }

    /// Whether it has passed by either clock.
    pub(super) fn has_passed(self, now: Self) -> bool {
        now.monotonic >= self.monotonic || now.wall >= self.wall
    }
}

/// The time since 1970 by this machine's wall clock.
pub(super) fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
impl Deadline {
    /// Combines the monotonic time of one with the wall time of the other.
    pub(super) fn by(monotonic: Self, wall: Self) -> Self {
        Self {
            monotonic: monotonic.monotonic,
            wall: wall.wall,
        }
    }
}
