//! The store: its decisions are the runtime's own functions, applied to the model's one record.

use std::time::Duration;

use idempotent_runtime::{
    record::{HOLD, Record, State},
    store::{
        ClaimReply, ClaimRequest, Settled,
        protocol::{self, Current, Step as Decision, Write},
    },
};

use crate::{
    history::Claim,
    rec::{LEASE, Rec, nonce, payload},
    variant::{Broken, Variant},
    world::{Cell, Kept, Step, World},
};

/// The store's answer to a step of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The right to run.
    Granted(Rec),
    /// Another attempt's record is there.
    Held(Kept),
    /// The claim needs this step next.
    Next(Step),
}

/// The store's answer to a renew, a finish or an overruling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Done as asked.
    Applied,
    /// Nothing changed; this record is there.
    Stale(Kept),
    /// Nothing changed; there is no record.
    Absent,
}

/// The retention of a result. Its length does not matter.
pub(crate) const TTL: Duration = Duration::from_secs(60);

/// The store's time before the first grant, in µs.
pub(crate) const BASE: u64 = 1_000_000;
/// `expires` of a finished record that is still shown, in ms, whenever it was written.
pub(crate) const LIVE: u64 = BASE / 1000 + 60_000;
/// `expires` of one that is past its end.
pub(crate) const ENDED: u64 = 1;

/// Longer than any lease.
const AGES: Duration = Duration::from_secs(24 * 60 * 60);

impl World {
    /// The store's record as a command of the caller `asking` finds it.
    pub(crate) fn current<'a>(
        &self,
        variant: &Variant,
        real: Option<&'a Record>,
        asking: Option<usize>,
    ) -> Option<Current<'a>> {
        let kept = self.cell.kept?;
        let lapsed = Self::is_lapsed(variant, kept, asking);
        Some(Current {
            record: real?,
            age: if lapsed { AGES } else { Duration::ZERO },
        })
    }

    /// Whether the lease has lapsed, from the point of view of the caller that asks.
    fn is_lapsed(variant: &Variant, kept: Kept, asking: Option<usize>) -> bool {
        let (Some(asking), true) = (asking, variant.is_broken(Broken::AgeFromTtl)) else {
            return kept.lapsed;
        };
        // The record is kept for the writer's `ttl`, but its age is computed from the asking
        // caller's.
        let writer = variant.callers.get(usize::from(kept.rec.nonce - 1));
        kept.lapsed || writer.is_some_and(|writer| writer.ttl < variant.callers[asking].ttl)
    }

    pub(crate) fn real(&self) -> Option<Record> {
        let kept = self.cell.kept?;
        let expires = match kept.rec.state {
            State::Done | State::Failed if kept.ended => ENDED,
            State::Done | State::Failed => LIVE,
            _ => 0,
        };
        Some({
            let mut record = kept.rec.real();
            record.expires = expires;
            record
        })
    }

    pub(crate) fn now(&self, variant: &Variant) -> u64 {
        if variant.is_broken(Broken::TokenInRecord) {
            return BASE + 1;
        }
        BASE + u64::from(self.cell.clock) + 1
    }

    /// Writes what the protocol says, and notes what that breaks.
    pub(crate) fn write(
        &mut self,
        variant: &Variant,
        record: &Record,
        keep: Duration,
        overruling: bool,
    ) {
        let rec = Rec::of(record);
        assert!(
            matches!(rec.state, State::Done | State::Failed) || keep == HOLD,
            "what is unfinished is kept for HOLD"
        );
        if let Some(Kept {
            rec: before, ended, ..
        }) = self.cell.kept
            && before.state == State::Done
            && before != rec
            && !overruling
            && !(ended && before.nonce != rec.nonce)
        {
            self.history.breaks(Claim::DoneStays);
        }
        if variant.may(crate::variant::Fault::Failover) {
            self.behind = Some(self.cell);
        }
        self.cell = Cell {
            kept: Some(Kept {
                rec,
                lapsed: false,
                ended: false,
            }),
            clock: self.cell.clock.max(rec.token),
        };
    }

    /// Carries out a step of a claim.
    pub fn claim(&mut self, variant: &Variant, caller: usize, step: Step) -> Met {
        match (step, self.cell.kept) {
            (Step::Claim, _) | (Step::Place, None) => self.decide(variant, caller, None),
            (Step::Place, Some(kept)) => Self::meet(variant, caller, kept),
            (Step::Take { .. }, None) => Met::Next(Step::Place),
            (
                Step::Take {
                    state,
                    nonce,
                    lapsed,
                },
                Some(kept),
            ) => {
                let rec = kept.rec;
                if rec.state != state || rec.nonce != nonce {
                    let blind = variant.is_broken(Broken::TakeoverByState) && rec.state == state;
                    if blind && lapsed {
                        return self.decide(variant, caller, Some(true));
                    }
                    return Self::meet(variant, caller, kept);
                }
                if rec.state == State::Running && !lapsed {
                    let lapsed = Self::is_lapsed(variant, kept, Some(caller));
                    return look(Kept { lapsed, ..kept });
                }
                self.decide(variant, caller, None)
            }
        }
    }

    /// The next step of a two-step claim that found a record in its way.
    fn meet(variant: &Variant, caller: usize, kept: Kept) -> Met {
        let rec = kept.rec;
        let own = rec.nonce == variant.nonce(caller);
        let take = Met::Next(Step::Take {
            state: rec.state,
            nonce: rec.nonce,
            lapsed: false,
        });
        match rec.state {
            State::Running if own => Met::Granted(rec),
            State::Lost if own => take,
            State::Done | State::Failed if !own && kept.ended => take,
            _ if own || rec.conflicts_with(variant.callers[caller].payload) => Met::Held(kept),
            State::Running | State::Failed => take,
            _ => Met::Held(kept),
        }
    }

    /// The protocol's decision about a claim.
    fn decide(&mut self, variant: &Variant, caller: usize, lapsed: Option<bool>) -> Met {
        let terms = variant.callers[caller];
        let mut request = ClaimRequest::new(nonce(variant.nonce(caller)));
        request.lease = LEASE * terms.lease.into();
        request.on_crash = terms.on_crash;
        request.fingerprint = payload(terms.payload);
        request.ttl = TTL;
        let mut real = self.real();
        if let Some(record) = &mut real
            && variant.is_broken(Broken::TakersPolicy)
        {
            record.on_crash = terms.on_crash;
        }
        if variant.is_broken(Broken::LostIsFinal)
            && let Some(kept) = self.cell.kept
            && kept.rec.state == State::Lost
        {
            return Met::Held(kept);
        }
        if variant.is_broken(Broken::TokenByTime) && self.visible().is_none() {
            real = None;
        }
        let mut current = self.current(variant, real.as_ref(), Some(caller));
        if let (Some(current), Some(lapsed)) = (&mut current, lapsed) {
            current.age = if lapsed { AGES } else { Duration::ZERO };
        }
        let Decision { write, reply } = protocol::claim(current, &request, self.now(variant));
        let before = self.cell.kept.map(|kept| (kept.rec.nonce, kept.rec.token));
        if let Some(Write { record, keep, .. }) = write {
            self.write(variant, &record, keep, false);
        }
        match reply {
            ClaimReply::Granted { record, .. } => {
                let rec = Rec::of(&record);
                if before != Some((rec.nonce, rec.token)) {
                    self.history.granted(caller, rec.token);
                }
                Met::Granted(rec)
            }
            ClaimReply::Held { record, lease_left } => Met::Held(Kept {
                rec: Rec::of(&record),
                lapsed: lease_left.is_zero(),
                ended: record.expires == ENDED,
            }),
            _ => unreachable!("a claim is granted or held"),
        }
    }

    /// Carries out a heartbeat.
    pub fn renew(&mut self, variant: &Variant, caller: usize, owned: Rec) -> Told {
        if let Some(told) = self.refused(variant) {
            return told;
        }
        let mut real = self.real();
        if let Some(record) = &mut real
            && variant.is_broken(Broken::RenewRevives)
            && self.visible().is_none()
        {
            record.state = State::Running;
            record.codec = 0;
        }
        let current = self.current(variant, real.as_ref(), None);
        let decision = protocol::renew(current, &owned.real(), self.now(variant));
        self.settle(variant, caller, decision)
    }

    /// Carries out a finish.
    pub fn finish(&mut self, variant: &Variant, caller: usize, target: Rec) -> Told {
        if let Some(told) = self.refused(variant) {
            return told;
        }
        let mut real = self.real();
        if let Some(record) = &mut real
            && variant.is_broken(Broken::AbandonTouchesDone)
        {
            record.state = State::Running;
        }
        let current = self.current(variant, real.as_ref(), None);
        let decision = protocol::finish(current, &target.real(), self.now(variant));
        let written = decision.write.is_some();
        let told = self.settle(variant, caller, decision);
        if written {
            self.history.finished[caller] |= matches!(target.state, State::Done | State::Failed);
            if target.state == State::Failed && variant.is_broken(Broken::DeleteOnRelease) {
                self.cell.kept = None;
            }
            self.publish();
        }
        told
    }

    /// The answer of a broken protocol to the owner of a lost record.
    fn refused(&self, variant: &Variant) -> Option<Told> {
        let kept = self.cell.kept?;
        let refused = kept.rec.state == State::Lost && variant.is_broken(Broken::LostIsFinal);
        refused.then_some(Told::Stale(kept))
    }

    fn settle(&mut self, variant: &Variant, caller: usize, decision: Decision<Settled>) -> Told {
        if let Some(Write { record, keep, .. }) = decision.write {
            if usize::from(self.history.holder) != caller {
                self.history.breaks(Claim::StaleRefused);
            }
            if self.history.finished[caller] {
                self.history.breaks(Claim::StaysFinished);
            }
            self.write(variant, &record, keep, false);
            if record.state == State::Lost && self.history.started[caller] {
                self.history.pins(caller);
            }
        }
        told(decision.reply)
    }
}

/// A claim that only looks changes nothing: it learns whether the lease has lapsed.
fn look(kept: Kept) -> Met {
    if !kept.lapsed {
        return Met::Held(kept);
    }
    Met::Next(Step::Take {
        state: kept.rec.state,
        nonce: kept.rec.nonce,
        lapsed: true,
    })
}

pub(crate) fn told(settled: Settled) -> Told {
    match settled {
        Settled::Applied | Settled::PutBack => Told::Applied,
        Settled::Stale { record, lease_left } => Told::Stale(Kept {
            rec: Rec::of(&record),
            lapsed: record.state == State::Running && lease_left.is_zero(),
            ended: record.expires == ENDED,
        }),
        _ => Told::Absent,
    }
}
