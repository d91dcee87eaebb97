//! The Lua scripts, their arguments, and how their answers are read.

use std::{io::Write, sync::LazyLock, time::Duration};

use redis::{Cmd, RedisWrite, ToRedisArgs, Value};

use crate::{
    StoreError, StoreErrorKind,
    key::Key,
    record::Record,
    store::{Settled, protocol},
};

/// The prefix of every record's Redis key, before [`Key::as_str`].
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

/// A retention at least this long may be counted from the sending of a finish instead of its
/// writing.
pub(super) const LONG_RETENTION: Duration = Duration::from_secs(3_600);

/// All scripts, to be loaded at connect.
pub(super) fn all() -> [&'static Script; 5] {
    [&TAKEOVER, &RENEW, &FINISH, &OVERRULE, &READ]
}

pub(super) struct Script {
    pub(super) code: String,
    hash: String,
}

impl Script {
    /// The script's text, with `common.lua` inserted where it is named: the flags must stay the
    /// first line. Comments are left out: each connection loads all scripts.
    fn new(text: &str) -> Self {
        let code = text.replace("-- common.lua\n", include_str!("common.lua"));
        let is_code = |line: &&str| !line.is_empty() && !line.trim_start().starts_with("--");
        let code: String = code
            .lines()
            .filter(is_code)
            .flat_map(|line| [line, "\n"])
            .collect();
        let hash = redis::Script::new(&code).get_hash().to_owned();
        Self { code, hash }
    }

    /// The command that runs the script by its hash, which the server must know.
    pub(super) fn by_hash(&self, key: &impl StoredKey, arguments: &[Argument<'_>]) -> Cmd {
        call("EVALSHA", &self.hash, key, arguments)
    }

    /// The command that sends the script's text. The server knows its hash afterwards.
    pub(super) fn by_code(&self, key: &impl StoredKey, arguments: &[Argument<'_>]) -> Cmd {
        call("EVAL", &self.code, key, arguments)
    }

    /// The command of [`by_hash`](Self::by_hash), with the script's text instead.
    pub(super) fn instead_of_hash(&self, by_hash: &Cmd) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(&self.code);
        for argument in by_hash.args_iter().skip(2) {
            match argument {
                redis::Arg::Simple(bytes) => command.arg(bytes),
                _ => &mut command,
            };
        }
        command
    }
}

fn call(name: &str, script: &str, key: &impl StoredKey, arguments: &[Argument<'_>]) -> Cmd {
    let data: usize = arguments.iter().map(Argument::len).sum();
    let mut command = Cmd::with_capacity(
        4 + arguments.len(),
        script.len() + key.text_len() + data + 64,
    );
    command.arg(name).arg(script).arg("1");
    key.write(&mut command);
    for argument in arguments {
        command.arg(argument);
    }
    command
}

/// A key as Redis has it, written without an intermediate string.
pub(super) struct RedisKey<'a>(pub(super) &'a Key);

impl ToRedisArgs for RedisKey<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Writing into memory cannot fail.
        let _ = argument.write_all(PREFIX.as_bytes());
        let _ = argument.write_all(self.0.as_str().as_bytes());
    }
}

/// A key as Redis has it.
#[cfg(feature = "redis-cluster")]
pub(super) fn name(key: &Key) -> Vec<u8> {
    [PREFIX.as_bytes(), key.as_str().as_bytes()].concat()
}

/// The forms in which a script's key may be given.
pub(super) trait StoredKey {
    fn text_len(&self) -> usize;
    fn write(&self, command: &mut Cmd);
}

impl StoredKey for Key {
    fn text_len(&self) -> usize {
        self.as_str().len()
    }

    fn write(&self, command: &mut Cmd) {
        command.arg(RedisKey(self));
    }
}

/// The whole key, as Redis has it.
impl StoredKey for String {
    fn text_len(&self) -> usize {
        self.len()
    }

    fn write(&self, command: &mut Cmd) {
        command.arg(self.as_str());
    }
}

/// One argument of a script.
pub(super) enum Argument<'a> {
    Bytes(&'a [u8]),
    Millis(Duration),
    Number(u32),
}

impl Argument<'_> {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Millis(_) | Self::Number(_) => 20,
        }
    }
}

impl Argument<'_> {
    /// The nonce, if these bytes are a record.
    pub(super) fn nonce(&self) -> Option<[u8; 16]> {
        match self {
            Self::Bytes(bytes) => bytes.get(2..18)?.try_into().ok(),
            Self::Millis(_) | Self::Number(_) => None,
        }
    }
}

impl ToRedisArgs for Argument<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        match self {
            Self::Bytes(bytes) => out.write_arg(bytes),
            Self::Millis(duration) => millis(*duration).write_redis_args(out),
            Self::Number(number) => number.write_redis_args(out),
        }
    }
}

/// A script's answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The store's time, µs since 1970; 0 if it was not asked for.
    pub(super) now: u64,
    /// The letter that each script's head explains.
    pub(super) verdict: u8,
    /// The record's bytes, if the verdict has one.
    pub(super) bytes: Vec<u8>,
    /// What is left of a running owner's lease.
    pub(super) lease_left: Duration,
}

impl Answer {
    pub(super) fn parse(value: Value) -> Result<Self, StoreError> {
        let parts = match value {
            Value::Array(parts) => parts,
            Value::Int(now) => return Self::applied(now),
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

    /// The short answer of a finish.
    fn applied(now: i64) -> Result<Self, StoreError> {
        Ok(Self {
            now: u64::try_from(now).map_err(|_| unexpected())?,
            verdict: b'A',
            bytes: Vec::new(),
            lease_left: Duration::ZERO,
        })
    }

    pub(super) fn record(&self) -> Result<Record, StoreError> {
        Ok(Record::decode(&self.bytes)?)
    }

    /// The answer of `read`.
    pub(super) fn visible(&self) -> Result<Option<(Record, Duration)>, StoreError> {
        match self.verdict {
            b'A' => Ok(None),
            b'R' => Ok(Some((self.record()?, self.lease_left))),
            _ => Err(unexpected()),
        }
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

/// The bytes of a string, in any of the protocol's forms.
pub(super) fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        _ => None,
    }
}

/// How a script is told which record was seen: its state's letter and its nonce.
pub(super) fn seen_argument(record: &Record) -> [u8; 17] {
    let mut seen = [0; 17];
    seen[0] = record.state.letter();
    seen[1..].copy_from_slice(record.nonce.as_bytes());
    seen
}

/// A replacement as the script gets it, with token zero. The script sets the token, and mixes it
/// into a done record's check.
pub(super) fn undated_replacement(replacement: &Record) -> protocol::Write {
    protocol::Write::undated(replacement.clone().with_token(0))
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The command may have been carried out, but the answer is not one that Redis gives.
pub(super) fn unexpected() -> StoreError {
    StoreError::new(
        StoreErrorKind::Ambiguous,
        "Redis gave an answer of an unexpected shape; is there a proxy between?",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        OnCrash,
        fingerprint::Fingerprint,
        record::{HOLD, MAX_TOKEN, Nonce, Owner, RecordedBytes, State},
        store::{ClaimRequest, protocol},
    };

    /// If they differ, every finish takes the script's slow path.
    #[test]
    fn an_ends_record_tells_the_one_that_was_granted() {
        let result: Arc<[u8]> = Arc::from(&b"42"[..]);
        let outcomes = [
            RecordedBytes::Ok(result.clone()),
            RecordedBytes::Err(result.clone()),
            RecordedBytes::NotRecorded(result),
        ];
        for fingerprint in [None, Some(Fingerprint::from_bytes([7; 16]))] {
            let request = ClaimRequest {
                nonce: Nonce::from_bytes([1; 16]),
                lease: Duration::from_secs(30),
                on_crash: OnCrash::Fail,
                fingerprint,
                ttl: Duration::from_secs(60),
                owner: Owner::new("host:1"),
                trace: None,
            };
            let owned = request.record();
            let done = outcomes.clone().map(|outcome| Record {
                state: State::Done,
                codec: 7,
                outcome: Some(outcome),
                expires: 1,
                ..owned.clone()
            });
            let ends = [protocol::released(&owned), protocol::lost(&owned)];
            for end in done.iter().chain(&ends) {
                assert_eq!(protocol::granted(end).encode(), owned.encode(), "{end:?}");
            }
        }
    }

    #[test]
    fn the_scripts_begin_with_their_flags_and_are_whole() {
        for script in all() {
            assert!(script.code.starts_with("#!lua flags="), "{}", script.code);
            assert!(script.code.contains("local function state_of(record)"));
        }
    }

    /// What a connection loads stays in its buffer on the server for a while, beside the first value.
    #[test]
    fn the_scripts_are_small() {
        let sizes = all().map(|script| script.code.len());
        assert!(sizes.iter().sum::<usize>() < 20_000, "{sizes:?}");
        assert!(all().iter().all(|script| !script.code.contains("--")));
    }

    #[test]
    fn the_scripts_know_the_formats_constants() {
        let constants = format!(
            "local HOLD, MAX_TOKEN = {}, {MAX_TOKEN}\n",
            HOLD.as_millis()
        );
        for script in all() {
            assert!(script.code.contains(&constants), "{}", script.code);
        }
    }
}
