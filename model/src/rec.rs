//! A record in a small form, because states are copied and hashed millions of times.
//!
//! The protocol itself sees only real [`Record`]s, and everything that it writes is taken over: a
//! field that does not fit the small form is a panic, so nothing is left out by accident.

use std::{sync::Arc, time::Duration};

use idempotent_runtime::{
    OnCrash,
    fingerprint::Fingerprint,
    record::{Nonce, Record, RecordedBytes, State},
    store::ClaimRequest,
};

use crate::store::{BASE, ENDED, LIVE, TTL};

/// The unit of leases.
pub const LEASE: Duration = Duration::from_secs(1);

/// A [`Record`] of the model.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rec {
    /// Its state.
    pub state: State,
    /// The attempt; see [`nonce`].
    pub nonce: u8,
    /// The fencing token.
    pub token: u8,
    /// In [`LEASE`]s.
    pub lease: u8,
    /// The record's own `on_crash`.
    pub on_crash: OnCrash,
    /// Grants so far.
    pub attempts: u8,
    /// The payload; 0 is none.
    pub payload: u8,
    /// The result; 0 is none.
    pub value: u8,
}

impl std::fmt::Debug for Rec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { nonce, token, .. } = self;
        write!(f, "{:?}(nonce {nonce}, token {token}", self.state)?;
        if self.value != 0 {
            write!(f, ", value {}", self.value)?;
        }
        write!(f, ")")
    }
}

/// The nonce with this number.
#[must_use]
pub fn nonce(number: u8) -> Nonce {
    Nonce::from_bytes([number; 16])
}

/// The payload with this number; 0 is none.
#[must_use]
pub fn payload(number: u8) -> Option<Fingerprint> {
    (number != 0).then(|| Fingerprint::from_bytes([number; 16]))
}

/// The result with this number.
#[must_use]
pub fn outcome(value: u8) -> RecordedBytes {
    RecordedBytes::Ok(Arc::from([value]))
}

impl Rec {
    /// The real record.
    #[must_use]
    pub fn real(self) -> Record {
        let mut request = ClaimRequest::new(nonce(self.nonce));
        request.lease = LEASE * self.lease.into();
        request.on_crash = self.on_crash;
        request.fingerprint = payload(self.payload);
        request.ttl = TTL;
        let mut record = request.record();
        record.state = self.state;
        record.token = if self.token == 0 {
            0
        } else {
            BASE + u64::from(self.token)
        };
        record.attempts = self.attempts.into();
        record.codec = u32::from(self.value != 0);
        record.outcome = (self.value != 0).then(|| outcome(self.value));
        record
    }

    /// The small form of a record that the protocol wrote.
    ///
    /// # Panics
    /// When the record does not fit.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let small = |number: u128| u8::try_from(number).expect("a model's numbers are small");
        let rec = Self {
            state: record.state,
            nonce: record.nonce.as_bytes()[0],
            token: small(record.token.saturating_sub(BASE).into()),
            lease: small(record.lease.as_millis() / LEASE.as_millis()),
            on_crash: record.on_crash,
            attempts: small(record.attempts.into()),
            payload: record
                .fingerprint
                .map_or(0, |payload| payload.as_bytes()[0]),
            value: record
                .outcome
                .as_ref()
                .map_or(0, |outcome| outcome.bytes()[0]),
        };
        assert!(
            [0, LIVE, ENDED].contains(&record.expires),
            "an end that is not modelled"
        );
        // Not kept here: the model's `Kept::ended` stands for `expires`, and no decision looks at
        // `check`.
        let mut record = record.clone();
        record.expires = 0;
        record.check = 0;
        assert_eq!(rec.real(), record, "the model's record misses something");
        rec
    }

    /// Whether it pins another payload.
    #[must_use]
    pub fn conflicts_with(self, other: u8) -> bool {
        self.real().conflicts_with(payload(other))
    }
}
