//! Draws the calls from a seed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fastrand::Rng;

use crate::{
    functions::{LEASE_MS, Plan, WAITS_MS},
    history::Function,
    manner::Manner,
    worker::{Order, Task},
};

/// The number of calls at once that a wave must reach.
pub(crate) const AT_ONCE: usize = 200;
/// The calls of a wave: with new keys, with hot keys, and with keys that others call too.
const COLD: u64 = 170;
const HOT: u64 = 60;
const MIXED: u64 = 30;
/// The number of keys that the hot calls of a wave share.
const HOT_KEYS: u64 = 3;
/// The largest value that the server takes; also the library's default limit.
pub(crate) const LARGEST: usize = 1024 * 1024;

/// Keys that are called in the same way.
#[derive(Clone, Copy)]
struct Family {
    /// The number of its first key.
    base: u32,
    /// Calls per new key, on average.
    calls: u64,
    /// How many keys are called at one time.
    window: u64,
    /// How many keys back a late duplicate may go.
    past: u64,
}

const SHARED: Family = Family {
    base: 0,
    calls: 6,
    window: 40,
    past: 600,
};
const WAVES: Family = Family {
    base: 1 << 28,
    calls: 1,
    window: 0,
    past: 0,
};
/// Called again and again while their results end.
const BRIEF: Family = Family {
    base: 2 << 28,
    calls: 60,
    window: 12,
    past: 24,
};
const BULKY: Family = Family {
    base: 3 << 28,
    calls: 8,
    window: 2,
    past: 4,
};
const FAMILIES: [Family; 4] = [SHARED, WAVES, BRIEF, BULKY];

/// Draws the next calls, for all workers together.
#[derive(Debug, Default)]
pub(crate) struct Load {
    calls: AtomicU64,
    /// The number of calls of each family so far.
    made: [AtomicU64; FAMILIES.len()],
}

fn family(key: u32) -> usize {
    (key >> 28) as usize
}

fn function_of(key: u32) -> Function {
    match (family(key), key % 8) {
        (2, 0..=4) => Function::Brief,
        (2, _) => Function::BriefFail,
        (3, number) if number % 2 == 0 => Function::Bulky,
        (3, _) => Function::BulkyFail,
        (_, 0..=2) => Function::Rerun,
        (_, 3) => Function::RerunAttached,
        (_, 4) => Function::Record,
        (_, 5 | 6) => Function::Fail,
        _ => Function::FailAttached,
    }
}

impl Family {
    fn front(self, made: u64) -> u64 {
        made / self.calls
    }

    /// Those of its keys that may have been called.
    fn keys(self, made: u64) -> std::ops::Range<u32> {
        self.base..self.base + number(self.front(made) + self.window + 1)
    }
}

impl Load {
    /// All keys that may have been called.
    pub(crate) fn keys(&self) -> Vec<u32> {
        let families = FAMILIES.iter().zip(&self.made);
        let keys = families.flat_map(|(family, made)| family.keys(made.load(Relaxed)));
        keys.collect()
    }

    /// A call. Mostly with one of the keys that others call at this time, sometimes with an old
    /// one.
    pub(crate) fn next(&self, rng: &mut Rng, calm: bool) -> Order {
        let family = match rng.u16(..1000) {
            0..=24 => 3,
            25..=149 => 2,
            _ => 0,
        };
        let key = self.key(family, rng);
        Order::Call(self.task(key, plan(rng, key, calm), manner(rng), rng))
    }

    /// The retry of a client.
    pub(crate) fn again(&self, key: u32, rng: &mut Rng, calm: bool) -> Order {
        Order::Call(self.task(key, plan(rng, key, calm), manner(rng), rng))
    }

    /// A call that is held from its first polls on. As often as not it is the one that finds no
    /// connection.
    pub(crate) fn held(&self, rng: &mut Rng) -> Order {
        let key = self.key(0, rng);
        let manner = Manner::Holds {
            polls: if rng.bool() { 1 } else { rng.u32(1..=8) },
            millis: rng.u64(2_000..3_200),
            goes_on: rng.bool(),
        };
        Order::Call(self.task(key, Plan::Pend(rng.u64(..4)), manner, rng))
    }

    /// Many calls at once.
    pub(crate) fn wave(&self, rng: &mut Rng) -> Order {
        let hot: Vec<_> = (0..HOT_KEYS).map(|_| self.key(0, rng)).collect();
        let tasks = (0..COLD + HOT + MIXED).map(|number| {
            let key = match number {
                0..COLD => self.key(1, rng),
                COLD.. if number < COLD + HOT => hot[rng.usize(..hot.len())],
                _ => self.key(0, rng),
            };
            // No slow bodies here: all calls come at once.
            let plan = match rng.u8(..20) {
                0 => plan(rng, key, true),
                _ => Plan::Pend(rng.u64(20..150)),
            };
            self.task(key, plan, manner(rng), rng)
        });
        Order::Wave(tasks.collect())
    }

    /// A call without faults of its own.
    pub(crate) fn quiet(&self, key: u32) -> Order {
        let call = self.calls.fetch_add(1, Relaxed) + 1;
        Order::Call(Task {
            call,
            key,
            function: function_of(key),
            plan: Plan::Pend(0),
            wait: WAITS_MS[0],
            manner: Manner::Awaits,
        })
    }

    fn key(&self, family: usize, rng: &mut Rng) -> u32 {
        let made = self.made[family].fetch_add(1, Relaxed);
        let family = FAMILIES[family];
        let front = family.front(made);
        let chosen = if rng.u8(..) < 30 {
            rng.u64(front.saturating_sub(family.past)..=front)
        } else {
            front + rng.u64(..family.window.max(1))
        };
        family.base + number(chosen)
    }

    fn task(&self, key: u32, plan: Plan, manner: Manner, rng: &mut Rng) -> Task {
        Task {
            call: self.calls.fetch_add(1, Relaxed) + 1,
            key,
            function: function_of(key),
            plan,
            wait: WAITS_MS[usize::from(rng.u8(..4) == 0)],
            manner,
        }
    }
}

fn number(number: u64) -> u32 {
    u32::try_from(number).expect("no run has so many keys")
}

fn plan(rng: &mut Rng, key: u32, calm: bool) -> Plan {
    let lease = LEASE_MS;
    if function_of(key).bulky() {
        return Plan::Bulk(match rng.u8(..10) {
            0 | 1 => rng.usize(..LARGEST / 2),
            // With the record around it, the value is just too large, or just fits.
            2..=5 => LARGEST - rng.usize(..300),
            _ => LARGEST + rng.usize(1..LARGEST),
        });
    }
    match rng.u8(..100) {
        0..=2 => Plan::Decline,
        3 => Plan::Panic,
        // A blocked thread starves the other calls of its process.
        4 | 5 if !calm => Plan::Block(rng.u64(lease..lease * 2)),
        4..=7 => Plan::Busy(rng.u64(lease..lease * 3)),
        8 | 9 => Plan::Late(rng.u64(lease..lease * 3)),
        10 | 11 => Plan::Pend(rng.u64(lease..lease * 3)),
        12..=16 => Plan::Late(rng.u64(20..200)),
        17..=21 => Plan::Pend(rng.u64(20..200)),
        _ => Plan::Pend(rng.u64(0..4)),
    }
}

fn manner(rng: &mut Rng) -> Manner {
    let lease = LEASE_MS;
    match rng.u8(..100) {
        0..=9 => Manner::Leaves(rng.u64(0..120)),
        10..=12 => Manner::Holds {
            polls: rng.u32(1..=8),
            millis: if rng.bool() {
                rng.u64(50..lease)
            } else {
                rng.u64(lease..lease * 5)
            },
            goes_on: rng.bool(),
        },
        13 | 14 => Manner::Beside(rng.u64(lease..lease * 3)),
        _ => Manner::Awaits,
    }
}
