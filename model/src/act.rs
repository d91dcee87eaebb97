//! What each step of the model does.

use idempotent_runtime::record::State;

use crate::{
    check::Action,
    history::Claim,
    operator::operate,
    store::{Met, Told},
    variant::{Broken, CALLERS, Variant},
    world::{Command, Kept, Phase, World},
};

impl Variant {
    pub(crate) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Call(caller) if world.replays_near(self, caller) => {}
            Action::Call(caller) | Action::Join(caller) => world.join(self, caller),
            Action::Fade(process) => world.near[process] = None,
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
            Action::Lapse
            | Action::End
            | Action::Expire
            | Action::Evict
            | Action::Failover
            | Action::Skew => {
                self.strike(world, action);
            }
        }
        world.tidy_near(self);
    }

    /// The steps of a body.
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
            Action::LateRenew(_) => {
                world.stray(Command::Renew(index, owned));
                world.unanswered(self, caller, false);
            }
            _ => world.abandon(self, caller, owned),
        }
    }

    /// The store carries out the command that a caller waits for, and answers the caller.
    fn answer(&self, world: &mut World, caller: usize) {
        let phase = world.callers[caller].phase;
        if matches!(phase, Phase::Looking | Phase::Adopting) {
            world.learn(self, caller, world.visible().map(|kept| kept.rec));
        }
        match phase {
            Phase::Looking => return world.look(self, caller),
            Phase::Subscribing(aim) => return world.subscribed(self, caller, aim),
            Phase::Adopting => return world.adopt(self, caller, world.visible()),
            _ => {}
        }
        let Some(command) = world.command(caller) else {
            return;
        };
        match (world.carry_out(self, command), command) {
            (Answer::Met(met), _) => {
                world.near_met(self, caller, met);
                world.met(self, caller, met);
            }
            (Answer::Told(told), Command::Finish(_, target)) => {
                world.near_told(self, caller, target, told);
                world.finished(self, caller, target, told);
            }
            (Answer::Told(_), _) => {}
        }
    }

    /// The store carries out a command whose answer nobody waits for.
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

    /// What happens to the record without a command: lapse, end, eviction, failover.
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
            Action::End => {
                kept.ended = true;
                if kept.rec.state == State::Done {
                    world.history.starts_afresh();
                    world.near_expired(self);
                }
                if self.is_broken(Broken::NoGrace) {
                    world.cell.kept = None;
                }
            }
            Action::Skew => world.cell.clock = 0,
            Action::Expire => {
                if kept.rec.state == State::Done {
                    world.history.starts_afresh();
                    world.near_expired(self);
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
}

impl World {
    /// The store carries out a command.
    fn carry_out(&mut self, variant: &Variant, command: Command) -> Answer {
        match command {
            Command::Claim(by, step) => {
                let met = self.claim(variant, by.into(), step);
                Answer::Met(met)
            }
            Command::Renew(by, owned) => Answer::Told(self.renew(variant, by.into(), owned)),
            Command::Finish(by, target) => Answer::Told(self.finish(variant, by.into(), target)),
            Command::Overrule(seen, rec) => Answer::Told(self.overrule(variant, seen, rec)),
        }
    }
}

/// The store's answer to any command.
enum Answer {
    Met(Met),
    Told(Told),
}
