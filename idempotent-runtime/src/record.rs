//! What a store keeps for one key, and its bytes.
//!
//! Layout, version 1, all integers big-endian. The first eighteen bytes never move in any version, so that every
//! version can tell whose record it is and leave it alone:
//!
//! ```text
//!  0  version     u8     1
//!  1  state       u8     'R' running · 'D' done · 'F' failed · 'L' lost
//!  2  nonce       16     the owner's
//! 18  token       u64    fencing token, < 2^53
//! 26  lease       u32    milliseconds
//! 30  flags       u8     1 on_crash = fail · 2 has fingerprint · 4 result is an Err · 8 result was not recorded
//! 31  attempts    u32    grants so far
//! 35  fingerprint 16     zero when absent
//! 51  codec       u32    who can read the result
//! 55  expires     u64    end of retention, milliseconds since 1970 by the store's clock (done only, else 0)
//! 63  result      …      the codec's bytes
//! ```

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crate::{OnCrash, fingerprint::Fingerprint};

pub use crate::nonce::Nonce;

/// How long an unfinished record (running, failed or lost) is kept: 7 days.
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
pub const VERSION: u8 = 1;
/// Where the result's bytes begin.
pub const RESULT_OFFSET: usize = 63;

const FAIL_ON_CRASH: u8 = 1;
const HAS_FINGERPRINT: u8 = 2;
const IS_ERR: u8 = 4;
const NOT_RECORDED: u8 = 8;
const KNOWN_FLAGS: u8 = FAIL_ON_CRASH | HAS_FINGERPRINT | IS_ERR | NOT_RECORDED;

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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The codec's bytes of an `Ok` value.
    Ok(Arc<[u8]>),
    /// The codec's bytes of an `Err` value that is final (`on_err = record`).
    Err(Arc<[u8]>),
    /// The body finished, but its result could not be encoded or was too large. The text says why.
    NotRecorded(Arc<[u8]>),
}

impl Outcome {
    /// The outcome, seen where it lies.
    #[must_use]
    pub fn as_ref(&self) -> OutcomeRef<'_> {
        match self {
            Self::Ok(bytes) => OutcomeRef::Ok(bytes),
            Self::Err(bytes) => OutcomeRef::Err(bytes),
            Self::NotRecorded(bytes) => OutcomeRef::NotRecorded(bytes),
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

/// An [`Outcome`] seen where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutcomeRef<'a> {
    /// As [`Outcome::Ok`].
    Ok(&'a [u8]),
    /// As [`Outcome::Err`].
    Err(&'a [u8]),
    /// As [`Outcome::NotRecorded`].
    NotRecorded(&'a [u8]),
}

impl<'a> OutcomeRef<'a> {
    /// The bytes, whichever kind they are.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Ok(bytes) | Self::Err(bytes) | Self::NotRecorded(bytes) => bytes,
        }
    }

    /// A copy of it.
    #[must_use]
    pub fn to_owned(self) -> Outcome {
        match self {
            Self::Ok(bytes) => Outcome::Ok(bytes.into()),
            Self::Err(bytes) => Outcome::Err(bytes.into()),
            Self::NotRecorded(bytes) => Outcome::NotRecorded(bytes.into()),
        }
    }
}

/// What a replay needs of a [`Record`], seen where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub outcome: Option<OutcomeRef<'a>>,
}

impl RecordRef<'_> {
    /// As [`Record::conflicts_with`].
    #[must_use]
    pub fn conflicts_with(&self, fingerprint: Option<Fingerprint>) -> bool {
        self.state != State::Failed
            && matches!((self.fingerprint, fingerprint), (Some(a), Some(b)) if a != b)
    }
}

/// What a store keeps for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Who can read the outcome's bytes ([`Codec::ID`](crate::Codec::ID)); 0 while there are none.
    pub codec: u32,
    /// End of retention in milliseconds since 1970 by the store's clock; 0 unless done. The store sets it.
    pub expires: u64,
    /// What the body left, once done.
    pub outcome: Option<Outcome>,
}

/// Bytes that are not a record this version can read. They are never overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Shorter than a record's header.
    #[error("{0} bytes are too few for a record")]
    Truncated(usize),
    /// Another version's record.
    #[error(
        "record version {0} is not known here (this is version {VERSION}): a newer release wrote it"
    )]
    Version(u8),
    /// A state, flag or combination that no release writes.
    #[error("these bytes are not a record of idempotent-fn")]
    Foreign,
}

impl Record {
    /// The record's bytes. Exactly the done records have an outcome; others have no bytes that can be read again.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(
            self.state == State::Done,
            self.outcome.is_some(),
            "exactly a done record has an outcome"
        );
        let result = self
            .outcome
            .as_ref()
            .map_or(&[][..], |outcome| outcome.bytes());
        let mut bytes = Vec::with_capacity(RESULT_OFFSET + result.len());
        bytes.extend([VERSION, self.state.letter()]);
        bytes.extend(self.nonce.as_bytes());
        bytes.extend(self.token.to_be_bytes());
        bytes.extend(whole_millis(self.lease).to_be_bytes());
        bytes.push(self.flags());
        bytes.extend(self.attempts.to_be_bytes());
        bytes.extend(
            self.fingerprint
                .map_or([0; 16], |fingerprint| *fingerprint.as_bytes()),
        );
        bytes.extend(self.codec.to_be_bytes());
        bytes.extend(self.expires.to_be_bytes());
        debug_assert_eq!(bytes.len(), RESULT_OFFSET);
        bytes.extend(result);
        bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`Unreadable`] for anything that this version does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        match bytes.first() {
            None => return Err(Unreadable::Truncated(0)),
            Some(&VERSION) => {}
            // Releases count up from 1: a printable or huge first byte is somebody else's value.
            Some(&version @ 2..=31) => return Err(Unreadable::Version(version)),
            Some(_) => return Err(Unreadable::Foreign),
        }
        let Some((header, result)) = bytes.split_at_checked(RESULT_OFFSET) else {
            return Err(Unreadable::Truncated(bytes.len()));
        };
        let state = State::from_letter(header[1]).ok_or(Unreadable::Foreign)?;
        let token = u64::from_be_bytes(array(header, 18));
        let flags = header[30];
        let kind = flags & (IS_ERR | NOT_RECORDED);
        if token > MAX_TOKEN || flags & !KNOWN_FLAGS != 0 || kind == IS_ERR | NOT_RECORDED {
            return Err(Unreadable::Foreign);
        }
        let outcome = (state == State::Done).then(|| match kind {
            IS_ERR => Outcome::Err(result.into()),
            NOT_RECORDED => Outcome::NotRecorded(result.into()),
            _ => Outcome::Ok(result.into()),
        });
        if outcome.is_none() && (kind != 0 || !result.is_empty()) {
            return Err(Unreadable::Foreign);
        }
        Ok(Self {
            state,
            nonce: Nonce::from_bytes(array(header, 2)),
            token,
            lease: Duration::from_millis(u32::from_be_bytes(array(header, 26)).into()),
            on_crash: if flags & FAIL_ON_CRASH == 0 {
                OnCrash::Rerun
            } else {
                OnCrash::Fail
            },
            attempts: u32::from_be_bytes(array(header, 31)),
            fingerprint: (flags & HAS_FINGERPRINT != 0)
                .then(|| Fingerprint::from_bytes(array(header, 35))),
            codec: u32::from_be_bytes(array(header, 51)),
            expires: u64::from_be_bytes(array(header, 55)),
            outcome,
        })
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.on_crash == OnCrash::Fail {
            flags |= FAIL_ON_CRASH;
        }
        if self.fingerprint.is_some() {
            flags |= HAS_FINGERPRINT;
        }
        match self.outcome {
            Some(Outcome::Err(_)) => flags | IS_ERR,
            Some(Outcome::NotRecorded(_)) => flags | NOT_RECORDED,
            Some(Outcome::Ok(_)) | None => flags,
        }
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
            outcome: self.outcome.as_ref().map(Outcome::as_ref),
        }
    }
}

/// The bytes of `header` from `at` on. `N` bytes are there: the caller has checked the header's length.
fn array<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[at..at + N]);
    bytes
}

/// A lease in the format's unit. Leases are at most a day, which fits many times over.
fn whole_millis(lease: Duration) -> u32 {
    u32::try_from(lease.as_millis()).unwrap_or(u32::MAX)
}
