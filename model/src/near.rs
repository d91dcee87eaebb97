//! The near cache of each process: what a call finds there, what enters, and what removes it.
//!
//! A result enters in the same step as the answer that shows it. That nothing late undoes a
//! decision of this process' operator is shown by the interleavings in `tests/races`.

use idempotent_runtime::record::State;

use crate::{
    history::Claim,
    rec::Rec,
    store::{Met, Told},
    variant::{Broken, CALLERS, Variant},
    world::{Caller, Near, Phase, World},
};

/// The process whose operator decides.
const OPERATORS: usize = 0;

impl World {
    /// Whether a call finds its result in its own process. Nothing is sent to the store then.
    pub(crate) fn replays_near(&mut self, variant: &Variant, caller: usize) -> bool {
        let Some(Near { rec, late }) = self.near[variant.process(caller)] else {
            return false;
        };
        let other = rec.conflicts_with(variant.callers[caller].payload);
        if other && !variant.is_broken(Broken::NearWithoutPayload) {
            return false;
        }
        if late {
            // An operator in another process has decided since. That this takes effect late is
            // documented.
            self.checks_payload(variant, caller, rec);
        } else {
            self.replied(variant, caller, rec);
        }
        self.callers[caller] = Caller::at(Phase::Ended);
        true
    }

    /// A caller gets the result of a record that may be past its end. A later run may have another
    /// result.
    pub(crate) fn replied_late(&mut self, variant: &Variant, caller: usize, rec: Rec, ended: bool) {
        if ended {
            self.checks_payload(variant, caller, rec);
        } else {
            self.replied(variant, caller, rec);
        }
    }

    /// A caller gets the result of a record.
    pub(crate) fn replied(&mut self, variant: &Variant, caller: usize, rec: Rec) {
        self.checks_payload(variant, caller, rec);
        self.history.answered(rec.value);
    }

    fn checks_payload(&mut self, variant: &Variant, caller: usize, rec: Rec) {
        if rec.conflicts_with(variant.callers[caller].payload) {
            self.history.breaks(Claim::OwnPayload);
        }
    }

    /// The store has answered a claim.
    pub(crate) fn near_met(&mut self, variant: &Variant, caller: usize, met: Met) {
        match met {
            Met::Granted(_) => self.learn(variant, caller, None),
            Met::Held(kept) => self.learn(variant, caller, Some(kept.rec)),
            Met::Next(_) => {}
        }
    }

    /// The store has answered a finish that was sent for the first time.
    pub(crate) fn near_told(&mut self, variant: &Variant, caller: usize, target: Rec, told: Told) {
        match told {
            _ if matches!(self.callers[caller].phase, Phase::Settling(_)) => {}
            Told::Applied => self.learn(variant, caller, Some(target)),
            Told::Stale(kept) => self.learn(variant, caller, Some(kept.rec)),
            Told::Absent => self.learn(variant, caller, None),
        }
    }

    /// A process learns which record the store has.
    pub(crate) fn learn(&mut self, variant: &Variant, caller: usize, rec: Option<Rec>) {
        if !variant.near {
            return;
        }
        let near = &mut self.near[variant.process(caller)];
        let done = rec.filter(|rec| rec.state == State::Done);
        match (done, *near) {
            (Some(rec), Some(known)) if known.rec.token > rec.token => {}
            (done, _) => *near = done.map(|rec| Near { rec, late: false }),
        }
    }

    /// An operator's decision is carried out: what a near cache has may now be outdated.
    pub(crate) fn near_overruled(&mut self) {
        for near in self.near.iter_mut().flatten() {
            near.late = true;
        }
    }

    /// The operator is answered, or gives up waiting.
    pub(crate) fn near_decided(&mut self, variant: &Variant) {
        let near = &mut self.near[OPERATORS];
        if !variant.is_broken(Broken::NearNotForgotten) {
            *near = None;
        } else if let Some(near) = near {
            near.late = false;
        }
    }

    /// A result's retention is over.
    pub(crate) fn near_expired(&mut self, variant: &Variant) {
        if !variant.is_broken(Broken::NearOutlives) {
            for near in &mut self.near {
                *near = near.filter(|near| near.late);
            }
        }
    }

    /// Drops near caches of processes that will not call any more: fewer states.
    pub(crate) fn tidy_near(&mut self, variant: &Variant) {
        for process in 0..CALLERS {
            let used = (0..CALLERS).any(|caller| {
                variant.process(caller) == process && self.callers[caller].phase == Phase::Idle
            });
            if !used {
                self.near[process] = None;
            }
        }
    }
}
