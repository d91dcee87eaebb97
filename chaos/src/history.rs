//! The history: one line of JSON for each event, from all processes, in one order.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970, by this machine's clock, which all processes share.
pub type Micros = u64;

/// What a worker reports once everything that its callers left behind is settled, with the number
/// of what is not.
pub const DRAINED: &str = "drained";

/// The current time.
#[must_use]
pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    micros(since.unwrap_or_default())
}

/// A duration as `Micros`.
#[must_use]
pub fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// An event with its time and process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The time, by the process that observed it.
    pub at: Micros,
    /// The process; 0 is the conductor.
    pub process: u32,
    /// The event.
    pub event: Event,
}

/// The annotated functions. Each key belongs to one of them.
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
    /// As `Rerun`, with results that are kept for [`BRIEF`] only.
    Brief,
    /// As `Fail`, with results that are kept for [`BRIEF`] only.
    BriefFail,
    /// As `Rerun`, with results that may be too large to record.
    Bulky,
    /// As `Fail`, with results that may be too large to record.
    BulkyFail,
}

/// The `ttl` of the brief functions. Their results end many times in a run.
pub const BRIEF: Duration = Duration::from_millis(BRIEF_MS);
pub(crate) const BRIEF_MS: u64 = 500;

impl Function {
    /// Whether effects happen at most once (`on_crash = fail`).
    #[must_use]
    pub fn at_most_once(self) -> bool {
        matches!(
            self,
            Self::Fail | Self::FailAttached | Self::BriefFail | Self::BulkyFail
        )
    }

    /// The function's `ttl`, if it is shorter than a run.
    #[must_use]
    pub fn ttl(self) -> Option<Micros> {
        matches!(self, Self::Brief | Self::BriefFail).then(|| micros(BRIEF))
    }

    /// Whether its results may be too large to record.
    #[must_use]
    pub fn bulky(self) -> bool {
        matches!(self, Self::Bulky | Self::BulkyFail)
    }
}

/// The run that made a value. The functions return it, and the checker compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// The call whose body ran.
    pub call: u64,
    /// Its fencing token.
    pub token: u64,
}

/// A call's answer.
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

/// The store's answer to a finish or a renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settled {
    /// Applied as asked.
    Applied,
    /// There was no record.
    PutBack,
    /// Another attempt's record is there.
    Stale,
}

/// The state that a finish asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Done: a result.
    Done,
    /// Released: nothing happened.
    Released,
    /// Lost: effects unknown.
    Lost,
}

/// The state of the record that a claim found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Met {
    /// An owner runs.
    Running,
    /// Done: a result.
    Done,
    /// Released: nothing happened.
    Released,
    /// Lost: effects unknown.
    Lost,
}

/// What can happen.
#[allow(missing_docs, reason = "the fields are named after what they are")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A caller called. `held`: it does not poll its call all the time, or something else in its
    /// task uses up the budget.
    Called {
        call: u64,
        key: u32,
        function: Function,
        held: bool,
    },
    /// The store granted a claim. `sent` is when it was sent for the first time.
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
    /// A body had its effect, as noted by the ledger, which is outside of the store. `fenced`: a
    /// service that refuses tokens smaller than it has seen would have refused it.
    Effect {
        call: u64,
        key: u32,
        token: u64,
        fenced: bool,
    },
    /// A body ended.
    Ended { call: u64, how: End },
    /// A call was answered. `unrecorded`: the store had not acknowledged the result in time.
    Answered {
        call: u64,
        answer: Answer,
        unrecorded: bool,
    },
    /// A caller went away without an answer.
    Left { call: u64 },
    /// The library emitted an event about an operation with this scope.
    Noted {
        what: String,
        call: Option<u64>,
        scope: Option<String>,
    },
    /// A process was killed.
    Killed { process: u32 },
    /// A fault was in force from the entry's time until `until`: for one call, for one process, or
    /// for all.
    Fault {
        kind: Kind,
        process: Option<u32>,
        call: Option<u64>,
        until: Micros,
        observed: bool,
    },
    /// A process' own fault has begun. When it is over, it is reported again as a `Fault`.
    Begun { kind: Kind, call: Option<u64> },
    /// From the entry's time until `until` no fault of a process, a link or a server was in force.
    Calm { until: Micros },
    /// All faults are over. Calls from here on must be answered.
    Healed,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A process is killed (SIGKILL) with calls under way.
    Kill,
    /// A process is stopped (SIGSTOP) past its lease.
    Stop,
    /// The server's answers to a process are lost.
    DropReplies,
    /// Nothing passes in either direction, and connections stay open.
    HalfOpen,
    /// Both directions are slow.
    Delay,
    /// Requests are held back for longer than brief results are kept, and are delivered although
    /// their sender gave up.
    Late,
    /// A process' connections are closed.
    Cut,
    /// Connections are closed by `CLIENT KILL`.
    ClientKill,
    /// Scripts are dropped by `SCRIPT FLUSH`.
    ScriptFlush,
    /// The server is killed and started again at once.
    Restart,
    /// The server is down for longer than a lease.
    Away,
    /// The server is stopped for longer than a lease; connections stay open.
    ServerStop,
    /// The server refuses writes because its memory is full.
    MemoryFull,
    /// A replica becomes the primary.
    Failover,
    /// Slots of the cluster move to another primary, with all their keys.
    SlotMove,
    /// Another program, or a process that is stopped, holds the lock for writing for longer than a
    /// lease.
    LockHeld,
    /// The log is copied into the file, and emptied.
    Checkpoint,
    /// The server takes no writes for a moment.
    ReadOnly,
    /// The machine gave a process no time. Measured, not injected.
    Starved,
    /// More than 200 calls at once in one process.
    Wave,
    /// A body takes longer than its lease.
    SlowBody,
    /// A body blocks its thread for longer than its lease.
    Block,
    /// A body uses up tokio's cooperative budget in each poll, for longer than its lease.
    Busy,
    /// Another future in the caller's task uses up the budget for longer than a lease.
    Sibling,
    /// A call is polled a few times, and then held without being polled.
    Held,
    /// A body's result is too large to record.
    Oversize,
    /// A body panics.
    Panic,
    /// A caller goes away.
    Cancel,
}
