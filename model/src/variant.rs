//! What is checked: who calls, which faults may happen, and which rule is broken on purpose.

use idempotent_runtime::OnCrash;

/// How many calls there are. Each is one attempt: a client's retry is another call.
pub const CALLERS: usize = 3;

/// The options of one call. Callers of two deploys may have different ones.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The process it runs in.
    pub process: u8,
    /// Its lease.
    pub lease: u8,
    /// Its `on_crash`.
    pub on_crash: OnCrash,
    /// Its retention. Only its difference to others' matters.
    pub ttl: u8,
    /// Its payload; 0 is none.
    pub payload: u8,
}

/// How a claim reaches the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claiming {
    /// One atomic step, as in memory or in a transaction.
    OneStep,
    /// Two steps, as on Redis: put a record if there is none. Otherwise take exactly the record
    /// that was seen, and a running one only if its lease was seen lapsed.
    TwoSteps,
}

/// A fault, or another event from outside. Each uses up one of the run's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A command gets no answer. It is carried out later, at any time, or never.
    Late,
    /// A command is carried out and answered, and once more at any time.
    Twice,
    /// A command is refused, and certainly not carried out.
    Refused,
    /// A caller goes away.
    Drop,
    /// A body panics.
    Panic,
    /// A process dies, with all its callers.
    Crash,
    /// A live owner is silent for its lease: paused, cut off, or its clock judged wrongly.
    Lapse,
    /// A body returns an `Err` that means: nothing happened.
    Err,
    /// A body returns an `Err` that means: effects unknown (`on_err = fail`).
    ErrFail,
    /// An operator resolves or forgets the key, once.
    Operator,
    /// The `ttl` of a done or released record ends. It is then kept for the grace period, which is
    /// longer than any message is late.
    End,
    /// The retention of a done record and its grace period end, and messages are later than that.
    Expire,
    /// The next command is served by a clock that is behind, as those of other nodes may be.
    Skew,
    /// The store drops the record.
    Evict,
    /// A failover to a server that has not received the last write, and whose clock is behind.
    Failover,
}

impl Fault {
    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Twice => "twice",
            Self::Refused => "refused",
            Self::Drop => "drop",
            Self::Panic => "panic",
            Self::Crash => "crash",
            Self::Lapse => "lapse",
            Self::Err => "err",
            Self::ErrFail => "err: unknown",
            Self::Operator => "operator",
            Self::End => "end of ttl",
            Self::Expire => "end of grace",
            Self::Skew => "clock behind",
            Self::Evict => "eviction",
            Self::Failover => "failover",
        }
    }
}

/// A rule that is taken away. The check must notice each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The token is counted in the record only, and is lost with it.
    TokenInRecord,
    /// A release deletes the record.
    DeleteOnRelease,
    /// All attempts have the same nonce.
    NoNonce,
    /// A takeover that was decided by what was read names only the state that it saw, not the
    /// nonce.
    TakeoverByState,
    /// A caller that goes away while it finishes abandons the attempt, and the store lets it, also
    /// if the record is done.
    AbandonTouchesDone,
    /// A caller that goes away while its claim is unanswered owes nothing.
    NotSeenThrough,
    /// A caller that goes away while its finish is unanswered owes nothing.
    NotHandedOver,
    /// The age of a lease is computed from the asking caller's retention.
    AgeFromTtl,
    /// The asking caller's `on_crash` decides about a silent owner.
    TakersPolicy,
    /// A lost record is final also for its owner.
    LostIsFinal,
    /// A waiter sleeps right after it has subscribed, without asking again first.
    SleepsAtOnce,
    /// A running record is kept only for the result's retention.
    NoHold,
    /// A caller whose new grant cannot be renewed owes nothing.
    GrantForgotten,
    /// After an `Err` with effects unknown, the record's `on_crash` stays `rerun`.
    UnknownIsRerun,
    /// The near cache takes a result that the store has not acknowledged.
    NearUnrecorded,
    /// The near cache answers before the payload is compared.
    NearWithoutPayload,
    /// An operator's decision leaves the near cache of its own process unchanged.
    NearNotForgotten,
    /// The near cache keeps a result past its retention.
    NearOutlives,
    /// A finished record is dropped at the end of its `ttl`.
    NoGrace,
    /// A claim that meets a record past its end takes its token from the store's time only.
    TokenByTime,
    /// A heartbeat makes a record that is past its end run again.
    RenewRevives,
}

impl Broken {
    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenInRecord => "the token is kept only in the record",
            Self::DeleteOnRelease => "a release deletes the record",
            Self::NoNonce => "no nonce",
            Self::TakeoverByState => "takeover by state alone, decided by what was read",
            Self::AbandonTouchesDone => "an abandon touches what is done",
            Self::NotSeenThrough => "a claim is not seen through",
            Self::NotHandedOver => "a finish is not handed over",
            Self::AgeFromTtl => "the lease's age is computed from the caller's `ttl`",
            Self::TakersPolicy => "the taker's policy instead of the record's",
            Self::LostIsFinal => "what is lost cannot be revived",
            Self::SleepsAtOnce => "a waiter sleeps without asking again once it has subscribed",
            Self::NoHold => "a running record is kept for `ttl` only",
            Self::GrantForgotten => "a slow grant that cannot be renewed is forgotten",
            Self::UnknownIsRerun => "effects unknown under `rerun` stay `rerun`",
            Self::NearUnrecorded => "an unrecorded result enters the near cache",
            Self::NearWithoutPayload => "the near cache answers before the payload is compared",
            Self::NearNotForgotten => "`forget` leaves its own process' near cache as it is",
            Self::NearOutlives => "the near cache keeps a result beyond its retention",
            Self::NoGrace => "a finished record is gone at the end of its `ttl`",
            Self::TokenByTime => {
                "a record past its end is taken with the store's time, and not `previous + 1`"
            }
            Self::RenewRevives => "a late heartbeat revives a record past its end",
        }
    }
}

/// A model: the protocol with given callers and faults.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its name in the table.
    pub name: &'static str,
    /// Who calls.
    pub callers: [Terms; CALLERS],
    /// Whether a body stops with its caller (`detach = false`).
    pub attached: bool,
    /// Whether each process has a near cache.
    pub near: bool,
    /// How claims are made.
    pub claiming: Claiming,
    /// The faults that may happen.
    pub faults: Vec<Fault>,
    /// How many faults a run may have.
    pub budget: u8,
    /// The rule that is broken on purpose.
    pub broken: Option<Broken>,
}

impl Variant {
    /// Three processes with the same options, and no faults.
    #[must_use]
    pub fn new(name: &'static str, on_crash: OnCrash) -> Self {
        let terms = |process| Terms {
            process,
            lease: 1,
            on_crash,
            ttl: 1,
            payload: 0,
        };
        Self {
            name,
            callers: [terms(0), terms(1), terms(2)],
            attached: false,
            near: false,
            claiming: Claiming::TwoSteps,
            faults: Vec::new(),
            budget: 0,
            broken: None,
        }
    }

    /// Adds these faults, `budget` of them in a run.
    #[must_use]
    pub fn faults(mut self, budget: u8, faults: &[Fault]) -> Self {
        self.faults = faults.to_vec();
        self.budget = budget;
        self
    }

    /// With this budget for a run.
    #[must_use]
    pub fn budget(mut self, budget: u8) -> Self {
        self.budget = budget;
        self
    }

    /// With claims in one atomic step.
    #[must_use]
    pub fn one_step(mut self) -> Self {
        self.claiming = Claiming::OneStep;
        self
    }

    /// With bodies that stop with their callers.
    #[must_use]
    pub fn attached(mut self) -> Self {
        self.attached = true;
        self
    }

    /// With a near cache in each process.
    #[must_use]
    pub fn near(mut self) -> Self {
        self.near = true;
        self
    }

    /// Changes the options of one caller.
    #[must_use]
    pub fn caller(mut self, caller: usize, change: impl FnOnce(&mut Terms)) -> Self {
        change(&mut self.callers[caller]);
        self
    }

    /// With one rule taken away.
    #[must_use]
    pub fn broken(mut self, broken: Broken) -> Self {
        self.broken = Some(broken);
        self
    }

    pub(crate) fn may(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    pub(crate) fn is_broken(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    /// Whether a record can vanish while somebody waits for it.
    pub(crate) fn forgets(&self) -> bool {
        [Fault::End, Fault::Expire, Fault::Evict, Fault::Failover]
            .into_iter()
            .any(|fault| self.may(fault))
    }

    /// The process of a caller.
    pub(crate) fn process(&self, caller: usize) -> usize {
        self.callers[caller].process.into()
    }

    /// Whether a flight's leader has the same payload as the caller.
    pub(crate) fn is_payload_of(&self, leader: u8, caller: usize) -> bool {
        let of = |caller: usize| self.callers[caller].payload;
        let leader = of(leader.into());
        leader == 0 || of(caller) == 0 || leader == of(caller)
    }

    /// The callers of this one's process, itself included.
    pub(crate) fn neighbours(&self, caller: usize) -> impl Iterator<Item = usize> {
        let process = self.callers[caller].process;
        (0..CALLERS).filter(move |&other| self.callers[other].process == process)
    }

    /// Whether duplicates in this one's process share a flight.
    pub(crate) fn shares(&self, caller: usize) -> bool {
        self.neighbours(caller).count() > 1
    }

    /// Whether the callers are interchangeable: then they are started in order, which makes fewer
    /// states.
    pub(crate) fn is_symmetric(&self) -> bool {
        let [a, b, c] = self
            .callers
            .map(|terms| (terms.lease, terms.on_crash, terms.ttl, terms.payload));
        a == b && b == c && (0..CALLERS).all(|caller| !self.shares(caller))
    }

    /// The nonce of a caller.
    pub(crate) fn nonce(&self, caller: usize) -> u8 {
        if self.is_broken(Broken::NoNonce) {
            return 1;
        }
        u8::try_from(caller + 1).unwrap_or(u8::MAX)
    }
}
