//! A settled record in one run of bytes: most records are, and for long.
//!
//! ```text
//!  0 gone u64 · 8 token u64 · 16 nonce · 32 lease u32 (ms) · 36 attempts u32 · 40 codec u32
//! 44 flags · 45 fingerprint (16, if there is one) · result
//! ```
//!
//! Never leaves the process, so its integers are in this machine's order.

use std::time::Duration;

use crate::{
    OnCrash,
    fingerprint::Fingerprint,
    record::{Nonce, Outcome, OutcomeRef, Record, RecordRef, State},
};

const FLAGS: usize = 44;
const HEADER: usize = FLAGS + 1;

const STATE: u8 = 0b11;
const FAIL_ON_CRASH: u8 = 1 << 2;
const FINGERPRINT: u8 = 1 << 3;
const OUTCOME: u8 = 0b11 << 4;
const OK: u8 = 1 << 4;
const ERR: u8 = 2 << 4;
const NOT_RECORDED: u8 = 3 << 4;

/// A packed record, read where it lies.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a>(&'a [u8]);

fn result(record: &Record) -> &[u8] {
    record
        .outcome
        .as_ref()
        .map_or(&[], |outcome| outcome.bytes())
}

/// The record's bytes. `gone` is when it is past its end.
pub(super) fn pack(record: &Record, gone: u64) -> Box<[u8]> {
    let result = result(record);
    let fingerprint = record.fingerprint.as_ref();
    let fingerprint = fingerprint.map_or(&[][..], |fingerprint| fingerprint.as_bytes());
    let lease = u32::try_from(record.lease.as_millis()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + fingerprint.len() + result.len());
    bytes.extend(gone.to_ne_bytes());
    bytes.extend(record.token.to_ne_bytes());
    bytes.extend(record.nonce.as_bytes());
    bytes.extend(lease.to_ne_bytes());
    bytes.extend(record.attempts.to_ne_bytes());
    bytes.extend(record.codec.to_ne_bytes());
    bytes.push(flags(record));
    bytes.extend(fingerprint);
    bytes.extend(result);
    bytes.into_boxed_slice()
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
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn gone(self) -> u64 {
        u64::from_ne_bytes(self.array(0))
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
        let fail = self.0[FLAGS] & FAIL_ON_CRASH != 0;
        Record {
            state: self.state(),
            nonce: Nonce::from_bytes(self.array(16)),
            token: u64::from_ne_bytes(self.array(8)),
            lease: Duration::from_millis(u32::from_ne_bytes(self.array(32)).into()),
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
        match self.0[FLAGS] & STATE {
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
        (self.0[FLAGS] & FINGERPRINT != 0).then(|| Fingerprint::from_bytes(self.array(HEADER)))
    }

    fn outcome(self) -> Option<OutcomeRef<'a>> {
        let result = &self.0[self.result_start()..];
        match self.0[FLAGS] & OUTCOME {
            OK => Some(OutcomeRef::Ok(result)),
            ERR => Some(OutcomeRef::Err(result)),
            NOT_RECORDED => Some(OutcomeRef::NotRecorded(result)),
            _ => None,
        }
    }

    fn result_start(self) -> usize {
        if self.0[FLAGS] & FINGERPRINT == 0 {
            HEADER
        } else {
            HEADER + 16
        }
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.0[at..at + N]);
        array
    }
}
