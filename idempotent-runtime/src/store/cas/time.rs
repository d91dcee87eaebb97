//! Which clock a time is from, and how far clocks may differ.

use std::time::{Duration, SystemTime};

/// The time, and how far the clocks of two processes that use the same table may be apart.
///
/// # What a clock must promise
/// Leases and ends are counted from a time that one process wrote to a time that another process
/// reads. So it does not matter whether a clock is right, but how far any two clocks that write to
/// the table differ: their **bound**. The bound makes everything later, never earlier:
///
/// | | judged by a clock with bound *b* |
/// |---|---|
/// | a silent owner is overtaken | after its lease and up to 2 *b* more, never before its lease is over |
/// | a result is replayed | for its `ttl` and up to 2 *b* more, never shorter |
/// | a row may be deleted | after it is kept ([`Put::delete_at`](super::Put::delete_at)) and 2 *b* more |
///
/// Suppose that two clocks differ by more than the bound, by *x* more. Then an owner that is silent
/// for its lease less *x* may be overtaken, and its finish is refused, as after any takeover. A
/// result may run again *x* before its `ttl` is over. Tokens still grow, as long as *x* is less
/// than the 30 seconds for which rows are kept past their end. A clock that is set back, or a
/// process whose own clock jumps, is such a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    micros: u64,
    bound: Duration,
}

impl Time {
    /// The database's own clock, in microseconds since 1970, read with the row. All processes go by
    /// it, so the bound is zero. If a database has several servers, they are several clocks: see
    /// [`within`](Self::within).
    #[must_use]
    pub const fn of_database(micros: u64) -> Self {
        Self {
            micros,
            bound: Duration::ZERO,
        }
    }

    /// This machine's clock, which is within `bound` of the clock of every other machine that uses
    /// the table: for a database that does not tell its time. Machines synchronised by NTP are
    /// usually within a second of each other, but nothing checks that. Choose a bound that an
    /// unhealthy machine keeps too, and leases that are long compared with it.
    #[must_use]
    pub fn of_this_machine(bound: Duration) -> Self {
        Self {
            micros: now(),
            bound,
        }
    }

    /// The same time, with clocks that differ by up to `bound`. A clock that tells whole seconds
    /// adds one second to it.
    #[must_use]
    pub const fn within(self, bound: Duration) -> Self {
        Self { bound, ..self }
    }

    /// In microseconds since 1970. Writes are dated with it.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.micros
    }

    /// How far two clocks may differ.
    #[must_use]
    pub const fn bound(self) -> Duration {
        self.bound
    }

    /// The time that every clock has certainly reached. Others' writes are judged by it.
    pub(super) fn reached(self) -> u64 {
        self.micros.saturating_sub(micros(self.bound))
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, micros)
}
