//! What is called: drawn from a seed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fastrand::Rng;

use crate::{
    functions::{LEASE_MS, Plan},
    history::Function,
    worker::Order,
};

/// Calls per new key, on average.
const CALLS: u64 = 6;
/// So many keys are called at one time.
const WINDOW: u64 = 40;
/// So far back a late duplicate reaches.
const PAST: u64 = 600;

/// The next calls, for all workers together.
#[derive(Debug, Default)]
pub(crate) struct Load {
    calls: AtomicU64,
}

pub(crate) fn function_of(key: u32) -> Function {
    match key % 8 {
        0..=2 => Function::Rerun,
        3 => Function::RerunAttached,
        4 => Function::Record,
        5 | 6 => Function::Fail,
        _ => Function::FailAttached,
    }
}

impl Load {
    /// How many calls were made, and how many keys may have been called.
    pub(crate) fn extent(&self) -> (u64, u32) {
        let calls = self.calls.load(Relaxed);
        (calls, key(calls / CALLS + WINDOW))
    }

    /// A call: mostly with one of the keys that others call too at this time, sometimes with an old one.
    pub(crate) fn next(&self, rng: &mut Rng) -> Order {
        let call = self.calls.fetch_add(1, Relaxed) + 1;
        let front = call / CALLS;
        let number = if rng.u8(..) < 30 {
            rng.u64(front.saturating_sub(PAST)..=front)
        } else {
            front + rng.u64(..WINDOW)
        };
        self.order(call, key(number), plan(rng), patience(rng))
    }

    /// A client that retries.
    pub(crate) fn again(&self, number: u32, rng: &mut Rng) -> Order {
        let call = self.calls.fetch_add(1, Relaxed) + 1;
        self.order(call, number, plan(rng), patience(rng))
    }

    /// A call that nothing disturbs.
    pub(crate) fn quiet(&self, number: u32) -> Order {
        let call = self.calls.fetch_add(1, Relaxed) + 1;
        self.order(call, number, Plan::Pend(0), None)
    }

    #[expect(clippy::unused_self, reason = "only a load makes orders")]
    fn order(&self, call: u64, key: u32, plan: Plan, patience: Option<u64>) -> Order {
        Order::Call {
            call,
            key,
            function: function_of(key),
            plan,
            patience,
        }
    }
}

fn key(number: u64) -> u32 {
    u32::try_from(number).expect("no run has so many keys")
}

fn plan(rng: &mut Rng) -> Plan {
    let lease = LEASE_MS;
    match rng.u8(..100) {
        0..=2 => Plan::Decline,
        3 => Plan::Panic,
        4 | 5 => Plan::Block(rng.u64(lease..lease * 2)),
        6 | 7 => Plan::Late(rng.u64(lease..lease * 3)),
        8 | 9 => Plan::Pend(rng.u64(lease..lease * 3)),
        10..=14 => Plan::Late(rng.u64(20..200)),
        15..=19 => Plan::Pend(rng.u64(20..200)),
        _ => Plan::Pend(rng.u64(0..4)),
    }
}

fn patience(rng: &mut Rng) -> Option<u64> {
    (rng.u8(..100) < 10).then(|| rng.u64(0..120))
}
