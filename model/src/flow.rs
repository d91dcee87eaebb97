//! The callers' side: what a call does with an answer, and what is owed when its caller goes away.
//!
//! It follows `acquire/`, `claim.rs` and `mod.rs` of the runtime's `call/`. An answer arrives in
//! the step that gives it. What the caller does next is another step, so a slow answer is the same
//! as a slow caller. Lost and late answers are faults.

use idempotent_runtime::{
    OnCrash,
    record::{Record, State},
    store::protocol::{lost, released},
};

use crate::{
    history::Claim,
    rec::Rec,
    store::{Met, Told},
    variant::{Broken, CALLERS, Variant},
    world::{Caller, For, Kept, Phase, World},
};

/// The outcome of a flight.
pub(crate) enum Landing {
    Record(Rec),
    Free,
    Failed,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a result.
    Ok,
    /// With an `Err` that means: nothing happened.
    Err,
    /// With an `Err` that means: effects unknown.
    ErrFail,
}

impl World {
    pub(crate) fn phase(&mut self, caller: usize) -> &mut Phase {
        &mut self.callers[caller].phase
    }

    /// A call begins, or begins again after its flight had nothing to share.
    pub(crate) fn join(&mut self, variant: &Variant, caller: usize) {
        let process = variant.process(caller);
        let aside = match self.flights[process] {
            Some(leader) if variant.is_payload_of(leader, caller) => {
                *self.phase(caller) = Phase::Following(leader);
                return;
            }
            leader => leader.is_some(),
        };
        if variant.shares(caller) && !aside {
            self.flights[process] = u8::try_from(caller).ok();
        }
        self.ask(variant, caller);
    }

    fn ask(&mut self, variant: &Variant, caller: usize) {
        let looks = self.callers[caller].saw_fail && variant.forgets();
        *self.phase(caller) = if looks {
            Phase::Looking
        } else {
            Phase::Asking(Self::first(variant))
        };
    }

    /// The flight that this call leads lands.
    pub(crate) fn land(&mut self, variant: &Variant, caller: usize, landing: &Landing) {
        let process = usize::from(variant.callers[caller].process);
        let leader = u8::try_from(caller).ok();
        if self.flights[process] == leader {
            self.flights[process] = None;
        }
        for follower in 0..CALLERS {
            if !matches!(self.callers[follower].phase, Phase::Following(l) if Some(l) == leader) {
                continue;
            }
            *self.phase(follower) = match landing {
                Landing::Free => Phase::Joining,
                Landing::Record(_) | Landing::Failed => Phase::Ended,
            };
            if let Landing::Record(record) = landing {
                self.replied(variant, follower, *record);
            }
        }
    }

    /// The call ends; nothing is owed any more.
    pub(crate) fn end(&mut self, variant: &Variant, caller: usize) {
        self.end_with(variant, caller, &Landing::Free);
    }

    fn end_with(&mut self, variant: &Variant, caller: usize, landing: &Landing) {
        self.land(variant, caller, landing);
        self.callers[caller] = Caller::at(Phase::Ended);
    }

    /// The runtime takes over what is left to do, and the caller waits no longer.
    pub(crate) fn hand_over(&mut self, variant: &Variant, caller: usize, work: Phase) {
        self.end(variant, caller);
        *self.phase(caller) = work;
    }

    pub(crate) fn settle_later(&mut self, variant: &Variant, caller: usize, target: &Record) {
        self.hand_over(variant, caller, Phase::Settling(Rec::of(target)));
    }

    /// Reads whether the record that it saw is still there, as `is_gone` does.
    pub(crate) fn look(&mut self, variant: &Variant, caller: usize) {
        match self.visible() {
            None => self.end(variant, caller), // Indeterminate
            Some(_) => *self.phase(caller) = Phase::Asking(Self::first(variant)),
        }
    }

    /// The store answers a claim.
    pub(crate) fn met(&mut self, variant: &Variant, caller: usize, met: Met) {
        let this = self.callers[caller];
        match (this.phase, met) {
            (Phase::Asking(_), Met::Next(step)) => *self.phase(caller) = Phase::Asking(step),
            (_, Met::Next(step)) => *self.phase(caller) = Phase::SeeingThrough(step),
            (Phase::SeeingThrough(_), Met::Granted(rec)) => {
                *self.phase(caller) = Phase::Settling(Rec::of(&released(&rec.real())));
            }
            (Phase::SeeingThrough(_), Met::Held(_)) => self.end(variant, caller),
            (_, Met::Granted(rec)) if this.orphaned => {
                self.settle_later(variant, caller, &released(&rec.real()));
            }
            (_, Met::Granted(rec)) if this.saw_fail && rec.attempts == 1 => {
                *self.phase(caller) = Phase::Finishing(Rec::of(&lost(&rec.real())));
            }
            (_, Met::Granted(rec)) => *self.phase(caller) = Phase::Granted(rec),
            (_, Met::Held(_)) if this.orphaned => self.end(variant, caller),
            (_, Met::Held(kept)) => self.held(variant, caller, kept),
        }
    }

    fn held(&mut self, variant: &Variant, caller: usize, kept: Kept) {
        let rec = kept.rec;
        if rec.conflicts_with(variant.callers[caller].payload) {
            return self.end(variant, caller); // KeyReused
        }
        match rec.state {
            State::Running => {
                self.callers[caller].saw_fail |= rec.on_crash == OnCrash::Fail;
                // If the lease is already over, it sleeps only for a moment.
                self.callers[caller].due |= kept.lapsed;
                self.wait(caller, For::Claim);
            }
            State::Done => {
                self.replied_late(variant, caller, rec, kept.ended);
                self.end_with(variant, caller, &Landing::Record(rec));
            }
            _ => self.end(variant, caller), // Indeterminate, or InFlight for a released record
        }
    }

    /// The first time it subscribes and asks again. After that it sleeps.
    fn wait(&mut self, caller: usize, aim: For) {
        *self.phase(caller) = if self.callers[caller].subscribed {
            Phase::Asleep(aim)
        } else {
            Phase::Subscribing(aim)
        };
    }

    /// The subscription is in force.
    pub(crate) fn subscribed(&mut self, variant: &Variant, caller: usize, aim: For) {
        self.callers[caller].subscribed = true;
        match aim {
            _ if variant.is_broken(Broken::SleepsAtOnce) => {
                *self.phase(caller) = Phase::Asleep(aim);
            }
            For::Claim => self.ask(variant, caller),
            For::Adoption => *self.phase(caller) = Phase::Adopting,
        }
    }

    /// A sleeper wakes.
    pub(crate) fn wake(&mut self, variant: &Variant, caller: usize, aim: For) {
        self.callers[caller].notified = false;
        self.callers[caller].due = false;
        match aim {
            For::Claim => self.ask(variant, caller),
            For::Adoption => *self.phase(caller) = Phase::Adopting,
        }
    }

    /// The body is polled for the first time.
    pub(crate) fn start(&mut self, caller: usize, owned: Rec) {
        let at_most_once = owned.on_crash == OnCrash::Fail;
        self.history.starts(caller, owned.token, at_most_once);
        *self.phase(caller) = Phase::Started {
            owned,
            effect: false,
        };
    }

    /// The body returns.
    pub(crate) fn returns(
        &mut self,
        variant: &Variant,
        caller: usize,
        owned: Rec,
        end: End,
        value: u8,
    ) {
        let unknown_is_rerun = variant.is_broken(Broken::UnknownIsRerun);
        let target = match end {
            End::Ok => Rec {
                state: State::Done,
                value,
                ..owned
            },
            End::Err => {
                self.history.nothing_happened(caller);
                Rec::of(&released(&owned.real()))
            }
            End::ErrFail => Rec {
                on_crash: if unknown_is_rerun {
                    owned.on_crash
                } else {
                    OnCrash::Fail
                },
                ..Rec::of(&lost(&owned.real()))
            },
        };
        *self.phase(caller) = Phase::Finishing(target);
    }

    /// The store answers a heartbeat.
    pub(crate) fn renewed(&mut self, variant: &Variant, caller: usize, told: Told) {
        let kept = match told {
            Told::Applied => return self.history.heard_of(caller),
            Told::Absent => return,
            // The body has not begun: the call waits as if it had not been granted.
            Told::Stale(kept) if matches!(self.callers[caller].phase, Phase::Granted(_)) => {
                return self.met(variant, caller, Met::Held(kept));
            }
            Told::Stale(kept) => kept,
        };
        let Rec { state, nonce, .. } = kept.rec;
        let own = nonce == variant.nonce(caller);
        let nobody = state == State::Running
            && !self.is_alive(variant, nonce)
            && !self.has_crashed(variant, nonce);
        if own || nobody {
            self.history.breaks(Claim::StoppedForSuccessor);
        }
        self.land(variant, caller, &Landing::Free);
        self.adopt(variant, caller, Some(kept));
    }

    /// The store answers a finish.
    pub(crate) fn finished(&mut self, variant: &Variant, caller: usize, target: Rec, told: Told) {
        if matches!(self.callers[caller].phase, Phase::Settling(_)) {
            return self.end(variant, caller);
        }
        match told {
            Told::Applied if target.state == State::Done => {
                self.history.heard_of(caller);
                if !self.callers[caller].orphaned {
                    self.history.answered(target.value);
                }
                self.end_with(variant, caller, &Landing::Record(target));
            }
            Told::Stale(kept) if self.history.started[caller] => {
                self.land(variant, caller, &Landing::Free);
                self.adopt(variant, caller, Some(kept));
            }
            _ => self.end(variant, caller),
        }
    }

    /// Takes the result of the attempt that overtook this one: replays it, waits for it, or is
    /// `Superseded`.
    pub(crate) fn adopt(&mut self, variant: &Variant, caller: usize, kept: Option<Kept>) {
        match kept {
            Some(Kept { rec, ended, .. })
                if rec.state == State::Done
                    && !rec.conflicts_with(variant.callers[caller].payload) =>
            {
                if !self.callers[caller].orphaned {
                    self.replied_late(variant, caller, rec, ended);
                }
                self.end(variant, caller);
            }
            // Waits for an owner whose lease has lapsed until the wait is over.
            Some(Kept {
                rec, lapsed: false, ..
            }) if rec.state == State::Running && !self.callers[caller].orphaned => {
                self.wait(caller, For::Adoption);
            }
            _ => self.end(variant, caller),
        }
    }
}
