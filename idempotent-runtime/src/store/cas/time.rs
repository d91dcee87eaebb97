//! What time it is, by which clock.

use std::time::{Duration, SystemTime};

/// The time, and how far the clocks of two processes that use the same table may be apart.
///
/// # What a clock must promise
/// Leases and ends are counted from a time that one process wrote to a time that another reads. So
/// what counts is not whether a clock is right, but how far any two of the clocks that write to a
/// table differ: their **bound**. The bound makes everything later, never earlier:
///
/// | | judged by a clock with bound *b* |
/// |---|---|
/// | a silent owner is overtaken | after its lease and up to 2 *b* more, never before its lease is over |
/// | a result is replayed | for its `ttl` and up to 2 *b* more, never shorter |
/// | a row may be deleted | after it is kept ([`Put::delete_at`](super::Put::delete_at)) and 2 *b* more |
///
/// Where two clocks differ by more than the bound says, by *x* more: an owner that is silent for
/// its lease less *x* may be overtaken, as it may be when it is silent for a lease; its finish is
/// then refused, as ever. A result may run again *x* before its `ttl` is over. Tokens still grow,
/// as long as *x* is less than the 30 seconds for which rows are kept past their end. A clock that
/// is set back, or a process whose own clock jumps, is such a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    micros: u64,
    bound: Duration,
}

impl Time {
    /// The database's own clock, in microseconds since 1970, as it was told with the row: all
    /// processes go by it, so the bound is zero. Where a database has several servers, they are
    /// several clocks: see [`within`](Self::within).
    #[must_use]
    pub const fn of_database(micros: u64) -> Self {
        Self {
            micros,
            bound: Duration::ZERO,
        }
    }

    /// This machine's clock, which is within `bound` of the clock of every other machine that uses
    /// the table: for a database that does not tell its time. Machines that keep their time by NTP
    /// are within a second of each other as a rule, but nobody checks it: choose a bound that an
    /// unhealthy machine keeps too, and leases that are long beside it.
    #[must_use]
    pub fn of_this_machine(bound: Duration) -> Self {
        Self {
            micros: now(),
            bound,
        }
    }

    /// The same time by clocks that differ by up to `bound`. A clock that tells whole seconds adds
    /// one to it.
    #[must_use]
    pub const fn within(self, bound: Duration) -> Self {
        Self { bound, ..self }
    }

    /// In microseconds since 1970: what is written is dated with it.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.micros
    }

    /// By how much two clocks may differ.
    #[must_use]
    pub const fn bound(self) -> Duration {
        self.bound
    }

    /// The time that every clock has surely reached: what others wrote is judged by it.
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
