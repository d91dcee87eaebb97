//! Which guarantees hold in a state, and whether it has further steps.

use idempotent_runtime::record::State;

use crate::{
    history::Claim,
    variant::{CALLERS, Variant},
    world::{For, Operator, Phase, World},
};

impl World {
    /// Whether the attempt with this nonce can still settle its record. Once it adopts another's
    /// result, it owns none.
    #[must_use]
    pub fn is_alive(&self, variant: &Variant, nonce: u8) -> bool {
        (0..CALLERS).any(|caller| {
            let gone = matches!(
                self.callers[caller].phase,
                Phase::Idle
                    | Phase::Subscribing(For::Adoption)
                    | Phase::Asleep(For::Adoption)
                    | Phase::Adopting
                    | Phase::Ended
            );
            variant.nonce(caller) == nonce && !gone
        })
    }

    /// Whether the attempt with this nonce died with its process.
    #[must_use]
    pub fn has_crashed(&self, variant: &Variant, nonce: u8) -> bool {
        (0..CALLERS).any(|caller| variant.nonce(caller) == nonce && self.history.crashed[caller])
    }

    /// Whether a step is possible without a further fault.
    #[must_use]
    pub fn can_move(&self, variant: &Variant) -> bool {
        matches!(self.operator, Operator::Decided(..))
            || self.may_lapse_by_itself(variant)
            || self.callers.iter().any(|caller| match caller.phase {
                Phase::Ended => false,
                Phase::Asleep(_) => caller.notified || caller.due,
                Phase::Following(leader) => self.is_stalled(variant, leader),
                _ => true,
            })
    }

    /// Whether the lease may lapse without a fault: only if its owner is gone.
    #[must_use]
    pub fn may_lapse_by_itself(&self, variant: &Variant) -> bool {
        self.cell.kept.is_some_and(|kept| {
            kept.rec.state == State::Running
                && !kept.lapsed
                && !self.is_alive(variant, kept.rec.nonce)
        })
    }

    /// Whether the leader of a flight has been silent for its lease.
    #[must_use]
    pub fn is_stalled(&self, variant: &Variant, leader: u8) -> bool {
        self.cell
            .kept
            .is_some_and(|kept| kept.lapsed && kept.rec.nonce == variant.nonce(leader.into()))
    }

    /// Whether a guarantee holds in this state.
    #[must_use]
    pub fn keeps(&self, variant: &Variant, claim: Claim) -> bool {
        let kept = self.cell.kept;
        match claim {
            Claim::LostStarted => kept.is_none_or(|kept| {
                let nonce = kept.rec.nonce;
                kept.rec.state != State::Lost
                    || self.history.forgotten
                    || (0..CALLERS).any(|caller| {
                        variant.nonce(caller) == nonce && self.history.started[caller]
                    })
                    || self.has_crashed(variant, nonce)
                    || self.is_alive(variant, nonce)
            }),
            Claim::Woken => self.callers.iter().all(|caller| {
                !matches!(caller.phase, Phase::Asleep(_))
                    || caller.notified
                    || caller.due
                    || kept.is_some_and(|kept| kept.rec.state == State::Running)
            }),
            Claim::Ends => self.can_move(variant) || self.is_at_rest(),
            _ => self.history.keeps(claim),
        }
    }

    fn is_at_rest(&self) -> bool {
        self.callers
            .iter()
            .all(|caller| caller.phase == Phase::Ended)
            && self
                .cell
                .kept
                .is_none_or(|kept| kept.rec.state != State::Running || kept.lapsed)
    }
}
