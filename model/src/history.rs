//! The past, as far as a guarantee depends on it, and the guarantees that were broken.

use crate::variant::CALLERS;

/// What must hold. Each is one property of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// No two bodies run with one fencing token.
    OneOwner,
    /// Every grant's token is larger than every earlier one's.
    TokensGrow,
    /// A renew or finish of an attempt that is not the latest one granted changes nothing.
    StaleRefused,
    /// A downstream that refuses smaller tokens takes effects in the order of the grants.
    Fenced,
    /// All recorded replies agree. A near cache of another process may replay the result before an
    /// operator's decision.
    Agree,
    /// A call gets no result of another payload.
    OwnPayload,
    /// Under `fail`, and after an `Err` with effects unknown, no second body starts, unless the
    /// first one or an operator said that nothing happened.
    AtMostOnce,
    /// No second body starts without a cause: a crash, a lapse, a body dropped midway, a lost
    /// record, an `Err`, or an operator.
    NoRepeat,
    /// A done record changes only by an operator, or at the end of its retention.
    DoneStays,
    /// A record becomes lost only if its body started, its process died, or its owner can still
    /// settle it.
    LostStarted,
    /// Nothing is granted to an attempt that has ended.
    GrantedToSomebody,
    /// A body is stopped only for a successor's sake.
    StoppedForSuccessor,
    /// A sleeping waiter is woken by whatever it waits for.
    Woken,
    /// Without further faults every call ends, and no running record stays whose lease does not
    /// lapse.
    Ends,
    /// Once its own finish is recorded, no later message of an attempt changes anything, also past
    /// the record's end.
    StaysFinished,
}

impl Claim {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::OneOwner,
        Self::TokensGrow,
        Self::StaleRefused,
        Self::Fenced,
        Self::Agree,
        Self::OwnPayload,
        Self::AtMostOnce,
        Self::NoRepeat,
        Self::DoneStays,
        Self::LostStarted,
        Self::GrantedToSomebody,
        Self::StoppedForSuccessor,
        Self::Woken,
        Self::Ends,
        Self::StaysFinished,
    ];

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneOwner => "one owner per token",
            Self::TokensGrow => "tokens grow",
            Self::StaleRefused => "stale is refused",
            Self::Fenced => "fenced downstream",
            Self::Agree => "recorded replies agree",
            Self::OwnPayload => "replies are to the payload",
            Self::AtMostOnce => "at most once",
            Self::NoRepeat => "no repeat without cause",
            Self::DoneStays => "done stays done",
            Self::LostStarted => "lost only if started",
            Self::GrantedToSomebody => "granted to somebody",
            Self::StoppedForSuccessor => "stopped for a successor",
            Self::Woken => "no wake-up is lost",
            Self::Ends => "every call ends",
            Self::StaysFinished => "finished stays finished",
        }
    }
}

/// The operator's number among the callers.
pub const OPERATOR: u8 = 3;
const _: () = assert!(
    OPERATOR as usize == CALLERS,
    "the operator comes after the callers"
);
/// The number for nobody.
pub const NOBODY: u8 = u8::MAX;

/// What has happened so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History {
    /// The guarantees that the last step broke, as bits.
    pub broken: u16,
    /// The largest token granted.
    pub token: u8,
    /// The latest attempt that was granted, or the operator.
    pub holder: u8,
    /// The number of grants so far.
    pub grants: u8,
    /// The number of each caller's latest grant.
    pub grant: [u8; CALLERS],
    /// The tokens with which bodies started, as bits.
    pub tokens: u16,
    /// The callers whose finish is recorded, as done or released.
    pub finished: [bool; CALLERS],
    /// The callers whose bodies started.
    pub started: [bool; CALLERS],
    /// The callers whose grants an operator overruled.
    pub overruled: [bool; CALLERS],
    /// The callers whose processes died.
    pub crashed: [bool; CALLERS],
    /// The callers to whom something has happened since, so that the body may be repeated.
    pub excused: [bool; CALLERS],
    /// The caller whose body started and must not be repeated.
    pub pinned: u8,
    /// The recorded result that callers were answered; 0 for none.
    pub answer: u8,
    /// The largest token that the downstream service has seen, and the number of its grant.
    pub downstream: (u8, u8),
    /// Whether the store has dropped a record or lost its last write.
    pub forgotten: bool,
}

impl History {
    /// Nothing has happened.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            broken: 0,
            token: 0,
            holder: NOBODY,
            grants: 0,
            grant: [0; CALLERS],
            tokens: 0,
            finished: [false; CALLERS],
            started: [false; CALLERS],
            overruled: [false; CALLERS],
            crashed: [false; CALLERS],
            excused: [false; CALLERS],
            pinned: NOBODY,
            answer: 0,
            downstream: (0, 0),
            forgotten: false,
        }
    }

    /// Notes that a guarantee is broken.
    pub fn breaks(&mut self, claim: Claim) {
        self.broken |= 1 << claim as u16;
    }

    /// Whether a guarantee still holds.
    #[must_use]
    pub const fn keeps(&self, claim: Claim) -> bool {
        self.broken & (1 << claim as u16) == 0
    }

    /// A claim was granted with a new token.
    pub fn granted(&mut self, caller: usize, token: u8) {
        if token <= self.token {
            self.breaks(Claim::TokensGrow);
        }
        self.token = self.token.max(token);
        self.grants += 1;
        self.grant[caller] = self.grants;
        self.holder = index(caller);
    }

    /// A body starts.
    pub fn starts(&mut self, caller: usize, token: u8, at_most_once: bool) {
        if self.tokens & (1 << token) != 0 {
            self.breaks(Claim::OneOwner);
        }
        self.tokens |= 1 << token;
        let repeats = (0..CALLERS)
            .any(|other| other != caller && self.started[other] && !self.excused[other]);
        // It was silent before its body began, and perhaps overtaken: that is the cause.
        if repeats && !self.excused[caller] {
            self.breaks(Claim::NoRepeat);
        }
        let grant = self.grant[caller];
        let later = |other: usize| self.started[other] && self.grant[other] > grant;
        let repeats = match self.grant.get(usize::from(self.pinned)) {
            Some(&pinned) if pinned < grant => true,
            _ => at_most_once && !self.overruled[caller] && (0..CALLERS).any(later),
        };
        if repeats {
            self.breaks(Claim::AtMostOnce);
        }
        self.started[caller] = true;
        if at_most_once && !self.overruled[caller] {
            self.pins(caller);
        }
    }

    /// The effects of this body must not be repeated.
    pub fn pins(&mut self, caller: usize) {
        let pinned = self.grant.get(usize::from(self.pinned));
        if pinned.is_none_or(|&pinned| pinned <= self.grant[caller]) {
            self.pinned = index(caller);
        }
    }

    /// A body has its effect at a downstream service that refuses tokens smaller than the largest
    /// it has seen.
    pub fn effect(&mut self, caller: usize, token: u8) {
        let (largest, grant) = self.downstream;
        let accepted = token >= largest;
        let in_order = self.grant[caller] >= grant;
        if accepted != in_order {
            self.breaks(Claim::Fenced);
        }
        if accepted {
            self.downstream = (token, self.grant[caller]);
        }
    }

    /// A caller gets a recorded result.
    pub fn answered(&mut self, value: u8) {
        if self.answer == 0 {
            self.answer = value;
        } else if self.answer != value {
            self.breaks(Claim::Agree);
        }
    }

    /// The store has received a sign of life: what happened to the owner before is no cause for a
    /// repetition any more.
    pub fn heard_of(&mut self, caller: usize) {
        self.excused[caller] = false;
    }

    /// From now on, whatever was granted so far may be repeated.
    pub fn excuse_all(&mut self) {
        for caller in 0..CALLERS {
            self.excused[caller] |= self.grant[caller] > 0;
        }
    }

    /// A body said that nothing happened.
    pub fn nothing_happened(&mut self, caller: usize) {
        self.excused[caller] = true;
        if self.pinned == index(caller) {
            self.pinned = NOBODY;
        }
    }

    /// The retention is over, or an operator has reset the key: what follows is independent of the
    /// past.
    pub fn starts_afresh(&mut self) {
        self.excuse_all();
        self.pinned = NOBODY;
        self.answer = 0;
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

fn index(caller: usize) -> u8 {
    u8::try_from(caller).unwrap_or(NOBODY)
}
