//! A record and its key in one run of bytes: one block of the allocator, read where it lies.
//!
//! ```text
//! the record's bytes, as `record` has them · delete_at u64 (running and lost) · the key · length of the key u32
//! ```
//!
//! The last number never leaves the process, so it is little-endian. The block is
//! reference-counted: a reader of a long result shares it, and reads after releasing the table's
//! lock.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::{expiry::Due, protocol::grace, table::KeyHash};
use crate::record::{Parts, Record, State, View, append};

/// Blocks up to this size are built on the stack first, as most are: so they need one allocation.
const USUAL: usize = 320;
/// The length of the key's length.
const TAIL: usize = 4;

/// A record with its key. The table compares and hashes only the key.
#[derive(Clone)]
pub(super) struct Packed {
    bytes: Arc<[u8]>,
    /// Its key's hash, once it is in the table. The table grows without looking at records or hashing
    /// keys, and they lie on 170 cold bytes each: 8 % of a first call in memory.
    pub(super) hash: KeyHash,
    /// When its entry is due, or `None` if it has no entry. See [`Expiry`](super::expiry::Expiry).
    pub(super) due: Option<Due>,
}

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

impl Packed {
    /// `delete_at` is when an unfinished record may be removed. A finished record's own bytes say so.
    pub(super) fn new(key: &[u8], parts: &Parts<'_>, check: u64, delete_at: u64) -> Self {
        let more = if is_finished(parts.state) { 0 } else { 8 };
        let size = parts.len() + more + key.len() + TAIL;
        let bytes = if size <= USUAL {
            let mut block = [0; USUAL];
            write(key, parts, check, delete_at, &mut block[..size]);
            Arc::from(&block[..size])
        } else {
            let mut block = vec![0; size];
            write(key, parts, check, delete_at, &mut block);
            block.into()
        };
        Self {
            bytes,
            hash: KeyHash(0),
            due: None,
        }
    }

    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        let (rest, length) = self.bytes.split_last_chunk().expect("a key's length");
        let length = usize::try_from(u32::from_le_bytes(*length)).expect("it was a length");
        &rest[rest.len() - length..]
    }

    /// Whether it is the record of `key`, whose hash this is.
    #[inline]
    pub(super) fn is_of(&self, hash: KeyHash, key: &[u8]) -> bool {
        self.hash == hash && self.key() == key
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The record's bytes, and what follows them: `delete_at`, if present.
    #[inline]
    fn split(&self) -> (&[u8], &[u8]) {
        let end = self.bytes.len() - TAIL - self.key().len();
        let tail = if self.view().is_finished() { 0 } else { 8 };
        self.bytes[..end].split_at(end - tail)
    }

    /// The record, as far as its header.
    #[inline]
    pub(super) fn view(&self) -> View<'_> {
        View::of(&self.bytes)
    }

    /// When it may be removed, in µs since 1970. A finished record is kept for its grace past its
    /// end.
    #[inline]
    pub(super) fn delete_at(&self) -> u64 {
        let view = self.view();
        if view.is_finished() {
            let grace = u64::try_from(grace(view.lease()).as_micros()).unwrap_or(u64::MAX);
            return view.expires().saturating_mul(1000).saturating_add(grace);
        }
        let end = self.bytes.len() - TAIL - self.key().len();
        let delete_at = self.bytes[..end].last_chunk().expect("its time of removal");
        u64::from_le_bytes(*delete_at)
    }

    /// The record's bytes.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.split().0
    }

    /// The whole record.
    pub(super) fn record(&self) -> Record {
        Record::decode(self.bytes()).expect("a record that was written here")
    }

    /// The record without its result, which may be long: this runs under a lock.
    pub(super) fn without_result(&self) -> Record {
        let bytes = self.bytes();
        let result = View::of(bytes).peek().outcome;
        let length = result.map_or(0, |result| result.bytes().len());
        Record::decode(&bytes[..bytes.len() - length]).expect("a record that was written here")
    }
}

/// Fills `block` with a record, `delete_at` where it is needed, and the key.
#[inline]
fn write(key: &[u8], parts: &Parts<'_>, check: u64, delete_at: u64, block: &mut [u8]) {
    let mut rest = parts.write(check, block);
    if !is_finished(parts.state) {
        rest = append(rest, &delete_at.to_le_bytes());
    }
    let rest = append(rest, key);
    let length = u32::try_from(key.len()).expect("a key is not that long");
    append(rest, &length.to_le_bytes());
}

fn is_finished(state: State) -> bool {
    matches!(state, State::Done | State::Failed)
}
