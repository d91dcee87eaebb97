//! Which steps are possible in a state.

use stateright::{Model, Property};

use idempotent_runtime::record::State;

use crate::{
    flow::End,
    history::Claim,
    rec::Rec,
    variant::{Broken, CALLERS, Fault, Variant},
    world::{Kept, Operator, Phase, Wish, World},
};

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A call begins.
    Call(usize),
    /// It joins the flight of its process again.
    Join(usize),
    /// The store carries out and answers the command that the call waits for.
    Answer(usize),
    /// The leader of the flight it follows has been silent for too long.
    Stall(usize),
    /// The body is polled for the first time.
    Start(usize),
    /// The body has its effect.
    Effect(usize),
    /// The body returns.
    Return(usize, End),
    /// A heartbeat, if it changes anything.
    Renew(usize),
    /// A sleeper wakes.
    Wake(usize),
    /// A command arrives whose answer nobody waits for.
    Arrive(usize),
    /// The lease of a running record lapses.
    Lapse,
    /// An operator reads the record and decides.
    Decide(Wish),
    /// The operator's decision is carried out.
    Overrule,
    /// A near cache drops its result.
    Fade(usize),
    /// A command gets no answer, and the caller asks again.
    Late(usize),
    /// A command gets no answer, and the caller gives up.
    GiveUp(usize),
    /// A command is refused, and is certainly not carried out.
    Refuse(usize),
    /// A heartbeat gets no answer. It may still arrive.
    LateRenew(usize),
    /// The operator's command gets no answer.
    LateOverrule,
    /// A command is carried out and answered, and carried out once more at any later time.
    Twice(usize),
    /// The caller goes away.
    Drop(usize),
    /// The body panics.
    Panic(usize),
    /// A process dies.
    Crash(u8),
    /// The `ttl` of a finished record ends, and its grace period begins.
    End,
    /// A done record's retention and its grace period end.
    Expire,
    /// The next command is served by a clock that is behind.
    Skew,
    /// The store drops the record.
    Evict,
    /// The store loses its last write.
    Failover,
}

impl Variant {
    /// Steps of a caller that are no faults.
    fn steps(&self, world: &World, caller: usize, actions: &mut Vec<Action>) {
        let this = &world.callers[caller];
        match this.phase {
            Phase::Idle => {
                let in_turn = !self.is_symmetric()
                    || world.callers[..caller]
                        .iter()
                        .all(|earlier| earlier.phase != Phase::Idle);
                if in_turn {
                    actions.push(Action::Call(caller));
                }
            }
            Phase::Joining => actions.push(Action::Join(caller)),
            Phase::Following(leader) if world.is_stalled(self, leader) => {
                actions.push(Action::Stall(caller));
            }
            Phase::Granted(owned) => {
                actions.push(Action::Start(caller));
                if renewal_matters(world, owned) {
                    actions.push(Action::Renew(caller));
                }
            }
            Phase::Started { owned, effect } => {
                if effect {
                    actions.push(Action::Return(caller, End::Ok));
                } else {
                    actions.push(Action::Effect(caller));
                }
                if renewal_matters(world, owned) {
                    actions.push(Action::Renew(caller));
                }
            }
            Phase::Asleep(_) if this.notified || this.due => actions.push(Action::Wake(caller)),
            Phase::Following(_) | Phase::Asleep(_) | Phase::Ended => {}
            Phase::Looking
            | Phase::Asking(_)
            | Phase::Finishing(_)
            | Phase::Subscribing(_)
            | Phase::Adopting
            | Phase::SeeingThrough(_)
            | Phase::Settling(_) => actions.push(Action::Answer(caller)),
        }
    }

    /// Faults of a caller.
    fn mishaps(&self, world: &World, caller: usize, actions: &mut Vec<Action>) {
        let this = &world.callers[caller];
        let mut may = |fault, action| {
            if self.may(fault) {
                actions.push(action);
            }
        };
        if world.command(caller).is_some() {
            may(Fault::Late, Action::Late(caller));
            may(Fault::Twice, Action::Twice(caller));
        }
        match this.phase {
            Phase::Asking(_) => {
                may(Fault::Late, Action::GiveUp(caller));
                may(Fault::Refused, Action::Refuse(caller));
            }
            // If the answer took long, the lease is renewed before the body begins.
            Phase::Granted(_) => {
                may(Fault::Late, Action::LateRenew(caller));
                may(Fault::Refused, Action::Refuse(caller));
            }
            Phase::Finishing(_) => may(Fault::Refused, Action::Refuse(caller)),
            Phase::Started { effect, .. } => {
                may(Fault::Late, Action::LateRenew(caller));
                may(Fault::Panic, Action::Panic(caller));
                if !effect {
                    may(Fault::Err, Action::Return(caller, End::Err));
                }
                may(Fault::ErrFail, Action::Return(caller, End::ErrFail));
            }
            _ => {}
        }
        let waits = !matches!(
            this.phase,
            Phase::Idle
                | Phase::Joining
                | Phase::SeeingThrough(_)
                | Phase::Settling(_)
                | Phase::Ended
        );
        if waits && !this.orphaned {
            may(Fault::Drop, Action::Drop(caller));
        }
    }

    /// Faults of the store, of processes and of the operator's command.
    fn disasters(&self, world: &World, actions: &mut Vec<Action>) {
        for process in 0..=CALLERS {
            let lives = (0..CALLERS).any(|caller| {
                usize::from(self.callers[caller].process) == process
                    && !matches!(world.callers[caller].phase, Phase::Idle | Phase::Ended)
            });
            if lives && self.may(Fault::Crash) {
                actions.push(Action::Crash(u8::try_from(process).unwrap_or(u8::MAX)));
            }
        }
        if self.may(Fault::Operator) && world.operator == Operator::Idle {
            actions.extend([Wish::Rerun, Wish::Done, Wish::Forget].map(Action::Decide));
        }
        if self.may(Fault::Late) && matches!(world.operator, Operator::Decided(..)) {
            actions.push(Action::LateOverrule);
        }
        let Some(Kept { rec, lapsed, ended }) = world.cell.kept else {
            return;
        };
        if rec.state == State::Running
            && !lapsed
            && self.may(Fault::Lapse)
            && !world.may_lapse_by_itself(self)
        {
            actions.push(Action::Lapse);
        }
        let is_finished = matches!(rec.state, State::Done | State::Failed);
        if is_finished && !ended && self.may(Fault::End) {
            actions.push(Action::End);
        }
        if self.may(Fault::Skew) && world.cell.clock > 0 {
            actions.push(Action::Skew);
        }
        let ends = rec.state == State::Done
            || rec.state == State::Running && self.is_broken(Broken::NoHold);
        if ends && self.may(Fault::Expire) {
            actions.push(Action::Expire);
        }
        if self.may(Fault::Evict) {
            actions.push(Action::Evict);
        }
        if self.may(Fault::Failover) && world.behind.is_some() {
            actions.push(Action::Failover);
        }
    }

    fn costs(&self, world: &World, action: Action) -> bool {
        match action {
            Action::Lapse => !world.may_lapse_by_itself(self),
            Action::Return(_, end) => end != End::Ok,
            Action::Late(_)
            | Action::GiveUp(_)
            | Action::Refuse(_)
            | Action::LateRenew(_)
            | Action::LateOverrule
            | Action::Twice(_)
            | Action::Drop(_)
            | Action::Panic(_)
            | Action::Crash(_)
            | Action::Decide(_)
            | Action::End
            | Action::Expire
            | Action::Skew
            | Action::Evict
            | Action::Failover => true,
            _ => false,
        }
    }
}

/// Whether a renewal changes anything: not if the record is this attempt's own and still young.
fn renewal_matters(world: &World, owned: Rec) -> bool {
    world.cell.kept.is_none_or(|kept| {
        kept.lapsed || kept.rec.nonce != owned.nonce || kept.rec.state != State::Running
    })
}

impl Model for Variant {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for caller in 0..CALLERS {
            self.steps(world, caller, actions);
        }
        actions.extend((0..world.strays.len()).map(Action::Arrive));
        if world.may_lapse_by_itself(self) {
            actions.push(Action::Lapse);
        }
        if matches!(world.operator, Operator::Decided(..)) {
            actions.push(Action::Overrule);
        }
        let near = (0..CALLERS).filter(|&process| world.near[process].is_some());
        actions.extend(near.map(Action::Fade));
        if world.budget == 0 {
            return;
        }
        for caller in 0..CALLERS {
            self.mishaps(world, caller, actions);
        }
        self.disasters(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.history.broken = 0;
        if self.costs(world, action) {
            next.budget -= 1;
        }
        self.act(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! always {
            ($($claim:ident)*) => {
                vec![$(Property::always(Claim::$claim.name(), |variant: &Self, world: &World| {
                    world.keeps(variant, Claim::$claim)
                })),*]
            };
        }
        always! {
            OneOwner TokensGrow StaleRefused Fenced Agree OwnPayload AtMostOnce NoRepeat DoneStays
            LostStarted GrantedToSomebody StoppedForSuccessor Woken Ends
            StaysFinished
        }
    }
}
