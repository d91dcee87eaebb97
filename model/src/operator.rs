//! An operator, who reads the key's record and then resolves or forgets it.

use idempotent_runtime::{
    record::State,
    store::{
        ClaimRequest,
        protocol::{self, Step as Decision, Write},
    },
};

use crate::{
    check::Action,
    history::{Claim, OPERATOR},
    rec::{LEASE, Rec, nonce, outcome},
    store::{TTL, Told, told},
    variant::Variant,
    world::{Command, Operator, Wish, World},
};

/// The operator's steps.
pub(crate) fn operate(variant: &Variant, world: &mut World, action: Action) {
    let decide = |world: &World, wish| {
        let refused = world.visible().is_some_and(|kept| {
            wish != Wish::Forget
                && (kept.rec.state == State::Done
                    || kept.rec.state == State::Running && !kept.lapsed)
        });
        if refused {
            Operator::Ended
        } else {
            Operator::Decided(wish, world.visible().map(|kept| kept.rec))
        }
    };
    match (action, world.operator) {
        (Action::Decide(wish), _) => world.operator = decide(world, wish),
        (_, Operator::Decided(wish, seen)) => {
            let value = (wish == Wish::Done).then_some(9);
            let replacement = replacement(seen, value);
            if action == Action::LateOverrule {
                world.stray(Command::Overrule(seen, replacement));
                world.near_decided(variant);
                world.operator = Operator::Ended;
                return;
            }
            let told = world.overrule(variant, seen, replacement);
            world.near_decided(variant);
            world.operator = match told {
                Told::Applied => Operator::Ended,
                Told::Stale(_) | Told::Absent => decide(world, wish),
            };
        }
        _ => {}
    }
}

impl World {
    /// An operator's decision is carried out.
    pub fn overrule(&mut self, variant: &Variant, seen: Option<Rec>, replacement: Rec) -> Told {
        let real = self.real();
        let current = self.current(variant, real.as_ref(), None);
        let seen = seen.map(Rec::real);
        let Decision { write, reply } = protocol::overrule(
            current,
            seen.as_ref(),
            &replacement.real(),
            self.now(variant),
        );
        if let Some(Write { record, keep, .. }) = write {
            self.write(variant, &record, keep, true);
            let token = Rec::of(&record).token;
            if token <= self.history.token {
                self.history.breaks(Claim::TokensGrow);
            }
            self.history.token = self.history.token.max(token);
            if let Some(overruled) = self
                .history
                .overruled
                .get_mut(usize::from(self.history.holder))
            {
                *overruled = true;
                self.history.excused[usize::from(self.history.holder)] = true;
            }
            self.history.holder = OPERATOR;
            self.near_overruled();
            if replacement.state != State::Done {
                self.history.starts_afresh();
            }
            // If an answer was given that nobody recorded, the operator's result now counts.
            self.history.answer = 0;
            self.publish();
        }
        told(reply)
    }
}

/// The record that an operator's decision puts in place of the one that was seen.
fn replacement(seen: Option<Rec>, value: Option<u8>) -> Rec {
    let mut request = ClaimRequest::new(nonce(OPERATOR + 1));
    request.lease = LEASE;
    request.ttl = TTL;
    let seen = seen.map(Rec::real);
    let result = value.map(|value| (1, outcome(value)));
    Rec::of(&protocol::replacement(seen.as_ref(), &request, result))
}
