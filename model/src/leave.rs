//! How a call is left: without an answer, by its caller, by a panic, or by the death of its
//! process.

use idempotent_runtime::{
    OnCrash,
    record::State,
    store::protocol::{abandoned, released},
};

use crate::{
    flow::Landing,
    rec::Rec,
    variant::{Broken, CALLERS, Variant},
    world::{Phase, World},
};

impl World {
    /// A command gets no answer. The caller asks again or, if it is `giving_up`, leaves the rest to
    /// the runtime.
    pub(crate) fn unanswered(&mut self, variant: &Variant, caller: usize, giving_up: bool) {
        let first = Self::first(variant);
        match self.callers[caller].phase {
            Phase::Asking(_) if giving_up => {
                self.land(variant, caller, &Landing::Failed);
                self.leave_asking(variant, caller);
            }
            Phase::Asking(_) | Phase::Granted(_) => {
                self.callers[caller].doubt = true;
                *self.phase(caller) = Phase::Asking(first);
            }
            Phase::SeeingThrough(_) => *self.phase(caller) = Phase::SeeingThrough(first),
            Phase::Finishing(_) => self.unrecorded(variant, caller),
            _ => {}
        }
    }

    /// A command is refused, and the caller asks no more. It is not in doubt about this command.
    pub(crate) fn refused_to(&mut self, variant: &Variant, caller: usize) {
        match self.callers[caller].phase {
            Phase::Asking(_) | Phase::Granted(_) => {
                let granted = matches!(self.callers[caller].phase, Phase::Granted(_))
                    && !variant.is_broken(Broken::GrantForgotten);
                let doubt = granted || self.callers[caller].doubt;
                self.land(variant, caller, &Landing::Failed);
                if doubt {
                    self.leave_asking(variant, caller);
                } else {
                    self.end(variant, caller);
                }
            }
            Phase::Finishing(_) => self.unrecorded(variant, caller),
            _ => {}
        }
    }

    /// The caller gets its own result, and the runtime goes on recording it.
    fn unrecorded(&mut self, variant: &Variant, caller: usize) {
        let Phase::Finishing(target) = self.callers[caller].phase else {
            return;
        };
        let heard = target.state == State::Done && !self.callers[caller].orphaned;
        if heard && target.on_crash == OnCrash::Fail && !self.history.overruled[caller] {
            self.history.answered(target.value);
        }
        if variant.is_broken(Broken::NearUnrecorded) {
            self.learn(variant, caller, Some(target));
        }
        self.hand_over(variant, caller, Phase::Settling(target));
    }

    fn leave_asking(&mut self, variant: &Variant, caller: usize) {
        if variant.is_broken(Broken::NotSeenThrough) {
            self.end(variant, caller);
        } else {
            self.hand_over(variant, caller, Phase::SeeingThrough(Self::first(variant)));
        }
    }

    /// The caller goes away. This follows the table in `call/claim.rs`, `InDoubtGuard` in
    /// `call/acquire/retry.rs`, and the difference between `run` and `run_attached`.
    pub(crate) fn dropped(&mut self, variant: &Variant, caller: usize) {
        let command = self.command(caller);
        let this = self.callers[caller];
        match this.phase {
            Phase::Asking(_) | Phase::Started { .. } | Phase::Finishing(_)
                if !variant.attached
                    && !variant.is_broken(Broken::NotSeenThrough)
                    && !variant.is_broken(Broken::NotHandedOver)
                    && !variant.is_broken(Broken::AbandonTouchesDone) =>
            {
                self.callers[caller].orphaned = true;
                return;
            }
            Phase::Asking(_) => self.leave_asking(variant, caller),
            Phase::Granted(rec) => self.settle_later(variant, caller, &released(&rec.real())),
            Phase::Started { owned, .. } => self.abandon(variant, caller, owned),
            Phase::Finishing(_) if variant.is_broken(Broken::NotHandedOver) => {
                self.end(variant, caller);
            }
            Phase::Finishing(target) if variant.is_broken(Broken::AbandonTouchesDone) => {
                let target = Rec { value: 0, ..target };
                self.settle_later(variant, caller, &abandoned(&target.real()));
            }
            Phase::Finishing(target) => self.hand_over(variant, caller, Phase::Settling(target)),
            _ => self.end(variant, caller),
        }
        if let Some(command) = command {
            self.stray(command);
        }
    }

    /// The body stops midway.
    pub(crate) fn abandon(&mut self, variant: &Variant, caller: usize, owned: Rec) {
        self.history.excused[caller] = true;
        self.settle_later(variant, caller, &abandoned(&owned.real()));
    }

    /// A process dies. The commands it has sent may still arrive.
    pub(crate) fn crash(&mut self, variant: &Variant, process: u8) {
        if let Some(near) = self.near.get_mut(usize::from(process)) {
            *near = None;
        }
        for caller in 0..CALLERS {
            let phase = self.callers[caller].phase;
            if variant.callers[caller].process != process
                || matches!(phase, Phase::Idle | Phase::Ended)
            {
                continue;
            }
            if let Some(command) = self.command(caller) {
                self.stray(command);
            }
            self.history.excused[caller] = true;
            self.history.crashed[caller] = true;
            self.callers[caller].phase = Phase::Ended;
            self.end(variant, caller);
        }
        // The callers in the same process are gone as well.
        for caller in 0..CALLERS {
            if variant.callers[caller].process == process
                && self.callers[caller].phase == Phase::Joining
            {
                self.end(variant, caller);
            }
        }
    }
}
