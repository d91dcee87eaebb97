//! Reads a history and judges what the README claims. It knows nothing of how the library works.

mod case;
mod keys;
mod progress;
mod records;
mod repeats;
mod world;

use std::collections::BTreeMap;

use case::Case;
use world::World;

use crate::history::Entry;

/// What is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One owner per fencing token, and a key's tokens grow with its attempts.
    Tokens,
    /// A stale owner's finish and renew are refused; its caller gets its successor's result.
    Stale,
    /// All recorded replies for one key agree, and what was answered once is answered from then on.
    Agreement,
    /// Under `rerun`, a body runs again only after an end that allows it or its owner's silence for
    /// a lease.
    Repeat,
    /// Under `fail`, a body runs at most once.
    AtMostOnce,
    /// A service that refuses smaller tokens has done the effect of the recorded result, and none
    /// after a larger one.
    Fence,
    /// A result was made by a run of its own key.
    Origin,
    /// An owner that nothing has befallen keeps its key: nobody takes it over, nobody takes it for
    /// lost.
    Alive,
    /// While nothing fails the store is there for everybody, whatever other callers do with their
    /// calls.
    Progress,
    /// What the store shows of a key never goes back, also when its record has ended.
    Ended,
    /// A result that no record can hold is `NotRecorded` for everybody after its own caller.
    Refused,
    /// Every caller is answered, and once all faults are over every key is.
    Answered,
    /// A record that was acknowledged is there.
    Kept,
}

/// A claim that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which claim.
    pub rule: Rule,
    /// The key it happened with, if it is about one.
    pub key: Option<u32>,
    /// What is wrong.
    pub why: String,
}

/// What the checker found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What does not hold.
    pub violations: Vec<Violation>,
    /// Bodies that ran again, by what allowed it.
    pub repeats: BTreeMap<String, u64>,
    /// Bodies that began when their lease was over: their process was stopped or starved between
    /// its claim's answer and the first poll. No claim forbids it; there should be few.
    pub late_starts: u64,
}

impl Verdict {
    pub(crate) fn violated(&mut self, rule: Rule, key: Option<u32>, why: impl Into<String>) {
        self.violations.push(Violation {
            rule,
            key,
            why: why.into(),
        });
    }
}

/// Judges a history.
#[must_use]
pub fn check(history: &[Entry]) -> Verdict {
    let world = World::of(history);
    let mut verdict = Verdict::default();
    for case in world.cases.values() {
        keys::tokens(case, &mut verdict);
        keys::stale(case, &mut verdict);
        keys::agreement(case, &mut verdict);
        keys::origin(case, &mut verdict);
        keys::fence(case, &mut verdict);
        records::ended(case, &mut verdict);
        records::refused(case, &mut verdict);
        progress::calm(case, &world, &mut verdict);
        progress::healed(case, &world, &mut verdict);
        verdict.late_starts += repeats::late_starts(case);
        if case.function.at_most_once() {
            repeats::at_most_once(case, &mut verdict);
            repeats::doubted(case, &world, &mut verdict);
        } else {
            repeats::explained(case, &world, &mut verdict);
        }
    }
    world.answered(&mut verdict);
    world.drained(&mut verdict);
    world.kept(&mut verdict);
    verdict
}
