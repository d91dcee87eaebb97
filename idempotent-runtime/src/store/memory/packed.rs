//! A record and its key in one run of bytes: one block of the allocator, read where it lies.
//!
//! ```text
//! 0 gone u64 · 8 nonce (16) · 24 flags, then
//! small: 25 length of the key u8  · 26 lease u8 (s)   · 27 gone − token (5)                                 · 32
//! large: 25 length of the key u64 · 33 lease u32 (ms) · 37 token u64 · 45 attempts u32 · 49 codec u32 · 53
//! then the key, the fingerprint (16, if there is one), and the result to the end
//! ```
//!
//! Nearly all records are small: of a first attempt, with the usual codec, and no number that does not fit. Never leaves
//! the process, so its integers are little-endian only to be cut short.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use crate::{
    OnCrash,
    codec::MESSAGE_PACK,
    fingerprint::Fingerprint,
    record::{Nonce, Outcome, OutcomeRef, Record, RecordRef, State},
};

const NONCE: usize = 8;
const FLAGS: usize = 24;
const KEY_LEN: usize = 25;
const SMALL: usize = 32;
const LARGE: usize = 53;

const STATE: u8 = 0b11;
const FAIL_ON_CRASH: u8 = 1 << 2;
const FINGERPRINT: u8 = 1 << 3;
const OUTCOME: u8 = 0b11 << 4;
const OK: u8 = 1 << 4;
const ERR: u8 = 2 << 4;
const NOT_RECORDED: u8 = 3 << 4;
const IS_LARGE: u8 = 1 << 6;

/// A record with its key. To the table it is its key.
pub(super) struct Packed(Box<[u8]>);

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Packed {}

impl Hash for Packed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// What the end of an attempt changes in its record.
pub(super) struct End<'a> {
    pub(super) state: State,
    pub(super) codec: u32,
    pub(super) outcome: Option<OutcomeRef<'a>>,
}

impl<'a> End<'a> {
    fn of(record: &'a Record) -> Self {
        Self {
            state: record.state,
            codec: record.codec,
            outcome: record.outcome.as_ref().map(Outcome::as_ref),
        }
    }
}

impl Packed {
    /// `gone` is when the record is past its end.
    pub(super) fn new(key: &[u8], record: &Record, gone: u64) -> Self {
        Self::ending(key, record, &End::of(record), gone)
    }

    /// The same with another end than the record's own.
    pub(super) fn ending(key: &[u8], record: &Record, end: &End<'_>, gone: u64) -> Self {
        let result = end.outcome.map_or(&[][..], OutcomeRef::bytes);
        let fingerprint = record.fingerprint.as_ref();
        let fingerprint = fingerprint.map_or(&[][..], |fingerprint| fingerprint.as_bytes());
        let small = small(key, record, end, gone);
        let header = if small.is_some() { SMALL } else { LARGE };
        let size = header + key.len() + fingerprint.len() + result.len();
        // Of exactly this size, so that nothing is left over.
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&gone.to_le_bytes());
        bytes.extend_from_slice(record.nonce.as_bytes());
        if let Some(small) = small {
            bytes.extend_from_slice(&small);
        } else {
            bytes.push(flags(record, end) | IS_LARGE);
            bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&millis(record.lease).to_le_bytes());
            bytes.extend_from_slice(&record.token.to_le_bytes());
            bytes.extend_from_slice(&record.attempts.to_le_bytes());
            bytes.extend_from_slice(&end.codec.to_le_bytes());
        }
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(fingerprint);
        bytes.extend_from_slice(result);
        Self(bytes.into_boxed_slice())
    }

    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        self.split().0
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(super) fn gone(&self) -> u64 {
        u64::from_le_bytes(part(self.header(), 0))
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        match self.header()[FLAGS] & STATE {
            0 => State::Running,
            1 => State::Done,
            2 => State::Failed,
            _ => State::Lost,
        }
    }

    #[inline]
    pub(super) fn nonce(&self) -> Nonce {
        Nonce::from_bytes(part(self.header(), NONCE))
    }

    /// The record as a look at it needs it.
    #[inline]
    pub(super) fn peek(&self) -> RecordRef<'_> {
        let header = self.header();
        let flags = header[FLAGS];
        let (_, rest) = self.split();
        let (fingerprint, result) = if flags & FINGERPRINT == 0 {
            (None, rest)
        } else {
            let (fingerprint, result) = rest.split_first_chunk().expect("a fingerprint");
            (Some(Fingerprint::from_bytes(*fingerprint)), result)
        };
        let outcome = match flags & OUTCOME {
            OK => Some(OutcomeRef::Ok(result)),
            ERR => Some(OutcomeRef::Err(result)),
            NOT_RECORDED => Some(OutcomeRef::NotRecorded(result)),
            _ => None,
        };
        RecordRef {
            state: self.state(),
            nonce: self.nonce(),
            fingerprint,
            codec: match flags & IS_LARGE {
                0 => usual_codec(outcome.is_some()),
                _ => u32::from_le_bytes(part(&self.0, 49)),
            },
            outcome,
        }
    }

    /// The whole record.
    pub(super) fn record(&self) -> Record {
        let header = self.header();
        let (lease, token, attempts) = if header[FLAGS] & IS_LARGE == 0 {
            let mut left = [0; 8];
            left[..5].copy_from_slice(&header[27..SMALL]);
            let left = u64::from_le_bytes(left);
            let lease = Duration::from_secs(header[26].into());
            (lease, self.gone().wrapping_sub(left), 1)
        } else {
            let lease = u32::from_le_bytes(part(&self.0, 33));
            let token = u64::from_le_bytes(part(&self.0, 37));
            let attempts = u32::from_le_bytes(part(&self.0, 45));
            (Duration::from_millis(lease.into()), token, attempts)
        };
        let seen = self.peek();
        let outcome = seen.outcome.map(OutcomeRef::to_owned);
        let fail = header[FLAGS] & FAIL_ON_CRASH != 0;
        Record {
            state: seen.state,
            nonce: seen.nonce,
            token,
            lease,
            on_crash: if fail { OnCrash::Fail } else { OnCrash::Rerun },
            attempts,
            fingerprint: seen.fingerprint,
            codec: seen.codec,
            expires: outcome.as_ref().map_or(0, |_| self.gone() / 1000),
            outcome,
        }
    }

    #[inline]
    fn header(&self) -> &[u8; SMALL] {
        self.0.first_chunk().expect("a header")
    }

    /// The key, and what stands behind it.
    #[inline]
    fn split(&self) -> (&[u8], &[u8]) {
        let header = self.header();
        if header[FLAGS] & IS_LARGE == 0 {
            self.0[SMALL..].split_at(header[KEY_LEN].into())
        } else {
            let length = u64::from_le_bytes(part(&self.0, KEY_LEN));
            self.0[LARGE..].split_at(usize::try_from(length).expect("it was a length"))
        }
    }
}

/// The bytes from `at` on.
#[inline]
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

/// The rest of the header of a record that is small.
fn small(key: &[u8], record: &Record, end: &End<'_>, gone: u64) -> Option<[u8; SMALL - FLAGS]> {
    let length = u8::try_from(key.len()).ok()?;
    let lease = u8::try_from(record.lease.as_secs()).ok()?;
    let left = gone.wrapping_sub(record.token);
    let is_usual = record.lease.subsec_nanos() == 0
        && record.attempts == 1
        && end.codec == usual_codec(end.outcome.is_some());
    let fits = is_usual && left < 1 << 40;
    // In one number: as bytes that are written one by one, it would be waited for where it is copied.
    let head = [flags(record, end), length, lease, 0, 0, 0, 0, 0];
    fits.then(|| (u64::from_le_bytes(head) | left << 24).to_le_bytes())
}

/// `MessagePack`'s, where there is a result.
fn usual_codec(has_outcome: bool) -> u32 {
    if has_outcome { MESSAGE_PACK } else { 0 }
}

fn millis(lease: Duration) -> u32 {
    u32::try_from(lease.as_millis()).unwrap_or(u32::MAX)
}

fn flags(record: &Record, end: &End<'_>) -> u8 {
    let state = match end.state {
        State::Running => 0,
        State::Done => 1,
        State::Failed => 2,
        State::Lost => 3,
    };
    let outcome = match end.outcome {
        None => 0,
        Some(OutcomeRef::Ok(_)) => OK,
        Some(OutcomeRef::Err(_)) => ERR,
        Some(OutcomeRef::NotRecorded(_)) => NOT_RECORDED,
    };
    let mut flags = state | outcome;
    if record.on_crash == OnCrash::Fail {
        flags |= FAIL_ON_CRASH;
    }
    if record.fingerprint.is_some() {
        flags |= FINGERPRINT;
    }
    flags
}
