//! The model: which steps there are, and what each does.

use stateright::{Model, Property};

use idempotent_runtime::record::State;

use crate::{
    flow::{Answer, End},
    history::Claim,
    rec::Rec,
    store::{Told, replacement},
    variant::{Broken, CALLERS, Fault, Variant},
    world::{Command, Kept, Operator, Phase, Wish, World},
};

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A call begins.
    Call(usize),
    /// It joins a flight again.
    Join(usize),
    /// What it waits for is carried out and answered.
    Answer(usize),
    /// The flight it waits for has been silent for too long.
    Stall(usize),
    /// The body is polled for the first time.
    Start(usize),
    /// The body has its effect.
    Effect(usize),
    /// The body returns.
    Return(usize, End),
    /// A heartbeat that changes something.
    Renew(usize),
    /// A sleeper wakes.
    Wake(usize),
    /// What is on its way to nobody arrives.
    Arrive(usize),
    /// The lease of a running record lapses.
    Lapse,
    /// An operator looks, and decides.
    Decide(Wish),
    /// The operator's decision is carried out.
    Overrule,
    /// No answer; the caller asks again.
    Late(usize),
    /// No answer; the caller gives up.
    GiveUp(usize),
    /// Refused, and certainly not carried out.
    Refuse(usize),
    /// A heartbeat without an answer, which may still arrive.
    LateRenew(usize),
    /// No answer for the operator.
    LateOverrule,
    /// Carried out and answered, and once more at any time.
    Twice(usize),
    /// The caller goes away.
    Drop(usize),
    /// The body panics.
    Panic(usize),
    /// A process dies.
    Crash(u8),
    /// A done record's retention ends.
    Expire,
    /// The store drops the record.
    Evict,
    /// The store is as it was before its last write.
    Failover,
}

impl Variant {
    /// What a caller can do by itself.
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
            Phase::Granted(_) => actions.push(Action::Start(caller)),
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

    /// What can go wrong with a caller.
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

    /// What can go wrong with the world.
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
        let Some(Kept { rec, lapsed }) = world.cell.kept else {
            return;
        };
        if rec.state == State::Running
            && !lapsed
            && self.may(Fault::Lapse)
            && !world.may_lapse_by_itself(self)
        {
            actions.push(Action::Lapse);
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

    fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Call(caller) | Action::Join(caller) => world.join(self, caller),
            Action::Answer(caller) => self.answer(world, caller),
            Action::Stall(caller) => {
                let process = usize::from(self.callers[caller].process);
                if let Phase::Following(leader) = world.callers[caller].phase
                    && world.flights[process] == Some(leader)
                {
                    world.flights[process] = None;
                }
                world.callers[caller].phase = Phase::Joining;
            }
            Action::Wake(caller) => {
                if let Phase::Asleep(aim) = world.callers[caller].phase {
                    world.wake(self, caller, aim);
                }
            }
            Action::Start(_)
            | Action::Effect(_)
            | Action::Return(..)
            | Action::Renew(_)
            | Action::LateRenew(_)
            | Action::Panic(_) => self.body(world, action),
            Action::Arrive(index) => {
                let command = world.strays.remove(index);
                self.arrive(world, command);
            }
            Action::Late(caller) | Action::GiveUp(caller) => {
                if let Some(command) = world.command(caller) {
                    world.unanswered(self, caller, matches!(action, Action::GiveUp(_)));
                    world.stray(command);
                }
            }
            Action::Twice(caller) => {
                if let Some(command) = world.command(caller) {
                    self.answer(world, caller);
                    world.stray(command);
                }
            }
            Action::Refuse(caller) => world.refused_to(self, caller),
            Action::Drop(caller) => world.dropped(self, caller),
            Action::Crash(process) => world.crash(self, process),
            Action::Decide(_) | Action::Overrule | Action::LateOverrule => {
                operate(self, world, action);
            }
            Action::Lapse | Action::Expire | Action::Evict | Action::Failover => {
                self.strike(world, action);
            }
        }
    }

    /// A body's steps.
    fn body(&self, world: &mut World, action: Action) {
        let (Action::Start(caller)
        | Action::Effect(caller)
        | Action::Return(caller, _)
        | Action::Renew(caller)
        | Action::LateRenew(caller)
        | Action::Panic(caller)) = action
        else {
            return;
        };
        let (Phase::Granted(owned) | Phase::Started { owned, .. }) = world.callers[caller].phase
        else {
            return;
        };
        let index = u8::try_from(caller).unwrap_or(u8::MAX);
        match action {
            Action::Start(_) => world.start(caller, owned),
            Action::Effect(_) => {
                world.history.effect(caller, owned.token);
                let effect = true;
                world.callers[caller].phase = Phase::Started { owned, effect };
            }
            Action::Return(_, end) => world.returns(self, caller, owned, end, index + 1),
            Action::Renew(_) => {
                let told = world.renew(self, caller, owned);
                world.renewed(self, caller, told);
            }
            Action::LateRenew(_) => world.stray(Command::Renew(index, owned)),
            _ => world.abandon(self, caller, owned),
        }
    }

    /// The command that a caller waits for is carried out, and the caller hears of it.
    fn answer(&self, world: &mut World, caller: usize) {
        match world.callers[caller].phase {
            Phase::Looking => return world.look(self, caller),
            Phase::Subscribing(aim) => return world.subscribed(self, caller, aim),
            Phase::Adopting => return world.adopt(self, caller, world.cell.kept),
            _ => {}
        }
        let Some(command) = world.command(caller) else {
            return;
        };
        match (world.carry_out(self, command), command) {
            (Answer::Met(met), _) => world.met(self, caller, met),
            (Answer::Told(told), Command::Finish(_, target)) => {
                world.finished(self, caller, target, told);
            }
            (Answer::Told(_), _) => {}
        }
    }

    /// A command that nobody waits for is carried out.
    fn arrive(&self, world: &mut World, command: Command) {
        let before = world.cell.kept;
        world.carry_out(self, command);
        if let (Command::Claim(by, _), Some(Kept { rec, .. })) = (command, world.cell.kept) {
            let by = usize::from(by);
            let granted = rec.state == State::Running
                && rec.nonce == self.nonce(by)
                && before.is_none_or(|kept| kept.rec != rec);
            if granted && world.callers[by].phase == Phase::Ended && !world.history.crashed[by] {
                world.history.breaks(Claim::GrantedToSomebody);
            }
        }
    }

    /// What happens to the record from outside.
    fn strike(&self, world: &mut World, action: Action) {
        let Some(kept) = world.cell.kept.as_mut() else {
            return;
        };
        match action {
            Action::Lapse => {
                kept.lapsed = true;
                let nonce = kept.rec.nonce;
                if world.is_alive(self, nonce) {
                    for caller in (0..CALLERS).filter(|&caller| self.nonce(caller) == nonce) {
                        world.history.excused[caller] = true;
                    }
                }
            }
            Action::Expire => {
                if kept.rec.state == State::Done {
                    world.history.starts_afresh();
                }
                world.cell.kept = None;
                world.history.forgotten = true;
            }
            Action::Evict => {
                world.cell.kept = None;
                world.history.forgotten = true;
                world.history.excuse_all();
            }
            _ => {
                if let Some(behind) = world.behind.take() {
                    world.cell = behind;
                }
                world.history.forgotten = true;
                world.history.excuse_all();
            }
        }
        world.wake_by_time();
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
            | Action::Expire
            | Action::Evict
            | Action::Failover => true,
            _ => false,
        }
    }
}

/// A renewal of a young record of one's own changes nothing.
fn renewal_matters(world: &World, owned: Rec) -> bool {
    world.cell.kept.is_none_or(|kept| {
        kept.lapsed || kept.rec.nonce != owned.nonce || kept.rec.state != State::Running
    })
}

fn operate(variant: &Variant, world: &mut World, action: Action) {
    let decide = |world: &World, wish| {
        let refused = world.cell.kept.is_some_and(|kept| {
            wish != Wish::Forget
                && (kept.rec.state == State::Done
                    || kept.rec.state == State::Running && !kept.lapsed)
        });
        if refused {
            Operator::Ended
        } else {
            Operator::Decided(wish, world.cell.kept.map(|kept| kept.rec))
        }
    };
    match (action, world.operator) {
        (Action::Decide(wish), _) => world.operator = decide(world, wish),
        (_, Operator::Decided(wish, seen)) => {
            let value = (wish == Wish::Done).then_some(9);
            let replacement = replacement(seen, value);
            if action == Action::LateOverrule {
                world.stray(Command::Overrule(seen, replacement));
                world.operator = Operator::Ended;
                return;
            }
            world.operator = match world.overrule(variant, seen, replacement) {
                Told::Applied => Operator::Ended,
                Told::Stale(_) | Told::Absent => decide(world, wish),
            };
        }
        _ => {}
    }
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
            OneOwner TokensGrow StaleRefused Fenced Agree AtMostOnce NoRepeat DoneStays LostStarted
            GrantedToSomebody StoppedForSuccessor Woken Ends
        }
    }
}
