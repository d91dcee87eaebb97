//! What is checked: who calls, what may go wrong, and which rule is broken on purpose.

use idempotent_runtime::OnCrash;

/// How many calls there are. Each is one attempt: a client's retry is another call.
pub const CALLERS: usize = 3;

/// The terms of one call: two deploys may disagree about them.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The process it runs in.
    pub process: u8,
    /// Its lease.
    pub lease: u8,
    /// Its policy.
    pub on_crash: OnCrash,
    /// Its retention, compared with others' only.
    pub ttl: u8,
    /// Its payload; 0 is none.
    pub payload: u8,
}

/// How a claim reaches the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claiming {
    /// One atomic step, as in memory or in a transaction.
    OneStep,
    /// As on Redis: put a record where there is none; otherwise take the very record that was seen,
    /// and a running one only once its lease was seen lapsed.
    TwoSteps,
}

/// A fault, or something else that is up to the world. Each costs one of the budget.
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
    /// A body returns an `Err` that says: nothing happened.
    Err,
    /// A body returns an `Err` that says: effects unknown (`on_err = fail`).
    ErrFail,
    /// An operator resolves or forgets the key (once).
    Operator,
    /// The `ttl` of a done or released record ends. It is kept for the grace, which is longer than
    /// any message is late.
    End,
    /// The retention of a done record ends, and its grace: messages are later than that.
    Expire,
    /// The server that is asked from now on has a clock that is behind, as other nodes' may be.
    Skew,
    /// The store drops the record.
    Evict,
    /// A failover to a server that has not seen the last write, and whose clock is behind.
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

/// One rule taken away. Each must be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The token counts up in the record only: lost with it.
    TokenInRecord,
    /// A release deletes the record.
    DeleteOnRelease,
    /// All attempts have the same nonce.
    NoNonce,
    /// A takeover decided by what was read names only the state it saw.
    TakeoverByState,
    /// A caller dropped while finishing abandons, and the store lets it, even what is done.
    AbandonTouchesDone,
    /// A caller that goes away while it asks just goes.
    NotSeenThrough,
    /// A caller that goes away while it finishes just goes.
    NotHandedOver,
    /// The lease's age is computed from the asking caller's retention.
    AgeFromTtl,
    /// The asking caller's policy decides about a lapsed owner.
    TakersPolicy,
    /// A lost record is final.
    LostIsFinal,
    /// A waiter subscribes and sleeps, without asking again in between.
    SleepsAtOnce,
    /// A running record is kept for the retention only.
    NoHold,
    /// A caller whose fresh grant cannot be renewed just goes.
    GrantForgotten,
    /// What a body said of unknown effects keeps the policy `rerun`.
    UnknownIsRerun,
    /// A result that the store has not acknowledged enters the near cache.
    NearUnrecorded,
    /// The near cache answers before the payload is compared.
    NearWithoutPayload,
    /// A decision leaves the near cache of its own process as it is.
    NearNotForgotten,
    /// The near cache keeps a result beyond its retention.
    NearOutlives,
    /// A finished record is gone at the end of its `ttl`.
    NoGrace,
    /// A claim that meets a record past its end takes it with the store's time only.
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

/// One model: the protocol under some terms and faults.
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
    /// What may go wrong.
    pub faults: Vec<Fault>,
    /// How often in one run.
    pub budget: u8,
    /// What is broken on purpose.
    pub broken: Option<Broken>,
}

impl Variant {
    /// Three processes with the same terms, and nothing that goes wrong.
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

    /// With these faults, `budget` of them in one run.
    #[must_use]
    pub fn faults(mut self, budget: u8, faults: &[Fault]) -> Self {
        self.faults = faults.to_vec();
        self.budget = budget;
        self
    }

    /// With this much for a run.
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

    /// With these terms for one of the callers.
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

    /// Whether a flight's leader asks with the caller's payload.
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

    /// Whether the callers can change places: then they may as well start in order.
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
