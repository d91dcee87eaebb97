//! A claim: one native command, and a script if a record is in the way.
//!
//! `SET NX GET` claims a free key, or returns the record that is there. A record often is the
//! answer by itself. If it is not, the takeover script acts on exactly that record. If the record
//! has changed by then, the claim starts over with the new one.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use redis::{Cmd, Value};

use super::{
    RedisStore,
    connection::{liveness::Connection, per_runtime::Hub},
    scripts::{self, Argument, RedisKey},
};
use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    record::{HOLD, MAX_LEASE, Record, State},
    store::{ClaimReply, ClaimRequest, protocol::MAX_LEASE_GROWTH},
};

/// How often a claim starts over because the record changed. More changes mean that somebody writes
/// it in a loop.
const ROUNDS: usize = 32;

/// Result of acting on the record that was seen.
enum StepResult {
    Answered(ClaimReply),
    /// There is another record now.
    Changed(Record),
    /// There is no record now.
    Vanished,
}

/// One claim in progress.
struct RedisClaim<'a> {
    store: &'a RedisStore,
    /// The connections of the current runtime.
    hub: Arc<Hub>,
    key: &'a Key,
    request: &'a ClaimRequest,
    /// The record of a first attempt, and its bytes.
    fresh: Record,
    bytes: Vec<u8>,
}

/// Claims `key`, as [`protocol::claim`](crate::store::protocol::claim) decides.
pub(super) async fn claim(
    store: &RedisStore,
    key: &Key,
    request: &ClaimRequest,
) -> Result<ClaimReply, StoreError> {
    let hub = store.hub()?;
    let mut fresh = request.record();
    fresh.lease = whole_millis(request.lease);
    // The token is the server's time, as the clock of this process estimates it. The connection, if
    // there is one for all keys, is alive: the first command goes to it.
    let (now, mut connection) = store.time(&hub, key).await?;
    fresh.token = now;
    let bytes = fresh.encode();
    let claim = RedisClaim {
        store,
        hub,
        key,
        request,
        fresh,
        bytes,
    };
    let mut seen = None;
    for _ in 0..ROUNDS {
        let record = match seen.take() {
            Some(record) => record,
            None => match claim.set_nx(connection.take()).await? {
                SetNxResult::Fresh => return Ok(claim.granted()),
                SetNxResult::Found(record) => record,
                SetNxResult::Answered(reply) => return Ok(reply),
            },
        };
        let record = match claim.answer(record) {
            ControlFlow::Break(reply) => return Ok(reply),
            ControlFlow::Continue(record) => record,
        };
        // Boxed because rare: keeps the common future small.
        match Box::pin(claim.resolve_existing(record)).await? {
            StepResult::Answered(reply) => return Ok(reply),
            StepResult::Changed(record) => seen = Some(record),
            StepResult::Vanished => {}
        }
    }
    Err(StoreError::new(
        StoreErrorKind::Refused,
        "the record changed too often while it was claimed; claim again",
    ))
}

/// The result of `SET NX`.
enum SetNxResult {
    Fresh,
    Found(Record),
    /// The server takes no data, but the current record answers the claim.
    Answered(ClaimReply),
}

impl RedisClaim<'_> {
    fn granted(self) -> ClaimReply {
        ClaimReply::Granted {
            record: self.fresh,
            takeover: false,
        }
    }

    /// Sends `SET key record NX GET PX HOLD`: it claims a free key, and returns the record of any
    /// other. `connection` was found alive just now.
    async fn set_nx(&self, connection: Option<Arc<Connection>>) -> Result<SetNxResult, StoreError> {
        let mut command = Cmd::with_capacity(7, self.bytes.len() + self.key.as_str().len() + 64);
        command
            .arg("SET")
            .arg(RedisKey(self.key))
            .arg(&self.bytes[..])
            .arg("NX")
            .arg("GET")
            .arg("PX");
        command.arg(Argument::Millis(HOLD));
        let sent = match connection {
            Some(connection) => connection.send(&command).await,
            None => self.store.send(&self.hub, &command).await,
        };
        match sent {
            Ok(Value::Nil) => Ok(SetNxResult::Fresh),
            Ok(value) => {
                let bytes = scripts::text(value).ok_or_else(scripts::unexpected)?;
                Ok(SetNxResult::Found(Record::decode(&bytes)?))
            }
            Err(failure) if failure.refuses_writes() => {
                let answer = Box::pin(self.answer_by_reading()).await?;
                let refusal = || failure.explain("a claim", self.store.server_name());
                answer.map(SetNxResult::Answered).ok_or_else(refusal)
            }
            Err(failure) => Err(failure.explain("a claim", self.store.server_name())),
        }
    }

    /// Answers a claim that a full server refused, by reading. Replays and waiting need no write.
    async fn answer_by_reading(&self) -> Result<Option<ClaimReply>, StoreError> {
        let Some((record, lease_left)) = self.store.look(&self.hub, self.key).await? else {
            return Ok(None);
        };
        if record.nonce == self.request.nonce && record.state == State::Running {
            return Ok(Some(granted_before(record)));
        }
        let answers = record.conflicts_with(self.request.fingerprint)
            || match record.state {
                State::Done => true,
                State::Lost => record.nonce != self.request.nonce,
                State::Running => !lease_left.is_zero(),
                State::Failed => record.nonce == self.request.nonce,
            };
        Ok(answers.then_some(ClaimReply::Held { record, lease_left }))
    }

    /// The answer of the record that was found, if it can be told without another command. Together
    /// with [`resolve_existing`](Self::resolve_existing) it decides as
    /// [`protocol::claim`](crate::store::protocol::claim) does.
    fn answer(&self, record: Record) -> ControlFlow<ClaimReply, Record> {
        let own = record.nonce == self.request.nonce;
        match record.state {
            State::Running if own => ControlFlow::Break(granted_before(record)),
            // By this process' estimate of the server's time, which may be a little behind. The
            // script uses the server's own.
            State::Done if own || !record.has_ended(self.fresh.token) => {
                ControlFlow::Break(held(record, Duration::ZERO))
            }
            State::Failed if own => ControlFlow::Break(held(record, Duration::ZERO)),
            State::Lost if !own => ControlFlow::Break(held(record, Duration::ZERO)),
            State::Running | State::Done | State::Failed | State::Lost => {
                ControlFlow::Continue(record)
            }
        }
    }

    /// Acts on the record that was found, by another command.
    async fn resolve_existing(&self, record: Record) -> Result<StepResult, StoreError> {
        let conflicts = record.conflicts_with(self.request.fingerprint);
        match record.state {
            State::Running if conflicts => self.read_lease(record).await,
            State::Running => self.take_if_lapsed(record).await,
            // A lost record is this claim's own here, and a done one seems past its end.
            State::Lost | State::Failed | State::Done => self.run_takeover(record, false).await,
        }
    }

    /// Looks first, and takes a running record only if the look saw its lease lapsed.
    async fn take_if_lapsed(&self, record: Record) -> Result<StepResult, StoreError> {
        match self.run_takeover(record, false).await? {
            StepResult::Answered(ClaimReply::Held { record, lease_left })
                if record.state == State::Running && lease_left.is_zero() =>
            {
                self.run_takeover(record, true).await
            }
            result => Ok(result),
        }
    }

    /// Reads what is left of the lease of a record with another payload.
    async fn read_lease(&self, seen: Record) -> Result<StepResult, StoreError> {
        Ok(match self.store.look(&self.hub, self.key).await? {
            Some((record, lease_left)) if same(&record, &seen) => {
                StepResult::Answered(held(record, lease_left))
            }
            Some((record, _)) => StepResult::Changed(record),
            None => StepResult::Vanished,
        })
    }

    /// Runs the takeover script. It takes only the record that was seen, if its state and age allow
    /// it, and a running one only if its lease was seen `lapsed`.
    async fn run_takeover(&self, seen: Record, lapsed: bool) -> Result<StepResult, StoreError> {
        let arguments = [
            Argument::Bytes(&scripts::seen_argument(&seen)),
            Argument::Bytes(&self.bytes),
            Argument::Millis(MAX_LEASE),
            Argument::Number(MAX_LEASE_GROWTH),
            Argument::Number(lapsed.into()),
        ];
        let answer = self
            .store
            .run(
                &self.hub,
                &scripts::TAKEOVER,
                self.key,
                &arguments,
                "a takeover",
            )
            .await?;
        // The letters are explained at the head of `takeover.lua`.
        match answer.verdict {
            b'G' if seen.nonce == self.request.nonce => {
                Ok(StepResult::Answered(granted_before(answer.record()?)))
            }
            b'G' => Ok(StepResult::Answered(ClaimReply::Granted {
                record: answer.record()?,
                takeover: seen.state == State::Running,
            })),
            b'H' => Ok(StepResult::Answered(held(
                answer.record()?,
                answer.lease_left,
            ))),
            b'C' => Ok(StepResult::Changed(answer.record()?)),
            b'A' => Ok(StepResult::Vanished),
            _ => Err(scripts::unexpected()),
        }
    }
}

/// A grant of this attempt whose first answer was lost.
fn granted_before(record: Record) -> ClaimReply {
    let takeover = record.attempts > 1;
    ClaimReply::Granted { record, takeover }
}

fn held(record: Record, lease_left: Duration) -> ClaimReply {
    ClaimReply::Held { record, lease_left }
}

fn same(one: &Record, other: &Record) -> bool {
    one.nonce == other.nonce && one.state == other.state
}

/// A lease in whole milliseconds, as a record's bytes hold it.
fn whole_millis(lease: Duration) -> Duration {
    Duration::from_millis(scripts::millis(lease))
}
