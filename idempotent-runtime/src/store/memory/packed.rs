//! A settled record and its key in one run of bytes.
//!
//! ```text
//!  0 gone u64 · 8 token u64 · 16 nonce · 32 lease u32 (ms) · 36 attempts u32 · 40 codec u32
//! 44 key's length u32 · 48 result's length u32 · 52 flags · 53 fingerprint (16, if there is one) · key · result
//! ```
//!
//! Never leaves the process, so its integers are in this machine's order.

use std::time::Duration;

use crate::{
    OnCrash,
    fingerprint::Fingerprint,
    record::{Nonce, Outcome, OutcomeRef, Record, RecordRef, State},
};

const HEADER: usize = 53;

const STATE: u8 = 0b11;
const FAIL_ON_CRASH: u8 = 1 << 2;
const FINGERPRINT: u8 = 1 << 3;
const OUTCOME: u8 = 0b11 << 4;
const OK: u8 = 1 << 4;
const ERR: u8 = 2 << 4;
const NOT_RECORDED: u8 = 3 << 4;

/// A packed record, read where it lies; the bytes may go on behind it.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a>(&'a [u8]);

/// How many bytes [`pack`] appends. None: the result is larger than a length of 32 bits tells.
pub(super) fn packed_len(key: &str, record: &Record) -> Option<usize> {
    let result = u32::try_from(result(record).len()).ok()?;
    let key = u32::try_from(key.len()).ok()?;
    let fingerprint = if record.fingerprint.is_some() { 16 } else { 0 };
    Some(HEADER + fingerprint + key as usize + result as usize)
}

fn result(record: &Record) -> &[u8] {
    record
        .outcome
        .as_ref()
        .map_or(&[], |outcome| outcome.bytes())
}

/// Appends a record whose [`packed_len`] is known. `gone` is when it is past its end.
pub(super) fn pack(bytes: &mut Vec<u8>, key: &str, record: &Record, gone: u64) {
    let result = result(record);
    let length = |of: usize| u32::try_from(of).unwrap_or(u32::MAX).to_ne_bytes();
    let lease = u32::try_from(record.lease.as_millis()).unwrap_or(u32::MAX);
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&gone.to_ne_bytes());
    header[8..16].copy_from_slice(&record.token.to_ne_bytes());
    header[16..32].copy_from_slice(record.nonce.as_bytes());
    header[32..36].copy_from_slice(&lease.to_ne_bytes());
    header[36..40].copy_from_slice(&record.attempts.to_ne_bytes());
    header[40..44].copy_from_slice(&record.codec.to_ne_bytes());
    header[44..48].copy_from_slice(&length(key.len()));
    header[48..52].copy_from_slice(&length(result.len()));
    header[52] = flags(record);
    bytes.extend_from_slice(&header);
    if let Some(fingerprint) = &record.fingerprint {
        bytes.extend_from_slice(fingerprint.as_bytes());
    }
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(result);
}

fn flags(record: &Record) -> u8 {
    let state = match record.state {
        State::Running => 0,
        State::Done => 1,
        State::Failed => 2,
        State::Lost => 3,
    };
    let outcome = match &record.outcome {
        None => 0,
        Some(Outcome::Ok(_)) => OK,
        Some(Outcome::Err(_)) => ERR,
        Some(Outcome::NotRecorded(_)) => NOT_RECORDED,
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

impl<'a> Packed<'a> {
    /// The record that begins here.
    pub(super) fn at(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn len(self) -> usize {
        self.key_start() + self.u32(44) + self.u32(48)
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        &self.0[..self.len()]
    }

    pub(super) fn gone(self) -> u64 {
        u64::from_ne_bytes(self.array(0))
    }

    pub(super) fn key(self) -> &'a [u8] {
        let start = self.key_start();
        &self.0[start..start + self.u32(44)]
    }

    /// The record as a look at it needs it.
    pub(super) fn peek(self) -> RecordRef<'a> {
        RecordRef {
            state: self.state(),
            nonce: Nonce::from_bytes(self.array(16)),
            fingerprint: self.fingerprint(),
            codec: self.codec(),
            outcome: self.outcome(),
        }
    }

    /// The whole record.
    pub(super) fn record(self) -> Record {
        let outcome = self.outcome().map(OutcomeRef::to_owned);
        let fail = self.0[52] & FAIL_ON_CRASH != 0;
        Record {
            state: self.state(),
            nonce: Nonce::from_bytes(self.array(16)),
            token: u64::from_ne_bytes(self.array(8)),
            lease: Duration::from_millis(self.u32(32) as u64),
            on_crash: if fail { OnCrash::Fail } else { OnCrash::Rerun },
            attempts: u32::from_ne_bytes(self.array(36)),
            fingerprint: self.fingerprint(),
            codec: self.codec(),
            expires: if outcome.is_some() {
                self.gone() / 1000
            } else {
                0
            },
            outcome,
        }
    }

    fn state(self) -> State {
        match self.0[52] & STATE {
            0 => State::Running,
            1 => State::Done,
            2 => State::Failed,
            _ => State::Lost,
        }
    }

    fn codec(self) -> u32 {
        u32::from_ne_bytes(self.array(40))
    }

    fn fingerprint(self) -> Option<Fingerprint> {
        (self.0[52] & FINGERPRINT != 0).then(|| Fingerprint::from_bytes(self.array(HEADER)))
    }

    fn outcome(self) -> Option<OutcomeRef<'a>> {
        let start = self.key_start() + self.u32(44);
        let result = &self.0[start..start + self.u32(48)];
        match self.0[52] & OUTCOME {
            OK => Some(OutcomeRef::Ok(result)),
            ERR => Some(OutcomeRef::Err(result)),
            NOT_RECORDED => Some(OutcomeRef::NotRecorded(result)),
            _ => None,
        }
    }

    fn key_start(self) -> usize {
        if self.0[52] & FINGERPRINT == 0 {
            HEADER
        } else {
            HEADER + 16
        }
    }

    fn u32(self, at: usize) -> usize {
        u32::from_ne_bytes(self.array(at)) as usize
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.0[at..at + N]);
        array
    }
}
