//! One state of the model: the store, the callers, and what is on its way between them.

use std::fmt;

use idempotent_runtime::record::State;

use crate::{
    history::{History, OPERATOR},
    rec::Rec,
    variant::{CALLERS, Claiming, Variant},
};

/// The record the store holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kept {
    /// The record.
    pub rec: Rec,
    /// Whether its lease has lapsed, by the store's clock. That is all of time there is.
    pub lapsed: bool,
    /// Whether it is past its end, and kept for the grace: only claims and late messages see it.
    pub ended: bool,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lapsed = if self.lapsed { ", lapsed" } else { "" };
        let ended = if self.ended { ", ended" } else { "" };
        write!(f, "{:?}{lapsed}{ended}", self.rec)
    }
}

/// The store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The key's record.
    pub kept: Option<Kept>,
    /// The store's time, which is past every token it has given.
    pub clock: u8,
}

/// One step of a claim: which command is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Everything at once.
    Claim,
    /// Put a record where there is none.
    Place,
    /// Take the record that was seen.
    Take {
        /// Its state.
        state: State,
        /// Its nonce.
        nonce: u8,
        /// Whether its lease was seen lapsed. If not, this looks.
        lapsed: bool,
    },
}

/// What a waiter wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum For {
    /// The right to run, or the result.
    Claim,
    /// The result of whoever overtook it.
    Adoption,
}

/// Where a call is. The stages of `acquire/` and `claim.rs` (asked, granted, started, finishing,
/// settled) and what lies around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not called yet.
    Idle,
    /// It joins a flight, or leads one.
    Joining,
    /// It waits for a duplicate in its own process.
    Following(u8),
    /// It looks whether the record it saw is still there.
    Looking,
    /// Asked: a claim is on its way.
    Asking(Step),
    /// Granted: the body has not been polled.
    Granted(Rec),
    /// Started: the body runs.
    Started {
        /// The record as it was granted.
        owned: Rec,
        /// Whether the body had its effect.
        effect: bool,
    },
    /// Finishing: the outcome is on its way.
    Finishing(Rec),
    /// A subscription is on its way.
    Subscribing(For),
    /// It sleeps.
    Asleep(For),
    /// It reads the record of whoever overtook it.
    Adopting,
    /// The caller has gone, the runtime asks until answered, and then releases.
    SeeingThrough(Step),
    /// The runtime tells the store how the attempt ended, until answered.
    Settling(Rec),
    /// Nothing is owed to anybody.
    Ended,
}

/// One call.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are what a call has seen, each by itself"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Where it is.
    pub phase: Phase,
    /// Whether its caller has gone and the runtime carries on with the body.
    pub orphaned: bool,
    /// Whether a claim of its own had no answer, and may have been granted.
    pub doubt: bool,
    /// Whether it saw a running owner under `fail`.
    pub saw_fail: bool,
    /// Whether its subscription is in force.
    pub subscribed: bool,
    /// Whether a change was pushed to it since it last slept.
    pub notified: bool,
    /// Whether the lease it was told of is over.
    pub due: bool,
}

/// A command on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// A step of a claim.
    Claim(u8, Step),
    /// A heartbeat of the owned record.
    Renew(u8, Rec),
    /// An attempt's end.
    Finish(u8, Rec),
    /// An operator's decision: what was seen, and what it is replaced by.
    Overrule(Option<Rec>, Rec),
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// `resolve(Rerun)`.
    Rerun,
    /// `resolve(Done(…))`.
    Done,
    /// `forget()`.
    Forget,
}

/// What a process knows of a result, so that it need not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Near {
    /// The done record.
    pub rec: Rec,
    /// Whether an operator has decided since, in another process.
    pub late: bool,
}

/// Where the operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Nothing asked for.
    Idle,
    /// It has looked, and decided.
    Decided(Wish, Option<Rec>),
    /// It was told.
    Ended,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The store.
    pub cell: Cell,
    /// The store before its last write, where a failover may set it back.
    pub behind: Option<Cell>,
    /// The calls.
    pub callers: [Caller; CALLERS],
    /// The flight of each process: its leader.
    pub flights: [Option<u8>; CALLERS],
    /// The near cache of each process.
    pub near: [Option<Near>; CALLERS],
    /// The operator.
    pub operator: Operator,
    /// Commands that nobody waits for and that may still arrive, in a fixed order.
    pub strays: Vec<Command>,
    /// Faults left.
    pub budget: u8,
    /// The past.
    pub history: History,
}

impl World {
    /// Before anything has happened.
    #[must_use]
    pub fn new(variant: &Variant) -> Self {
        Self {
            cell: Cell {
                kept: None,
                clock: 0,
            },
            behind: None,
            callers: [Caller::at(Phase::Idle); CALLERS],
            flights: [None; CALLERS],
            near: [None; CALLERS],
            operator: Operator::Idle,
            strays: Vec::new(),
            budget: variant.budget,
            history: History::new(),
        }
    }

    /// What a reader is shown.
    #[must_use]
    pub fn visible(&self) -> Option<Kept> {
        self.cell.kept.filter(|kept| !kept.ended)
    }

    /// The command that this caller waits for.
    #[must_use]
    pub fn command(&self, caller: usize) -> Option<Command> {
        let index = u8::try_from(caller).ok()?;
        match self.callers[caller].phase {
            Phase::Asking(step) | Phase::SeeingThrough(step) => Some(Command::Claim(index, step)),
            Phase::Finishing(target) | Phase::Settling(target) => {
                Some(Command::Finish(index, target))
            }
            _ => None,
        }
    }

    /// Adds a command that nobody waits for.
    pub fn stray(&mut self, command: Command) {
        self.strays.push(command);
        self.strays.sort_unstable_by_key(Command::order);
    }

    /// Tells everybody who has subscribed.
    pub fn publish(&mut self) {
        for caller in &mut self.callers {
            caller.notified |= caller.subscribed && !matches!(caller.phase, Phase::Ended);
        }
    }

    /// The leases that sleepers were told of are over.
    pub fn wake_by_time(&mut self) {
        for caller in &mut self.callers {
            caller.due |= matches!(caller.phase, Phase::Asleep(_));
        }
    }

    /// The first command of a claim.
    #[must_use]
    pub const fn first(variant: &Variant) -> Step {
        match variant.claiming {
            Claiming::OneStep => Step::Claim,
            Claiming::TwoSteps => Step::Place,
        }
    }
}

impl Caller {
    /// At a phase, and nothing seen yet.
    #[must_use]
    pub const fn at(phase: Phase) -> Self {
        Self {
            phase,
            orphaned: false,
            doubt: false,
            saw_fail: false,
            subscribed: false,
            notified: false,
            due: false,
        }
    }
}

impl Command {
    /// Any fixed order: what is on its way has none.
    fn order(&self) -> (u8, u8, u8, u8, u8) {
        match *self {
            Self::Claim(by, Step::Claim) => (0, by, 0, 0, 0),
            Self::Claim(by, Step::Place) => (1, by, 0, 0, 0),
            Self::Claim(
                by,
                Step::Take {
                    state,
                    nonce,
                    lapsed,
                },
            ) => (2, by, state.letter(), nonce, lapsed.into()),
            Self::Renew(by, rec) => (3, by, rec.state.letter(), rec.token, rec.lease),
            Self::Finish(by, rec) => (4, by, rec.state.letter(), rec.token, rec.lease),
            Self::Overrule(seen, rec) => {
                let seen = seen.map_or((0, 0), |seen| (seen.state.letter(), seen.nonce));
                (5, OPERATOR, rec.state.letter(), seen.0, seen.1)
            }
        }
    }
}
