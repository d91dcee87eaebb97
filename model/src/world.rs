//! One state of the model: the store, the callers, and the commands between them.

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
    /// Whether its lease has lapsed by the store's clock. The model has no other notion of time.
    pub lapsed: bool,
    /// Whether it is past its end and in its grace period: only claims and late messages meet it.
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
    /// The store's time, larger than every token it has given.
    pub clock: u8,
}

/// A step of a claim, whose command is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The whole claim at once.
    Claim,
    /// Puts a record if there is none.
    Place,
    /// Takes the record that was seen.
    Take {
        /// Its state.
        state: State,
        /// Its nonce.
        nonce: u8,
        /// Whether its lease was seen lapsed. If not, the step only looks.
        lapsed: bool,
    },
}

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum For {
    /// The right to run, or the result.
    Claim,
    /// The result of the attempt that overtook it.
    Adoption,
}

/// The phase of a call. Asking, granted, started, finishing and ended are the stages in `acquire/`
/// and `claim.rs`; the others lie around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not called yet.
    Idle,
    /// It joins a flight, or leads one.
    Joining,
    /// It waits for a duplicate in its own process.
    Following(u8),
    /// It reads whether the record that it saw is still there.
    Looking,
    /// Its claim is on its way.
    Asking(Step),
    /// The claim is granted, and the body has not been polled.
    Granted(Rec),
    /// The body runs.
    Started {
        /// The record as it was granted.
        owned: Rec,
        /// Whether the body had its effect.
        effect: bool,
    },
    /// Its finish is on its way.
    Finishing(Rec),
    /// Its subscription is on its way.
    Subscribing(For),
    /// It sleeps.
    Asleep(For),
    /// It reads the record of the attempt that overtook it.
    Adopting,
    /// The caller has gone. The runtime claims again until it is answered, and then releases.
    SeeingThrough(Step),
    /// The runtime sends the finish until it is answered.
    Settling(Rec),
    /// The call has ended, and nothing is owed.
    Ended,
}

/// One call.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are what a call has seen, each by itself"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Its phase.
    pub phase: Phase,
    /// Whether its caller has gone and the runtime goes on with the body.
    pub orphaned: bool,
    /// Whether an earlier claim of this call had no answer and may have been granted.
    pub doubt: bool,
    /// Whether it saw a running owner under `fail`.
    pub saw_fail: bool,
    /// Whether its subscription is in force.
    pub subscribed: bool,
    /// Whether a change was pushed to it since it last slept.
    pub notified: bool,
    /// Whether the lease that it was told of has lapsed.
    pub due: bool,
}

/// A command on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// A step of a claim.
    Claim(u8, Step),
    /// A heartbeat of the owned record.
    Renew(u8, Rec),
    /// A finish.
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

/// The operator's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Has not looked yet.
    Idle,
    /// Has read the record and decided.
    Decided(Wish, Option<Rec>),
    /// Was answered.
    Ended,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The store.
    pub cell: Cell,
    /// The store before its last write, to which a failover may set it back.
    pub behind: Option<Cell>,
    /// The calls.
    pub callers: [Caller; CALLERS],
    /// The leader of each process' flight.
    pub flights: [Option<u8>; CALLERS],
    /// The near cache of each process.
    pub near: [Option<Near>; CALLERS],
    /// The operator.
    pub operator: Operator,
    /// Commands whose answer nobody waits for and that may still arrive, in a fixed order.
    pub strays: Vec<Command>,
    /// The number of faults left.
    pub budget: u8,
    /// The past.
    pub history: History,
}

impl World {
    /// The initial state.
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

    /// The record as a reader sees it.
    #[must_use]
    pub fn visible(&self) -> Option<Kept> {
        self.cell.kept.filter(|kept| !kept.ended)
    }

    /// The command whose answer this caller waits for.
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

    /// Adds a command whose answer nobody waits for.
    pub fn stray(&mut self, command: Command) {
        self.strays.push(command);
        self.strays.sort_unstable_by_key(Command::order);
    }

    /// Notifies every caller that has subscribed.
    pub fn publish(&mut self) {
        for caller in &mut self.callers {
            caller.notified |= caller.subscribed && !matches!(caller.phase, Phase::Ended);
        }
    }

    /// The leases that sleeping callers were told of lapse.
    pub fn wake_by_time(&mut self) {
        for caller in &mut self.callers {
            caller.due |= matches!(caller.phase, Phase::Asleep(_));
        }
    }

    /// The first step of a claim.
    #[must_use]
    pub const fn first(variant: &Variant) -> Step {
        match variant.claiming {
            Claiming::OneStep => Step::Claim,
            Claiming::TwoSteps => Step::Place,
        }
    }
}

impl Caller {
    /// A call in this phase that has seen nothing yet.
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
    /// A fixed order, because commands on their way have none.
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
