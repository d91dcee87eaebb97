//! Reads single fields of a record's bytes, without decoding it: for a store in this process, which
//! has written the bytes itself.

use std::time::Duration;

use super::{
    HEADER, Nonce, RecordRef, RecordedBytesRef, State,
    bytes::{
        CODEC, EXPIRES, FLAGS, HAS_FINGERPRINT, HAS_TRACE, IS_ERR, LAST_END, LEASE, NONCE,
        NOT_RECORDED, STATE,
    },
};
use crate::fingerprint::Fingerprint;

/// The bytes of a record. They were written by this process, so they are not checked.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    header: &'a [u8; HEADER],
    rest: &'a [u8],
}

impl<'a> View<'a> {
    /// The record with these `bytes`, which are at least a header.
    #[inline]
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let (header, rest) = bytes.split_first_chunk().expect("a record's header");
        Self { header, rest }
    }

    #[inline]
    pub(crate) fn state(self) -> State {
        State::from_letter(self.header[STATE]).expect("a state that was written")
    }

    #[inline]
    pub(crate) fn nonce(self) -> Nonce {
        Nonce::from_bytes(self.array(NONCE))
    }

    #[cfg(test)]
    pub(crate) fn token(self) -> u64 {
        u64::from_be_bytes(self.array(super::bytes::TOKEN))
    }

    pub(crate) fn lease(self) -> Duration {
        Duration::from_millis(u32::from_be_bytes(self.array(LEASE)).into())
    }

    /// The end of retention in milliseconds since 1970; 0 unless done or failed.
    #[inline]
    pub(crate) fn expires(self) -> u64 {
        u64::from_be_bytes(self.array(EXPIRES)) & LAST_END
    }

    /// Whether it is done or failed.
    #[inline]
    pub(crate) fn is_finished(self) -> bool {
        matches!(self.state(), State::Done | State::Failed)
    }

    /// As [`Record::has_ended`](super::Record::has_ended).
    #[inline]
    pub(crate) fn has_ended(self, now: u64) -> bool {
        let expires = self.expires();
        self.is_finished() && expires != 0 && now / 1000 >= expires
    }

    /// The part of the record that a replay needs.
    #[inline]
    pub(crate) fn peek(self) -> RecordRef<'a> {
        let flags = self.header[FLAGS];
        let mut rest = self.rest;
        let mut fingerprint = None;
        if flags & HAS_FINGERPRINT != 0
            && let Some((bytes, more)) = rest.split_first_chunk()
        {
            fingerprint = Some(Fingerprint::from_bytes(*bytes));
            rest = more;
        }
        if flags & HAS_TRACE != 0 {
            rest = rest.get(16..).unwrap_or_default();
        }
        let state = self.state();
        let outcome = (state == State::Done).then_some(match flags & (IS_ERR | NOT_RECORDED) {
            IS_ERR => RecordedBytesRef::Err(rest),
            NOT_RECORDED => RecordedBytesRef::NotRecorded(rest),
            _ => RecordedBytesRef::Ok(rest),
        });
        RecordRef {
            state,
            nonce: self.nonce(),
            fingerprint,
            codec: u32::from_be_bytes(self.array(CODEC)),
            outcome,
        }
    }

    #[inline]
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.header[at..at + N]);
        bytes
    }
}
