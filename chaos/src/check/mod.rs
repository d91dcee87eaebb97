//! Reads a history and checks the README's promises. It knows nothing of how the library works.

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

/// A rule that the checker applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// One owner per fencing token, and a key's tokens grow with its attempts.
    Tokens,
    /// A stale owner's finish and renew are refused; its caller gets its successor's result.
    Stale,
    /// All recorded replies of a key agree, and what was answered once is answered from then on.
    Agreement,
    /// Under `rerun`, a body runs again only after an end that allows it, or after its owner was
    /// silent for a lease.
    Repeat,
    /// Under `fail`, a body runs at most once.
    AtMostOnce,
    /// A service that refuses smaller tokens has accepted the effect of the recorded result, and
    /// none after one with a larger token.
    Fence,
    /// A result was made by a run of its own key.
    Origin,
    /// An owner without a fault keeps its key: nobody takes it over or makes it lost.
    Alive,
    /// While nothing fails the store serves everybody, whatever other callers do with their calls.
    Progress,
    /// What the store shows of a key never goes back, also after its record has ended.
    Ended,
    /// A result that is too large to record is `NotRecorded` for everybody but its own caller.
    Refused,
    /// Every caller is answered, and once all faults are over every key is.
    Answered,
    /// A record that was acknowledged is not lost.
    Kept,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The key, if it is about one.
    pub key: Option<u32>,
    /// What was observed.
    pub why: String,
}

/// The checker's findings.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The rules that were broken.
    pub violations: Vec<Violation>,
    /// Bodies that ran again, by the cause that allowed it.
    pub repeats: BTreeMap<String, u64>,
    /// Bodies that began after their lease was over: the process was stopped or starved between the
    /// claim's answer and the first poll. No rule forbids it, but there should be few.
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

/// Checks a history.
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
