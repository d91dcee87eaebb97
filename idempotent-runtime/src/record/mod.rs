//! What a store keeps for one key, and its bytes.
//!
//! Layout, version 2, all integers big-endian. The first eighteen bytes never move in any version, so that every
//! version can tell whose record it is and leave it alone:
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
//! 35  codec        u32    who can read the result (done, else 0)
//! 39  expires      u64    end of retention by the store's clock (done and failed, else 0): the low 48 bits are
//!                         milliseconds since 1970, the high 16 bits are the low 48 modulo 65521
//! 47  ttl          u64    milliseconds that a result of this attempt is kept
//! 55  check        u64    guards a done record (else 0), see below
//! 63  owner length u8     at most 64 (running and lost, else 0)
//! 64  fingerprint  16     where flag 2 says so
//!     trace        16     where flag 16 says so
//!     owner        …      UTF-8
//!     result       …      the codec's bytes (done, else none)
//! ```
//!
//! Records are damaged, and copied to other keys, by whoever else can write to a store. So whoever completes a record
//! puts a `check` into it, which is compared before the result is replayed:
//!
//! ```text
//! head  = bytes 0 to 95 (as far as fingerprint and trace are there), with token, expires and check as zeros
//! check = XXH3(result, seed: XXH3(the key's text, seed: XXH3(head))) xor token
//! ```
//!
//! It is no secret and no signature: it finds accidents, not forgeries. Two fields stand outside of the hash, because a
//! script on a server sets them, which cannot hash: the token is mixed in by xor, and `expires` guards itself.

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
/// A constant of the format, not an option: the age of a lease is `HOLD` minus the time the record has left, so a
/// deploy that changes `ttl` or `lease` touches no live owner.
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
/// What a done record has beside its result, at most: the fixed part, a fingerprint and a trace.
pub const DONE_HEADER: usize = HEADER + 32;

/// How long a result is kept that is to be kept for `ttl`: in whole milliseconds, as a record has it.
pub(crate) fn clamp_ttl(ttl: Duration) -> Duration {
    let ttl = ttl.clamp(Duration::from_millis(1), MAX_TTL);
    Duration::new(ttl.as_secs(), ttl.subsec_millis() * 1_000_000)
}

/// Why a result of so many bytes is not recorded.
pub(crate) fn too_large(bytes: usize, limit: usize) -> String {
    let whole = DONE_HEADER + bytes;
    format!("it has {whole} bytes with its record's head, the store takes {limit}")
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// An owner holds the claim; its lease says how long it is believed alive.
    Running,
    /// A result is recorded. Final for as long as it is kept.
    Done,
    /// Released: nothing is recorded and the next claim runs.
    Failed,
    /// The owner vanished with its effects unknown (`on_crash = fail`).
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
    /// The outcome, seen where it lies.
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

/// [`RecordedBytes`] seen where it lies.
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

    /// A copy of it.
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

/// What a replay needs of a [`Record`], seen where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordRef<'a> {
    /// Where the operation stands.
    pub state: State,
    /// The attempt this record belongs to.
    pub nonce: Nonce,
    /// The payload's fingerprint, where the operation has one.
    pub fingerprint: Option<Fingerprint>,
    /// Who can read the outcome's bytes; 0 while there are none.
    pub codec: u32,
    /// What the body left, once done.
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

/// What a store keeps for one key. It is made by [`ClaimRequest::record`](crate::store::ClaimRequest::record), or
/// [decoded](Self::decode).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Where the operation stands.
    pub state: State,
    /// The attempt this record belongs to.
    pub nonce: Nonce,
    /// The fencing token: grows with every grant of this key, below 2^53.
    pub token: u64,
    /// How long the owner may be silent before it is believed dead. Whole milliseconds.
    pub lease: Duration,
    /// What a lapsed lease means for this record, whatever a later caller's option says.
    pub on_crash: OnCrash,
    /// Grants of this key so far, this one included.
    pub attempts: u32,
    /// The payload's fingerprint, where the operation has one.
    pub fingerprint: Option<Fingerprint>,
    /// Who can read the outcome's bytes ([`Codec::ID`](crate::codec::Codec::ID)); 0 while there are none.
    pub codec: u32,
    /// End of retention in milliseconds since 1970 by the store's clock; 0 unless done or failed. The store sets it.
    pub expires: u64,
    /// How long a result of this attempt is kept, in whole milliseconds. Whoever ends the attempt, also by hand and
    /// without knowing its function, takes it from here.
    pub ttl: Duration,
    /// Guards a done record against damage, and against being taken for another key's: see [`seal`](Self::seal). 0 in
    /// all others, and where only one process reaches the store.
    pub check: u64,
    /// Who runs it. Running and lost records show it; the bytes of others do not have it.
    pub owner: Option<Owner>,
    /// The trace that the attempt was part of, where its process told one.
    pub trace: Option<[u8; 16]>,
    /// What the body left, once done.
    pub outcome: Option<RecordedBytes>,
}

impl Record {
    /// The same record with another token, which the `check` of a done one then fits.
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

    /// Whether its retention is over at `now`, in microseconds since 1970 by the store's clock. Nobody is shown it then. One
    /// whose end was never set has none: better kept than run again.
    #[must_use]
    pub fn has_ended(&self, now: u64) -> bool {
        let has_end = matches!(self.state, State::Done | State::Failed) && self.expires != 0;
        has_end && now / 1000 >= self.expires
    }

    /// Whether this record pins a payload other than `fingerprint`. Failed records pin none; where either side has no
    /// fingerprint, they match.
    #[must_use]
    pub fn conflicts_with(&self, fingerprint: Option<Fingerprint>) -> bool {
        self.as_ref().conflicts_with(fingerprint)
    }

    /// The record, seen where it lies.
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
