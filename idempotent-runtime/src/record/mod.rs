//! What a store keeps for one key, and its bytes.
//!
//! The layout, version 2, with all integers big-endian. The first eighteen bytes stay the same in
//! all versions, so that every version can tell whose record it is, and leave it alone:
//!
//! ```text
//!  0  version      u8     2
//!  1  state        u8     'R' running · 'D' done · 'F' failed · 'L' lost
//!  2  nonce        16     the owner's
//! 18  token        u64    fencing token, < 2^53
//! 26  lease        u32    milliseconds
//! 30  flags        u8     1 on_crash = fail · 2 has fingerprint · 4 result is an Err · 8 result was not recorded
//!                         · 16 has trace
//! 31  attempts     u32    grants so far
//! 35  codec        u32    the id of the result's codec (done, else 0)
//! 39  expires      u64    end of retention by the store's clock (done and failed, else 0): the low 48 bits are
//!                         milliseconds since 1970, the high 16 bits are the low 48 modulo 65521
//! 47  ttl          u64    milliseconds that a result of this attempt is kept
//! 55  check        u64    guards a done record (else 0), see below
//! 63  owner length u8     at most 64 (running and lost, else 0)
//! 64  fingerprint  16     if flag 2 is set
//!     trace        16     if flag 16 is set
//!     owner        …      UTF-8
//!     result       …      the codec's bytes (done, else none)
//! ```
//!
//! Whoever else can write to a store may damage records, or copy them to other keys. So whoever
//! completes a record puts a `check` into it, which is compared before the result is replayed:
//!
//! ```text
//! head  = the first 64 bytes, with token, expires and check as zeros, and fingerprint and trace if there
//! check = XXH3(result, seed: XXH3(the key's text, seed: XXH3(head))) xor token
//! ```
//!
//! It is neither a secret nor a signature: it finds accidents, not forgeries. Two fields are not
//! hashed, because a script on a server sets them, and it cannot hash. The token is mixed in by
//! xor, and `expires` has a check of its own.

mod bytes;
mod nonce;
mod owner;
#[cfg(test)]
mod tests;
#[cfg(feature = "memory")]
mod view;

use std::{fmt, sync::Arc, time::Duration};

use crate::{OnCrash, fingerprint::Fingerprint};

pub use bytes::DecodeError;
#[cfg(feature = "memory")]
pub(crate) use bytes::{Parts, append};
pub(crate) use bytes::{guarded, unguarded};
pub use nonce::{Nonce, NonceError};
pub use owner::Owner;
#[cfg(feature = "memory")]
pub(crate) use view::View;

/// How long an unfinished record (running or lost) is kept, and a failed one at most: 7 days.
///
/// It is a constant of the format, not an option. The age of a lease is `HOLD` minus the time that
/// the record has left. So a deploy that changes `ttl` or `lease` does not affect a live owner.
pub const HOLD: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The shortest lease an operation may ask for.
pub const MIN_LEASE: Duration = Duration::from_millis(1);
/// The longest lease an operation may ask for: one day.
pub const MAX_LEASE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest retention; a longer `ttl` is kept this long (100 years).
pub const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Tokens stay below 2^53, so that a double holds them exactly.
pub const MAX_TOKEN: u64 = (1 << 53) - 1;

/// The version byte this library writes.
pub const VERSION: u8 = 2;
/// The length of a record's fixed part; no record is shorter.
pub const HEADER: usize = 64;
/// The most bytes that a done record has beside its result: the fixed part, a fingerprint and a
/// trace.
pub const DONE_HEADER: usize = HEADER + 32;

/// `ttl` as a record has it: in whole milliseconds, from 1 ms to [`MAX_TTL`].
pub(crate) fn clamp_ttl(ttl: Duration) -> Duration {
    let ttl = ttl.clamp(Duration::from_millis(1), MAX_TTL);
    Duration::new(ttl.as_secs(), ttl.subsec_millis() * 1_000_000)
}

/// The reason why a result of so many bytes is not recorded.
pub(crate) fn too_large(bytes: usize, limit: usize) -> String {
    let whole = DONE_HEADER + bytes;
    format!("it has {whole} bytes with its record's head, the store takes {limit}")
}

/// The state of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// An owner runs. It counts as alive until its lease lapses.
    Running,
    /// A result is recorded. It is final, for as long as it is kept.
    Done,
    /// Released: there is no result, and the next claim runs.
    Failed,
    /// The owner vanished, and its effects are unknown (`on_crash = fail`).
    Lost,
}

impl State {
    /// The state's letter in the record's bytes.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Running => b'R',
            Self::Done => b'D',
            Self::Failed => b'F',
            Self::Lost => b'L',
        }
    }

    const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'R' => Some(Self::Running),
            b'D' => Some(Self::Done),
            b'F' => Some(Self::Failed),
            b'L' => Some(Self::Lost),
            _ => None,
        }
    }
}

/// What a finished body left behind, in bytes.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordedBytes {
    /// The codec's bytes of an `Ok` value.
    Ok(Arc<[u8]>),
    /// The codec's bytes of an `Err` value that is final (`on_err = record`).
    Err(Arc<[u8]>),
    /// The body finished, but its result could not be encoded or was too large. The text says why.
    NotRecorded(Arc<[u8]>),
}

impl RecordedBytes {
    /// The outcome, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> RecordedBytesRef<'_> {
        match self {
            Self::Ok(bytes) => RecordedBytesRef::Ok(bytes),
            Self::Err(bytes) => RecordedBytesRef::Err(bytes),
            Self::NotRecorded(bytes) => RecordedBytesRef::NotRecorded(bytes),
        }
    }

    /// The bytes, whichever kind they are.
    #[must_use]
    pub fn bytes(&self) -> &Arc<[u8]> {
        match self {
            Self::Ok(bytes) | Self::Err(bytes) | Self::NotRecorded(bytes) => bytes,
        }
    }
}

/// [`RecordedBytes`], borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordedBytesRef<'a> {
    /// As [`RecordedBytes::Ok`].
    Ok(&'a [u8]),
    /// As [`RecordedBytes::Err`].
    Err(&'a [u8]),
    /// As [`RecordedBytes::NotRecorded`].
    NotRecorded(&'a [u8]),
}

impl<'a> RecordedBytesRef<'a> {
    /// The bytes, whichever kind they are.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Ok(bytes) | Self::Err(bytes) | Self::NotRecorded(bytes) => bytes,
        }
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(self) -> RecordedBytes {
        match self {
            Self::Ok(bytes) => RecordedBytes::Ok(bytes.into()),
            Self::Err(bytes) => RecordedBytes::Err(bytes.into()),
            Self::NotRecorded(bytes) => RecordedBytes::NotRecorded(bytes.into()),
        }
    }
}

/// Shows how many bytes there are, and none of them.
impl fmt::Debug for RecordedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_ref(), f)
    }
}

/// Shows how many bytes there are, and none of them.
impl fmt::Debug for RecordedBytesRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Ok(_) => "Ok",
            Self::Err(_) => "Err",
            Self::NotRecorded(_) => "NotRecorded",
        };
        write!(f, "{kind}({} bytes)", self.bytes().len())
    }
}

/// The part of a [`Record`] that a replay needs, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordRef<'a> {
    /// The state.
    pub state: State,
    /// The attempt this record belongs to.
    pub nonce: Nonce,
    /// The payload's fingerprint, if the operation has one.
    pub fingerprint: Option<Fingerprint>,
    /// The id of the codec that wrote the outcome; 0 while there is none.
    pub codec: u32,
    /// What the body left, if the record is done.
    pub outcome: Option<RecordedBytesRef<'a>>,
}

impl RecordRef<'_> {
    /// As [`Record::conflicts_with`].
    #[must_use]
    pub fn conflicts_with(&self, fingerprint: Option<Fingerprint>) -> bool {
        self.state != State::Failed
            && matches!((self.fingerprint, fingerprint), (Some(a), Some(b)) if a != b)
    }
}

/// What a store keeps for one key. It is made by
/// [`ClaimRequest::record`](crate::store::ClaimRequest::record), or [decoded](Self::decode).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The state.
    pub state: State,
    /// The attempt this record belongs to.
    pub nonce: Nonce,
    /// The fencing token. It grows with every grant of this key, and is below 2^53.
    pub token: u64,
    /// How long the owner may be silent before it counts as dead, in whole milliseconds.
    pub lease: Duration,
    /// What a lapsed lease means for this record. A later caller's option does not matter.
    pub on_crash: OnCrash,
    /// The number of grants of this key so far, this one included.
    pub attempts: u32,
    /// The payload's fingerprint, if the operation has one.
    pub fingerprint: Option<Fingerprint>,
    /// The id of the codec that wrote the outcome ([`Codec::ID`](crate::codec::Codec::ID)); 0 while
    /// there is none.
    pub codec: u32,
    /// The end of retention, in milliseconds since 1970 by the store's clock. The store sets it. 0
    /// unless done or failed.
    pub expires: u64,
    /// How long a result of this attempt is kept, in whole milliseconds. It is stored here for
    /// whoever ends the attempt, who may be an operator and not know its function.
    pub ttl: Duration,
    /// Guards a done record against damage, and against being read under another key: see
    /// [`seal`](Self::seal). 0 in other states, and in a store that only one process reaches.
    pub check: u64,
    /// The process that runs the attempt. Only the bytes of running and lost records have it.
    pub owner: Option<Owner>,
    /// The trace that the attempt is part of, if its process gives one.
    pub trace: Option<[u8; 16]>,
    /// What the body left, if the record is done.
    pub outcome: Option<RecordedBytes>,
}

impl Record {
    /// The same record with another token. The `check` of a done record is adapted.
    pub(crate) fn with_token(self, token: u64) -> Self {
        let check = match self.state {
            State::Done => self.check ^ self.token ^ token,
            _ => self.check,
        };
        Self {
            token,
            check,
            ..self
        }
    }

    /// Whether its retention is over at `now`, in microseconds since 1970 by the store's clock.
    /// Then it is shown to nobody. A record whose end was never set has none: it is better to keep
    /// it than to run again.
    #[must_use]
    pub fn has_ended(&self, now: u64) -> bool {
        let has_end = matches!(self.state, State::Done | State::Failed) && self.expires != 0;
        has_end && now / 1000 >= self.expires
    }

    /// Whether this record is of another payload than `fingerprint`. A failed record is of none. If
    /// either side has no fingerprint, they match.
    #[must_use]
    pub fn conflicts_with(&self, fingerprint: Option<Fingerprint>) -> bool {
        self.as_ref().conflicts_with(fingerprint)
    }

    /// The part of the record that a replay needs, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef {
            state: self.state,
            nonce: self.nonce,
            fingerprint: self.fingerprint,
            codec: self.codec,
            outcome: self.outcome.as_ref().map(RecordedBytes::as_ref),
        }
    }
}
