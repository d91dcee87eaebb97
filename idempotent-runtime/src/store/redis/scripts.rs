//! The scripts, and how their answers are read.

use std::{io::Write, sync::LazyLock, time::Duration};

use redis::{Cmd, RedisWrite, ToRedisArgs, Value};

use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    record::{Record, State},
    store::Settled,
};

/// What every record's Redis key begins with, before [`Key::as_str`].
pub(super) const PREFIX: &str = "idempotent:";

pub(super) static TAKEOVER: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("takeover.lua")));
pub(super) static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("renew.lua")));
pub(super) static FINISH: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("finish.lua")));
pub(super) static OVERRULE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("overrule.lua")));
pub(super) static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("read.lua")));

/// All of them, to be loaded where a connection is made.
pub(super) fn all() -> [&'static Script; 5] {
    [&TAKEOVER, &RENEW, &FINISH, &OVERRULE, &READ]
}

pub(super) struct Script {
    pub(super) code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self {
            code,
            hash: redis::Script::new(code).get_hash().to_owned(),
        }
    }

    /// The command that runs the script by its hash, which the server has to know.
    pub(super) fn by_hash(&self, key: &Key, arguments: &[Argument<'_>]) -> Cmd {
        call("EVALSHA", &self.hash, key, arguments)
    }

    /// The command that brings the script along. The server knows it afterwards.
    pub(super) fn by_code(&self, key: &Key, arguments: &[Argument<'_>]) -> Cmd {
        call("EVAL", self.code, key, arguments)
    }
}

fn call(name: &str, script: &str, key: &Key, arguments: &[Argument<'_>]) -> Cmd {
    let data: usize = arguments.iter().map(Argument::len).sum();
    let mut command = Cmd::with_capacity(
        4 + arguments.len(),
        script.len() + key.as_str().len() + data + 64,
    );
    command.arg(name).arg(script).arg("1").arg(RedisKey(key));
    for argument in arguments {
        command.arg(argument);
    }
    command
}

/// A key as Redis has it, written without a string of its own.
pub(super) struct RedisKey<'a>(pub(super) &'a Key);

impl ToRedisArgs for RedisKey<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Into memory: it cannot fail.
        let _ = argument.write_all(PREFIX.as_bytes());
        let _ = argument.write_all(self.0.as_str().as_bytes());
    }
}

/// One of a script's arguments.
pub(super) enum Argument<'a> {
    Bytes(&'a [u8]),
    Millis(Duration),
    Number(u32),
}

impl Argument<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Millis(_) | Self::Number(_) => 20,
        }
    }
}

impl ToRedisArgs for Argument<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        let _ = match self {
            Self::Bytes(bytes) => argument.write_all(bytes),
            Self::Millis(duration) => write!(argument, "{}", duration.as_millis()),
            Self::Number(number) => write!(argument, "{number}"),
        };
    }
}

/// What a script answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The store's time, µs since 1970; 0 where it was not asked for.
    pub(super) now: u64,
    /// The letter that each script's head explains.
    pub(super) verdict: u8,
    /// The record's bytes, where the verdict has one.
    pub(super) bytes: Vec<u8>,
    /// What is left of a running owner's lease.
    pub(super) lease_left: Duration,
}

impl Answer {
    pub(super) fn parse(value: Value) -> Result<Self, StoreError> {
        let parts = match value {
            Value::Array(parts) => parts,
            // The usual finish answers no more than this.
            Value::Int(now) => {
                return Ok(Self {
                    now: u64::try_from(now).map_err(|_| unexpected())?,
                    verdict: b'A',
                    bytes: Vec::new(),
                    lease_left: Duration::ZERO,
                });
            }
            _ => return Err(unexpected()),
        };
        let Ok([Value::Int(now), verdict, bytes, Value::Int(left)]) = <[Value; 4]>::try_from(parts)
        else {
            return Err(unexpected());
        };
        let (Some(verdict), Some(bytes)) = (text(verdict), text(bytes)) else {
            return Err(unexpected());
        };
        Ok(Self {
            now: u64::try_from(now).map_err(|_| unexpected())?,
            verdict: *verdict.first().ok_or_else(unexpected)?,
            bytes,
            lease_left: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
        })
    }

    pub(super) fn record(&self) -> Result<Record, StoreError> {
        Ok(Record::decode(&self.bytes)?)
    }

    /// The answer of `renew`, `finish` and `overrule`.
    pub(super) fn settled(&self) -> Result<Settled, StoreError> {
        match self.verdict {
            b'A' => Ok(Settled::Applied),
            b'P' => Ok(Settled::PutBack),
            b'N' => Ok(Settled::Absent),
            b'S' => Ok(Settled::Stale {
                record: self.record()?,
                lease_left: self.lease_left,
            }),
            _ => Err(unexpected()),
        }
    }
}

/// The bytes of a string, in whichever of the protocol's forms it came.
pub(super) fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        _ => None,
    }
}

/// What a script is told of a record that was seen: its state's letter and its nonce.
pub(super) fn seen(record: &Record) -> [u8; 17] {
    let mut seen = [0; 17];
    seen[0] = record.state.letter();
    seen[1..].copy_from_slice(record.nonce.as_bytes());
    seen
}

/// How long Redis keeps a record in `state` that is to be retained for `retain`.
pub(super) fn kept(state: State, retain: Duration) -> Duration {
    use crate::record::MAX_TTL;
    crate::store::retention(state, retain.clamp(Duration::from_millis(1), MAX_TTL))
}

/// It may have been carried out: whoever answered is not the server these commands were written for.
pub(super) fn unexpected() -> StoreError {
    StoreError::new(
        StoreErrorKind::Ambiguous,
        "Redis gave an answer of an unexpected shape; is there a proxy between?",
    )
}
