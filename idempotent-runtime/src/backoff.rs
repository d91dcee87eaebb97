//! Pauses between tries: they grow, and have jitter.

use std::{
    cmp,
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    time::Duration,
};

/// The pauses between the tries of one caller. Each is random between half of a growing time and
/// the whole of it, so that callers that failed together do not come back together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// How long to pause now. The next pause is up to twice as long.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = cmp::min(self.next, self.longest);
        self.next = cmp::min(self.next.saturating_mul(2), self.longest);
        let half = pause / 2;
        half + half.mul_f64(fraction())
    }
}

/// A random number from 0 to 1. It need not be hard to guess.
fn fraction() -> f64 {
    // Each `RandomState` has other keys.
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_differ() {
        let (first, longest) = (Duration::from_millis(20), Duration::from_secs(1));
        let mut seen = Vec::new();
        for _ in 0..8 {
            let mut backoff = Backoff::new(first, longest);
            let pauses: Vec<_> = (0..10).map(|_| backoff.pause()).collect();
            for (number, pause) in (0_u32..).zip(&pauses) {
                let whole = cmp::min(first * 2_u32.pow(number), longest);
                assert!(
                    *pause >= whole / 2 && *pause <= whole,
                    "{number}: {pause:?}"
                );
            }
            seen.push(pauses);
        }
        seen.dedup();
        assert!(seen.len() > 1, "all paused alike");
    }
}
