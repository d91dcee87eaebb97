//! A record and its key in one run of bytes: one block of the allocator, read where it lies.
//!
//! ```text
//! the record's bytes, as `record` has them · delete_at u64 (running and lost) · the key · length of the key
//! ```
//!
//! The last two numbers never leave the process, so they are little-endian. The length of a key
//! takes one byte, or five if it is 255 or more: `u32`, 255.
//!
//! The block is reference-counted: a reader of a long result shares it, and reads after releasing
//! the table's lock.

use std::{
    hash::{Hash, Hasher},
    ops::Range,
};

use triomphe::{Arc, HeaderWithLength, ThinArc};

use super::{expiry::Due, protocol::grace, step::micros, table::KeyHash};
use crate::record::{Parts, Record, State, View, append};

/// The last byte of a block whose key's length stands in the four bytes before it.
const LONG_KEY: u8 = 255;

/// A record with its key. The table compares and hashes only the key.
///
/// It takes 16 bytes in the table, because its pointer is thin: 8 bytes less than with an
/// `Arc<[u8]>`, which is about 13 bytes less for each record, as the table has 1.6 slots for each.
#[derive(Clone)]
pub(super) struct Packed {
    block: ThinArc<(), u8>,
    /// Its key's hash, once it is in the table. With it, the table grows without reading the
    /// records, which are seldom in the processor's cache. That saves 8 % of a first call in
    /// memory.
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
    /// `delete_at` is when an unfinished record may be removed. A finished record's own bytes say
    /// so.
    pub(super) fn new(key: &[u8], parts: &Parts<'_>, check: u64, delete_at: u64) -> Self {
        let more = if is_finished(parts.state) { 0 } else { 8 };
        let tail = if key.len() < LONG_KEY.into() { 1 } else { 5 };
        let size = parts.len() + more + key.len() + tail;
        Self {
            block: block(size, |block| write(key, parts, check, delete_at, block)),
            hash: KeyHash(0),
            due: None,
        }
    }

    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        &self.block.slice[self.key_range()]
    }

    #[inline]
    fn key_range(&self) -> Range<usize> {
        let (length, rest) = self.block.slice.split_last().expect("a key's length");
        let (length, end) = match *length {
            LONG_KEY => {
                let (rest, length) = rest.split_last_chunk().expect("a key's length");
                (u32::from_le_bytes(*length) as usize, rest.len())
            }
            length => (length.into(), rest.len()),
        };
        end - length..end
    }

    /// Whether it is the record of `key`, whose hash this is.
    #[inline]
    pub(super) fn is_of(&self, hash: KeyHash, key: &[u8]) -> bool {
        self.hash == hash && self.key() == key
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.block.slice.len()
    }

    /// The record, as far as its header.
    #[inline]
    pub(super) fn view(&self) -> View<'_> {
        View::of(&self.block.slice)
    }

    /// When it may be removed, in µs since 1970. A finished record is kept for its grace past its
    /// end.
    #[inline]
    pub(super) fn delete_at(&self) -> u64 {
        let view = self.view();
        if view.is_finished() {
            let end = view.expires().saturating_mul(1000);
            return end.saturating_add(micros(grace(view.lease())));
        }
        let before_key = &self.block.slice[..self.key_range().start];
        let delete_at = before_key.last_chunk().expect("its time of removal");
        u64::from_le_bytes(*delete_at)
    }

    /// The record's bytes.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        let more = if self.view().is_finished() { 0 } else { 8 };
        &self.block.slice[..self.key_range().start - more]
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

/// A block of `size` bytes, which `fill` writes in place. A copy of bytes that were just written in
/// smaller pieces would wait for each of them (store-to-load forwarding).
#[inline]
fn block(size: usize, fill: impl FnOnce(&mut [u8])) -> ThinArc<(), u8> {
    static ZEROS: [u8; 512] = [0; 512];
    let header = HeaderWithLength::new((), size);
    let mut block = match ZEROS.get(..size) {
        Some(zeros) => Arc::from_header_and_slice(header, zeros),
        None => Arc::from_header_and_vec(header, vec![0; size]),
    };
    let unshared = Arc::get_mut(&mut block).expect("it was just made");
    fill(&mut unshared.slice);
    Arc::into_thin(block)
}

/// Fills `block` with a record, `delete_at` where it is needed, the key, and its length.
#[inline]
fn write(key: &[u8], parts: &Parts<'_>, check: u64, delete_at: u64, block: &mut [u8]) {
    let mut rest = parts.write(check, block);
    if !is_finished(parts.state) {
        rest = append(rest, &delete_at.to_le_bytes());
    }
    let rest = append(rest, key);
    match u8::try_from(key.len()) {
        Ok(length) if length != LONG_KEY => rest[0] = length,
        _ => {
            let length = u32::try_from(key.len()).expect("a key is not that long");
            append(rest, &length.to_le_bytes())[0] = LONG_KEY;
        }
    }
}

fn is_finished(state: State) -> bool {
    matches!(state, State::Done | State::Failed)
}
