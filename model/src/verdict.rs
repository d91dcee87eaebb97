//! Runs the checker, and tells what it found.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    mem::{self, Discriminant},
    thread,
    time::{Duration, Instant},
};

use stateright::{Checker, Model};

use crate::{
    check::Action,
    history::Claim,
    variant::Variant,
    world::{Kept, Phase, World},
};

/// What was found in all states of a variant.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The number of states.
    pub states: usize,
    /// The most steps that the shortest way to a state takes.
    pub depth: usize,
    /// How long the check took.
    pub took: Duration,
    /// The guarantees that do not hold.
    pub fails: Vec<Claim>,
}

/// Explores all states of a variant.
#[must_use]
pub fn check(variant: &Variant) -> Verdict {
    let start = Instant::now();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let checker = variant
        .clone()
        .checker()
        .threads(threads)
        .spawn_bfs()
        .join();
    Verdict {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: start.elapsed(),
        fails: Claim::ALL
            .into_iter()
            .filter(|claim| checker.discovery(claim.name()).is_some())
            .collect(),
    }
}

/// A shortest way to a state in which the guarantee is broken, if there is one.
#[must_use]
pub fn trace(variant: &Variant, claim: Claim) -> Option<Trace> {
    // Each state, with the step that led to it and the state before.
    let mut seen: Vec<(World, Option<(usize, Action)>)> = Vec::new();
    let mut known = HashSet::new();
    for world in variant.init_states() {
        known.insert(fingerprint(&world));
        seen.push((world, None));
    }
    let mut next = 0;
    while let Some((world, _)) = seen.get(next) {
        if !world.keeps(variant, claim) {
            return Some(Trace::to(&seen, next));
        }
        for (action, world) in variant.next_steps(world) {
            if known.insert(fingerprint(&world)) {
                seen.push((world, Some((next, action))));
            }
        }
        next += 1;
    }
    None
}

/// The steps of a way, and the record after each.
#[derive(Debug)]
pub struct Trace(Vec<(Option<Action>, Option<Kept>)>);

impl Trace {
    fn to(seen: &[(World, Option<(usize, Action)>)], mut last: usize) -> Self {
        let mut steps = Vec::new();
        loop {
            let (world, came_by) = &seen[last];
            steps.push((came_by.map(|(_, action)| action), world.cell.kept));
            let Some((before, _)) = came_by else { break };
            last = *before;
        }
        steps.reverse();
        Self(steps)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (action, kept) in &self.0 {
            let step =
                action.map_or_else(|| "nothing yet".to_owned(), |action| format!("{action:?}"));
            let record = kept.map_or_else(|| "none".to_owned(), |kept| format!("{kept:?}"));
            writeln!(f, "  {step:16} {record}")?;
        }
        Ok(())
    }
}

/// What a walk through all states has found.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// The number of states.
    pub states: usize,
    /// The kinds of steps that were taken, and the phases that calls were in.
    pub met: BTreeSet<String>,
    kinds: (HashSet<Discriminant<Action>>, HashSet<Discriminant<Phase>>),
}

impl Walk {
    fn meets(&mut self, action: &Action, world: &World) {
        if self.kinds.0.insert(mem::discriminant(action)) {
            self.met.insert(kind(action));
        }
        for caller in &world.callers {
            if self.kinds.1.insert(mem::discriminant(&caller.phase)) {
                self.met.insert(kind(&caller.phase));
            }
        }
    }
}

/// The name of an enum's variant.
fn kind(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}");
    let name = text.split(|c: char| !c.is_alphanumeric()).next();
    name.unwrap_or_default().to_owned()
}

struct Visit {
    world: World,
    came_by: Option<Action>,
    next: Vec<Action>,
}

impl Visit {
    fn new(variant: &Variant, world: World, came_by: Option<Action>) -> Self {
        let mut next = Vec::new();
        variant.actions(&world, &mut next);
        Self {
            world,
            came_by,
            next,
        }
    }
}

/// Walks through all states and checks that every run is finite: no step leads back to an earlier
/// state of the same run. Together with [`Claim::Ends`] in all states, every call ends, whatever
/// the order of the steps.
///
/// # Errors
/// A run that returns to an earlier state.
pub fn walk(variant: &Variant) -> Result<Walk, Vec<Action>> {
    let mut walk = Walk::default();
    // Whether all states that follow a state have been visited.
    let mut closed = HashMap::new();
    let mut path: Vec<Visit> = variant
        .init_states()
        .into_iter()
        .map(|world| Visit::new(variant, world, None))
        .collect();
    while let Some(here) = path.last_mut() {
        let Some(action) = here.next.pop() else {
            closed.insert(fingerprint(&here.world), true);
            path.pop();
            continue;
        };
        let Some(next) = variant.next_state(&here.world, action) else {
            continue;
        };
        walk.meets(&action, &next);
        match closed.get(&fingerprint(&next)) {
            Some(true) => {}
            Some(false) => {
                let steps = path.iter().filter_map(|visit| visit.came_by);
                return Err(steps.chain([action]).collect());
            }
            None => {
                closed.insert(fingerprint(&next), false);
                path.push(Visit::new(variant, next, Some(action)));
            }
        }
    }
    walk.states = closed.len();
    Ok(walk)
}

/// A state is identified by 64 bits of its hash, as in the checker.
fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}
