//! What happened: one line of JSON for each thing, from every process, in one order.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970, by the clock that all processes here share.
pub type Micros = u64;

/// What a worker notes once everything its callers left behind is settled, with how much is not.
pub const DRAINED: &str = "drained";

/// The time now.
#[must_use]
pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    micros(since.unwrap_or_default())
}

/// A duration on the history's scale.
#[must_use]
pub fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, as the process that saw it says.
    pub at: Micros,
    /// Which process: 0 is the conductor.
    pub process: u32,
    /// What.
    pub event: Event,
}

/// The annotated functions. A key belongs to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Function {
    /// `on_crash = rerun`, and an `Err` is retried.
    Rerun,
    /// As `Rerun`, with `detach = false`.
    RerunAttached,
    /// `on_err = record`: an `Err` is final.
    Record,
    /// `on_crash = fail`.
    Fail,
    /// As `Fail`, with `detach = false`.
    FailAttached,
    /// As `Rerun`, with a result that is kept for [`BRIEF`] only.
    Brief,
    /// As `Fail`, with a result that is kept for [`BRIEF`] only.
    BriefFail,
    /// As `Rerun`, with a result that may be too large to record.
    Bulky,
    /// As `Fail`, with a result that may be too large to record.
    BulkyFail,
}

/// For how long a brief function's results are kept: they end many times in a run.
pub const BRIEF: Duration = Duration::from_millis(BRIEF_MS);
pub(crate) const BRIEF_MS: u64 = 500;

impl Function {
    /// Whether effects happen at most once.
    #[must_use]
    pub fn at_most_once(self) -> bool {
        matches!(
            self,
            Self::Fail | Self::FailAttached | Self::BriefFail | Self::BulkyFail
        )
    }

    /// For how long a result is kept, where that is less than a run of this takes.
    #[must_use]
    pub fn ttl(self) -> Option<Micros> {
        matches!(self, Self::Brief | Self::BriefFail).then(|| micros(BRIEF))
    }

    /// Whether a result may be too large to record.
    #[must_use]
    pub fn bulky(self) -> bool {
        matches!(self, Self::Bulky | Self::BulkyFail)
    }
}

/// Which run made a value: what the functions return, and what the checker compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// The call whose body it was.
    pub call: u64,
    /// Its fencing token.
    pub token: u64,
}

/// What a call was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// `Ok`.
    Ok(Run),
    /// The body's own `Err`.
    Declined(Run),
    /// An error of the library, by its name.
    Refused(String),
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It returned `Ok`.
    Ok,
    /// It returned `Err`.
    Err,
    /// It panicked.
    Panicked,
    /// It was dropped midway.
    Stopped,
}

/// How a finish or a renew was settled by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settled {
    /// As asked.
    Applied,
    /// There was no record.
    PutBack,
    /// Another attempt's record stands.
    Stale,
}

/// The state a finish asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A result.
    Done,
    /// Nothing happened.
    Released,
    /// Nobody knows.
    Lost,
}

/// The state of a record that a claim met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Met {
    /// Its owner runs.
    Running,
    /// A result.
    Done,
    /// Nothing happened.
    Released,
    /// Nobody knows.
    Lost,
}

/// What can happen.
#[allow(missing_docs, reason = "the fields are named after what they are")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A caller called. `held`: it does not poll its call all the time, or something else in its task uses up the time.
    Called {
        call: u64,
        key: u32,
        function: Function,
        held: bool,
    },
    /// The store granted a claim; `sent` is when it was first asked.
    Granted {
        key: u32,
        token: u64,
        attempt: u32,
        lease_ms: u64,
        takeover: bool,
        sent: Micros,
    },
    /// The store answered a claim with another attempt's record.
    Met {
        key: u32,
        token: u64,
        state: Met,
        sent: Micros,
    },
    /// The store answered a renew.
    Renewed {
        key: u32,
        token: u64,
        settled: Settled,
        sent: Micros,
    },
    /// The store answered a finish.
    Finished {
        key: u32,
        token: u64,
        target: Target,
        settled: Settled,
        sent: Micros,
    },
    /// A body was polled for the first time.
    Started {
        call: u64,
        key: u32,
        token: u64,
        attempt: u32,
    },
    /// The ledger, which is outside of the store, noted a body's effect. `fenced`: a service that refuses smaller
    /// tokens than it has seen would not have done it.
    Effect {
        call: u64,
        key: u32,
        token: u64,
        fenced: bool,
    },
    /// A body ended.
    Ended { call: u64, how: End },
    /// A caller was answered. `unrecorded`: the store had not acknowledged the result in time.
    Answered {
        call: u64,
        answer: Answer,
        unrecorded: bool,
    },
    /// A caller went away without an answer.
    Left { call: u64 },
    /// The library reported something to the operator, about an operation with this scope.
    Noted {
        what: String,
        call: Option<u64>,
        scope: Option<String>,
    },
    /// A process was killed.
    Killed { process: u32 },
    /// A fault was injected, from the entry's time until `until`: into one call, or one process, or for everybody.
    Fault {
        kind: Kind,
        process: Option<u32>,
        call: Option<u64>,
        until: Micros,
        observed: bool,
    },
    /// A fault that lasts, of a process' own making, has begun. It is told once more when it is over, as a fault.
    Begun { kind: Kind, call: Option<u64> },
    /// From the entry's time until `until` no fault of a process, a link or a server was in force.
    Calm { until: Micros },
    /// All faults are over; what is called from here on must be answered.
    Healed,
}

/// The faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A process is killed (SIGKILL) with calls under way.
    Kill,
    /// A process is stopped (SIGSTOP) past its lease.
    Stop,
    /// What the server answers a process is lost.
    DropReplies,
    /// Both directions are silent; connections stay open.
    HalfOpen,
    /// Both directions are slow.
    Delay,
    /// Requests are held back for longer than brief results are kept, and delivered although their sender gave up.
    Late,
    /// A process' connections are closed.
    Cut,
    /// `CLIENT KILL`.
    ClientKill,
    /// `SCRIPT FLUSH`.
    ScriptFlush,
    /// The server is killed and started again at once.
    Restart,
    /// The server is away for longer than a lease.
    Away,
    /// The server is stopped for longer than a lease; connections stay open.
    ServerStop,
    /// The server takes no data.
    MemoryFull,
    /// Another server becomes the master.
    Failover,
    /// Slots of the cluster move to another master, with all their keys.
    SlotMove,
    /// Another program, or a process that is stopped, holds the lock for writing for longer than a lease.
    LockHeld,
    /// The log is copied into the file, and emptied.
    Checkpoint,
    /// The machine had no time for a process. It is not injected, but measured.
    Starved,
    /// More than 200 calls at once in one process.
    Wave,
    /// A body takes longer than its lease.
    SlowBody,
    /// A body blocks its thread for longer than its lease.
    Block,
    /// A body uses up tokio's cooperative budget in each poll, for longer than its lease.
    Busy,
    /// A sibling in the caller's task uses up the budget, for longer than a lease.
    Sibling,
    /// A call is polled a few times, and then kept without being polled.
    Held,
    /// A body's result is too large to record.
    Oversize,
    /// A body panics.
    Panic,
    /// A caller goes away.
    Cancel,
}
