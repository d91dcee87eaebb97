//! Encodes and decodes records, and computes their checks. The layout is in [`super`].

use std::time::Duration;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{
    DONE_HEADER, HEADER, MAX_TOKEN, Nonce, Owner, Record, RecordedBytes, RecordedBytesRef, State,
    VERSION,
};
use crate::{OnCrash, fingerprint::Fingerprint, key::Key};

const FAIL_ON_CRASH: u8 = 1;
pub(super) const HAS_FINGERPRINT: u8 = 2;
pub(super) const IS_ERR: u8 = 4;
pub(super) const NOT_RECORDED: u8 = 8;
pub(super) const HAS_TRACE: u8 = 16;
const KNOWN_FLAGS: u8 = FAIL_ON_CRASH | HAS_FINGERPRINT | IS_ERR | NOT_RECORDED | HAS_TRACE;

// Where each field of the header begins.
pub(super) const STATE: usize = 1;
pub(super) const NONCE: usize = 2;
pub(super) const TOKEN: usize = 18;
pub(super) const LEASE: usize = 26;
pub(super) const FLAGS: usize = 30;
const ATTEMPTS: usize = 31;
pub(super) const CODEC: usize = 35;
pub(super) const EXPIRES: usize = 39;
const TTL: usize = 47;
const CHECK: usize = 55;
const OWNER_LENGTH: usize = 63;

/// The largest `expires`.
pub(super) const LAST_END: u64 = (1 << 48) - 1;
/// The largest prime below 2^16. A change of any one bit changes a number modulo this.
const GUARD: u64 = 65_521;

/// Bytes that are not a record this version can read. They are never overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Shorter than a record's header.
    #[error("{0} bytes are too few for a record")]
    Truncated(usize),
    /// Another version's record.
    #[error(
        "record version {0} is not known here (this is version {VERSION}): another release wrote it"
    )]
    Version(u8),
    /// A state, flag or combination that no release writes.
    #[error("these bytes are not a record of idempotent-fn, or they are damaged")]
    Foreign,
}

/// What a record's bytes are written from: a record, with another end in place of its own. So a
/// done record is written without a copy of the record or of its result.
pub(crate) struct Parts<'a> {
    /// The other fields.
    pub(crate) record: &'a Record,
    /// In place of the record's field, like the next three.
    pub(crate) state: State,
    pub(crate) codec: u32,
    pub(crate) expires: u64,
    pub(crate) outcome: Option<RecordedBytesRef<'a>>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(record: &'a Record) -> Self {
        Self {
            record,
            state: record.state,
            codec: record.codec,
            expires: record.expires,
            outcome: record.outcome.as_ref().map(RecordedBytes::as_ref),
        }
    }

    /// Writes the header, with the fingerprint and the trace that follow it, to the beginning of
    /// `place`, and returns the rest of it.
    #[inline]
    fn write_head<'p>(&self, check: u64, place: &'p mut [u8]) -> &'p mut [u8] {
        let record = self.record;
        let (header, mut rest) = place
            .split_first_chunk_mut::<HEADER>()
            .expect("room for a header");
        header[0] = VERSION;
        header[STATE] = self.state.letter();
        header[NONCE..TOKEN].copy_from_slice(record.nonce.as_bytes());
        header[TOKEN..LEASE].copy_from_slice(&record.token.to_be_bytes());
        header[LEASE..FLAGS].copy_from_slice(&whole_millis(record.lease).to_be_bytes());
        header[FLAGS] = self.flags();
        header[ATTEMPTS..CODEC].copy_from_slice(&record.attempts.to_be_bytes());
        header[CODEC..EXPIRES].copy_from_slice(&self.codec.to_be_bytes());
        header[EXPIRES..TTL].copy_from_slice(&guarded(self.expires).to_be_bytes());
        header[TTL..CHECK].copy_from_slice(&millis(record.ttl).to_be_bytes());
        header[CHECK..OWNER_LENGTH].copy_from_slice(&check.to_be_bytes());
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an owner has 64 bytes at most"
        )]
        {
            header[OWNER_LENGTH] = self.owner().len() as u8;
        }
        if let Some(fingerprint) = &record.fingerprint {
            rest = append(rest, fingerprint.as_bytes());
        }
        if let Some(trace) = &record.trace {
            rest = append(rest, trace);
        }
        rest
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.record.on_crash == OnCrash::Fail {
            flags |= FAIL_ON_CRASH;
        }
        if self.record.fingerprint.is_some() {
            flags |= HAS_FINGERPRINT;
        }
        if self.record.trace.is_some() {
            flags |= HAS_TRACE;
        }
        match self.outcome {
            Some(RecordedBytesRef::Err(_)) => flags | IS_ERR,
            Some(RecordedBytesRef::NotRecorded(_)) => flags | NOT_RECORDED,
            Some(RecordedBytesRef::Ok(_)) | None => flags,
        }
    }

    /// The owner's name, if the state has one.
    fn owner(&self) -> &'a [u8] {
        match (self.state, &self.record.owner) {
            (State::Running | State::Lost, Some(owner)) => owner.as_str().as_bytes(),
            _ => &[],
        }
    }

    fn result(&self) -> &'a [u8] {
        self.outcome.map_or(&[], RecordedBytesRef::bytes)
    }

    /// The check of this record under `key`. 0 unless it is done.
    pub(crate) fn check(&self, key: &str) -> u64 {
        if self.state != State::Done {
            return 0;
        }
        let mut hashed = [0; DONE_HEADER];
        let free = self.write_head(0, &mut hashed).len();
        hashed[TOKEN..TOKEN + 8].fill(0);
        hashed[EXPIRES..EXPIRES + 8].fill(0);
        let head = xxh3_64(&hashed[..DONE_HEADER - free]);
        let key = xxh3_64_with_seed(key.as_bytes(), head);
        xxh3_64_with_seed(self.result(), key) ^ self.record.token
    }

    /// The length of its bytes.
    pub(crate) fn len(&self) -> usize {
        let record = self.record;
        let optional = |there: bool| if there { 16 } else { 0 };
        HEADER
            + optional(record.fingerprint.is_some())
            + optional(record.trace.is_some())
            + self.owner().len()
            + self.result().len()
    }

    /// Writes its bytes to the beginning of `place`, which has room for [`len`](Self::len), and
    /// returns the rest of it.
    #[inline]
    pub(crate) fn write<'p>(&self, check: u64, place: &'p mut [u8]) -> &'p mut [u8] {
        debug_assert_eq!(
            self.state == State::Done,
            self.outcome.is_some(),
            "exactly a done record has an outcome"
        );
        let check = if self.state == State::Done { check } else { 0 };
        let rest = self.write_head(check, place);
        let rest = append(rest, self.owner());
        append(rest, self.result())
    }
}

/// Writes `piece` to the beginning of `place`, and returns the rest of it.
#[inline]
pub(crate) fn append<'p>(place: &'p mut [u8], piece: &[u8]) -> &'p mut [u8] {
    let (here, rest) = place.split_at_mut(piece.len());
    here.copy_from_slice(piece);
    rest
}

impl Record {
    /// The record's bytes. Done records must have an outcome, and only they: the bytes of other
    /// records do not decode.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let parts = Parts::of(self);
        let mut bytes = vec![0; parts.len()];
        parts.write(self.check, &mut bytes);
        bytes
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that this version does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            None => return Err(DecodeError::Truncated(0)),
            Some(&VERSION) => {}
            // Versions count up from 1. A larger first byte, such as a printable one, is another
            // program's value.
            Some(&version @ 1..=31) => return Err(DecodeError::Version(version)),
            Some(_) => return Err(DecodeError::Foreign),
        }
        let Some((header, mut rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(DecodeError::Truncated(bytes.len()));
        };
        let state = State::from_letter(header[STATE]).ok_or(DecodeError::Foreign)?;
        let token = u64::from_be_bytes(array(header, TOKEN));
        let flags = header[FLAGS];
        let kind = flags & (IS_ERR | NOT_RECORDED);
        if token > MAX_TOKEN || flags & !KNOWN_FLAGS != 0 || kind == IS_ERR | NOT_RECORDED {
            return Err(DecodeError::Foreign);
        }
        let expires = unguarded(u64::from_be_bytes(array(header, EXPIRES)))?;
        let check = u64::from_be_bytes(array(header, CHECK));
        let mut optional = |flag: u8| match flags & flag {
            0 => Ok(None),
            _ => take(&mut rest).map(Some),
        };
        let fingerprint = optional(HAS_FINGERPRINT)?;
        let trace = optional(HAS_TRACE)?;
        let (owner, result) = owner(state, header[OWNER_LENGTH], rest)?;
        let outcome = (state == State::Done).then(|| match kind {
            IS_ERR => RecordedBytes::Err(result.into()),
            NOT_RECORDED => RecordedBytes::NotRecorded(result.into()),
            _ => RecordedBytes::Ok(result.into()),
        });
        if outcome.is_none() && (kind != 0 || !result.is_empty() || check != 0) {
            return Err(DecodeError::Foreign);
        }
        Ok(Self {
            state,
            nonce: Nonce::from_bytes(array(header, NONCE)),
            token,
            lease: Duration::from_millis(u32::from_be_bytes(array(header, LEASE)).into()),
            on_crash: if flags & FAIL_ON_CRASH == 0 {
                OnCrash::Rerun
            } else {
                OnCrash::Fail
            },
            attempts: u32::from_be_bytes(array(header, ATTEMPTS)),
            fingerprint: fingerprint.map(Fingerprint::from_bytes),
            codec: u32::from_be_bytes(array(header, CODEC)),
            expires,
            ttl: Duration::from_millis(u64::from_be_bytes(array(header, TTL))),
            check,
            owner,
            trace,
            outcome,
        })
    }

    /// Puts the check into a done record that is to be kept under `key`, which is the whole key as
    /// the store has it. It is the last step of completing a record;
    /// [`SharedStore`](crate::SharedStore) does it for all that it sends.
    pub fn seal(&mut self, key: &Key) {
        self.check = Parts::of(self).check(key.as_str());
    }

    /// Whether this record's check fits it and this `key`. Records that are not done have no check,
    /// and are always sound.
    #[must_use]
    pub fn is_sound(&self, key: &Key) -> bool {
        self.state != State::Done || self.check == Parts::of(self).check(key.as_str())
    }
}

/// Splits `rest` into an owner's name of this length, and the result.
fn owner(state: State, length: u8, rest: &[u8]) -> Result<(Option<Owner>, &[u8]), DecodeError> {
    let length = usize::from(length);
    let may_have = matches!(state, State::Running | State::Lost) && length <= Owner::MAX;
    let (name, result) = rest
        .split_at_checked(length)
        .filter(|_| length == 0 || may_have)
        .ok_or(DecodeError::Foreign)?;
    let name = str::from_utf8(name).map_err(|_| DecodeError::Foreign)?;
    Ok((Owner::new(name), result))
}

fn take(bytes: &mut &[u8]) -> Result<[u8; 16], DecodeError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(DecodeError::Foreign)?;
    *bytes = rest;
    Ok(*taken)
}

/// The bytes of `header` from `at` on.
fn array<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[at..at + N]);
    bytes
}

/// `expires` in 48 bits, and its own check above them. A change of any one bit is found.
pub(crate) fn guarded(expires: u64) -> u64 {
    let expires = expires.min(LAST_END);
    (expires % GUARD) << 48 | expires
}

/// The reverse of [`guarded`].
pub(crate) fn unguarded(guarded: u64) -> Result<u64, DecodeError> {
    let expires = guarded & LAST_END;
    if guarded >> 48 == expires % GUARD {
        Ok(expires)
    } else {
        Err(DecodeError::Foreign)
    }
}

/// A lease in milliseconds. It is at most a day, which fits.
fn whole_millis(lease: Duration) -> u32 {
    u32::try_from(lease.as_millis()).unwrap_or(u32::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
