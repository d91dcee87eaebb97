//! The annotated functions, and their body.

use std::{fmt, time::Duration};

use idempotent_fn::{Error, current, idempotent};
use serde::{Deserialize, Serialize};

use crate::{
    busy::Busy,
    history::{BRIEF, End, Event, Kind, Run, now},
    ledger,
    say::{say, say_fault},
};

/// The lease of every function here. Short, because owners vanish often.
pub(crate) const LEASE: Duration = Duration::from_millis(LEASE_MS);
pub(crate) const LEASE_MS: u64 = 600;
/// How long a duplicate waits (ms), and how long an impatient one does.
pub(crate) const WAITS_MS: [u64; 2] = [3_000, 1_000];
/// The `ttl` of most functions: longer than a run.
pub(crate) const TTL: Duration = Duration::from_secs(24 * 3600);

/// What a body does besides its effect.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Plan {
    /// Has its effect, is pending for this many milliseconds, and returns `Ok`.
    Pend(u64),
    /// Is pending for this many milliseconds, has its effect, and returns `Ok`.
    Late(u64),
    /// Blocks its thread for this many milliseconds, has its effect, and returns `Ok`.
    Block(u64),
    /// Has its effect, uses up tokio's budget in each poll for this many milliseconds, and returns
    /// `Ok`.
    Busy(u64),
    /// Has its effect, and returns `Ok` with a result of this many bytes.
    Bulk(usize),
    /// Has its effect, and returns `Err`.
    Decline,
    /// Has its effect, and panics.
    Panic,
}

/// What one call is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// The call.
    pub(crate) call: u64,
    /// Its key.
    pub(crate) key: u32,
    /// What the body does, if this call runs it.
    pub(crate) plan: Plan,
    /// How many milliseconds it waits for another call's result.
    pub(crate) wait: u64,
}

impl Work {
    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait)
    }
}

/// A result that may be too large to record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bulk {
    pub(crate) run: Run,
    pad: String,
}

/// Why a call failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// The body's own `Err`.
    Declined(Run),
    /// The library's error, by its name.
    Refused(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // `InFlight { operation: …`
        let text = format!("{error:?}");
        let name = text.split(|c: char| !c.is_alphanumeric()).next();
        Self::Refused(name.unwrap_or_default().to_owned())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// `on_crash = rerun`.
#[idempotent(scope = "chaos.rerun", key = work.key, lease = LEASE, wait = work.wait(), ttl = TTL)]
pub(crate) async fn rerun(work: Work) -> Result<Run, Failure> {
    body(work).await
}

/// `on_crash = rerun, detach = false`.
#[idempotent(scope = "chaos.rerun_attached", key = work.key, lease = LEASE, wait = work.wait(), ttl = TTL, detach = false)]
pub(crate) async fn rerun_attached(work: &Work) -> Result<Run, Failure> {
    body(*work).await
}

/// `on_err = record`.
#[idempotent(scope = "chaos.record", key = work.key, lease = LEASE, wait = work.wait(), ttl = TTL, on_err = record)]
pub(crate) async fn record(work: Work) -> Result<Run, Failure> {
    body(work).await
}

/// `on_crash = fail`.
#[idempotent(scope = "chaos.fail", key = work.key, lease = LEASE, wait = work.wait(), ttl = TTL, on_crash = fail)]
pub(crate) async fn fail(work: Work) -> Result<Run, Failure> {
    body(work).await
}

/// `on_crash = fail, detach = false`.
#[idempotent(
    scope = "chaos.fail_attached", key = work.key, lease = LEASE, wait = work.wait(), ttl = TTL,
    on_crash = fail, detach = false
)]
pub(crate) async fn fail_attached(work: &Work) -> Result<Run, Failure> {
    body(*work).await
}

/// `on_crash = rerun`, with a short `ttl`.
#[idempotent(scope = "chaos.brief", key = work.key, lease = LEASE, wait = work.wait(), ttl = BRIEF)]
pub(crate) async fn brief(work: Work) -> Result<Run, Failure> {
    body(work).await
}

/// `on_crash = fail`, with a short `ttl`.
#[idempotent(
    scope = "chaos.brief_fail", key = work.key, lease = LEASE, wait = work.wait(), ttl = BRIEF, on_crash = fail
)]
pub(crate) async fn brief_fail(work: Work) -> Result<Run, Failure> {
    body(work).await
}

/// `on_crash = rerun`, with a large result.
#[idempotent(scope = "chaos.bulky", key = work.key, lease = LEASE, wait = work.wait(), ttl = TTL)]
pub(crate) async fn bulky(work: Work) -> Result<Bulk, Failure> {
    bulk(work).await
}

/// `on_crash = fail`, with a large result.
#[idempotent(
    scope = "chaos.bulky_fail", key = work.key, lease = LEASE, wait = work.wait(), ttl = TTL, on_crash = fail
)]
pub(crate) async fn bulky_fail(work: Work) -> Result<Bulk, Failure> {
    bulk(work).await
}

async fn bulk(work: Work) -> Result<Bulk, Failure> {
    let run = body(work).await?;
    let pad = match work.plan {
        Plan::Bulk(bytes) => "x".repeat(bytes),
        _ => String::new(),
    };
    Ok(Bulk { run, pad })
}

/// Notes how a body ended, also if it was dropped.
struct Ending(u64, End);

impl Drop for Ending {
    fn drop(&mut self) {
        let how = if std::thread::panicking() {
            End::Panicked
        } else {
            self.1
        };
        say(Event::Ended { call: self.0, how });
    }
}

async fn body(work: Work) -> Result<Run, Failure> {
    let Work {
        call, key, plan, ..
    } = work;
    let execution = current();
    let (token, attempt) = (execution.fencing_token(), execution.attempt());
    say(Event::Started {
        call,
        key,
        token,
        attempt,
    });
    let mut ending = Ending(call, End::Stopped);
    match plan {
        Plan::Late(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Plan::Block(millis) => {
            let (since, kind, whole) = (now(), Kind::Block, None);
            say(Event::Begun { kind, call: whole });
            std::thread::sleep(Duration::from_millis(millis));
            // Other tasks may have been queued behind it on that thread.
            say_fault(kind, whole, since, now() - since >= millis * 1000);
        }
        _ => {}
    }
    ledger::effect(call, key, token).await;
    let run = Run { call, token };
    match plan {
        Plan::Pend(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Plan::Late(_) | Plan::Block(_) | Plan::Bulk(_) => {}
        Plan::Busy(millis) => {
            let since = now();
            let used_up = Busy::new(millis).await;
            say_fault(Kind::Busy, Some(call), since, used_up);
        }
        Plan::Decline => {
            ending.1 = End::Err;
            return Err(Failure::Declined(run));
        }
        Plan::Panic => panic!("as planned"),
    }
    ending.1 = End::Ok;
    Ok(run)
}
