//! A row's value: a record and when it was written.
//!
//! ```text
//! the record's bytes, as `record` has them · written u64
//! ```
//!
//! `written` is in whole milliseconds since 1970, rounded up so that no record seems older than it
//! is. It guards itself as [`Record::expires`] does. A value without it was not written by this
//! adapter, and is left alone.

use std::time::Duration;

use super::time::{Time, micros};
use crate::{
    StoreError,
    record::{DecodeError, Record, guarded, unguarded},
    store::protocol::{Current, kept},
};

const WRITTEN: usize = 8;

/// A record and when it was written.
pub(super) struct Stored {
    record: Record,
    written: u64,
}

/// The value of a row in which `record` (a record's bytes) was written at `written`, in
/// microseconds since 1970. For tests and tools: [`CasStore`](super::CasStore) writes and reads
/// such values itself.
#[must_use]
pub fn value(record: &[u8], written: u64) -> Vec<u8> {
    let written = guarded(written.div_ceil(1000)).to_be_bytes();
    [record, &written].concat()
}

impl Stored {
    pub(super) fn read(value: &[u8]) -> Result<Self, StoreError> {
        let (record, written) = value
            .split_last_chunk::<WRITTEN>()
            .ok_or(DecodeError::Truncated(value.len()))?;
        // The record first: a record of another version is to be reported as that.
        let record = Record::decode(record)?;
        let written = unguarded(u64::from_be_bytes(*written))?.saturating_mul(1000);
        Ok(Self { record, written })
    }

    /// The record to decide about at `time`. `None` if the row's time is over and it is only not
    /// deleted yet.
    pub(super) fn current(&self, time: Time) -> Option<Current<'_>> {
        let now = time.reached();
        let record = &self.record;
        let kept = kept(record.state, record.ttl, record.lease);
        let current = Current {
            record,
            age: Duration::from_micros(now.saturating_sub(self.written)),
        };
        (now < self.written.saturating_add(micros(kept))).then_some(current)
    }

    /// How far it is dated ahead of every clock within the bound.
    pub(super) fn ahead(&self, time: Time) -> Duration {
        let latest = time.micros().saturating_add(micros(time.bound()));
        Duration::from_micros(self.written.saturating_sub(latest))
    }
}
