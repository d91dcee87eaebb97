//! The table of records.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::layout::Packed;
use crate::sync::{DashMap, SharedValue};

/// Records by key, in shards with a lock each.
///
/// It goes through the map's shards itself, for three reasons: a place in the table is one pointer with its length, since
/// the key stands in the record; a key is hashed once a step; and the sweep needs no copy of the key.
pub(super) struct Records {
    map: DashMap<Packed, (), RandomState>,
}

/// So many that none is large: one that grows, or is copied to be listed, holds up its keys for the time it takes. 128 bytes
/// each while empty.
const SHARDS: usize = 256;

/// What a key goes by: 32 bits of its seeded hash. Keys that share them are told apart by their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(pub(super) u32);

impl Records {
    pub(super) fn new() -> Self {
        Self {
            map: DashMap::with_hasher_and_shard_amount(RandomState::default(), SHARDS),
        }
    }

    #[inline]
    pub(super) fn mark(&self, key: &[u8]) -> Mark {
        let mut hasher = self.map.hasher().build_hasher();
        hasher.write(key);
        #[expect(clippy::cast_possible_truncation, reason = "32 bits are enough")]
        Mark(hasher.finish() as u32)
    }

    /// Shows the record of `key`, under its shard's lock: `look` is to be of this store, and short.
    #[inline]
    pub(super) fn look(&self, key: &[u8], look: impl FnOnce(&Packed)) {
        let hash = self.mark(key).hash();
        let shard = self.map.shards()[self.shard(hash)].read();
        if let Some((record, _)) = shard.get(hash, |(record, _)| record.key() == key) {
            look(record);
        }
    }

    /// Lets `change` see and replace the record of `key`, under its shard's lock. Where there is none, it may answer with
    /// one to put there.
    pub(super) fn change(
        &self,
        key: &[u8],
        mark: Mark,
        change: impl FnOnce(Option<&mut Packed>) -> Option<Packed>,
    ) {
        let hash = mark.hash();
        let mut shard = self.map.shards()[self.shard(hash)].write();
        let record = shard.get_mut(hash, |(record, _)| record.key() == key);
        if let Some(new) = change(record.map(|(record, _)| record)) {
            let rehash = |(record, _): &(Packed, _)| self.mark(record.key()).hash();
            shard.insert(hash, (new, SharedValue::new(())), rehash);
        }
    }

    /// Takes out one record that goes by `mark`, if `condition` holds for it.
    pub(super) fn remove(&self, mark: Mark, condition: impl Fn(&Packed) -> bool) -> Option<Packed> {
        let hash = mark.hash();
        let mut shard = self.map.shards()[self.shard(hash)].write();
        let is_it = |record: &Packed| condition(record) && self.mark(record.key()) == mark;
        let removed = shard.remove_entry(hash, |(record, _)| is_it(record));
        removed.map(|(record, _)| record)
    }

    /// Lets `change` have one record that goes by `mark`, if `condition` holds for it.
    pub(super) fn update(
        &self,
        mark: Mark,
        condition: impl Fn(&Packed) -> bool,
        change: impl FnOnce(&mut Packed),
    ) {
        let hash = mark.hash();
        let mut shard = self.map.shards()[self.shard(hash)].write();
        let is_it = |record: &Packed| condition(record) && self.mark(record.key()) == mark;
        if let Some((record, _)) = shard.get_mut(hash, |(record, _)| is_it(record)) {
            change(record);
        }
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        self.map.shards().len()
    }

    /// The records of one shard, with their marks. Its lock is held for a copy of the table, which has no more than a
    /// pointer for each of them.
    pub(super) fn of_shard(&self, shard: usize) -> Vec<(Mark, Packed)> {
        let table = self.map.shards()[shard].read().clone();
        let records = table.into_iter().map(|(record, _)| record);
        records
            .map(|record| (self.mark(record.key()), record))
            .collect()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "on 32 bits, shards are as even as the lower half"
    )]
    fn shard(&self, hash: u64) -> usize {
        self.map.determine_shard(hash as usize)
    }
}

impl Mark {
    /// One of `count` lists.
    pub(super) fn list(self, count: usize) -> usize {
        self.0 as usize % count
    }

    /// The hash as the map takes it: it looks for the tag in the highest 7 bits, for the shard below them, and for the
    /// place in the lowest.
    ///
    /// A table doubles when it is seven eighths full, and if all shards were of one size, all would double together: the
    /// store would have between 1.1 and 2.3 places a record, and much to copy at once. So the largest shard gets twice the
    /// records of the smallest: at any time some have just doubled, some are about to, and there are 1.6 to 1.7 places.
    #[inline]
    fn hash(self) -> u64 {
        const SHARD: u32 = 64 - 7 - 16;
        let spread = u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let even = (spread >> SHARD) & 0xffff;
        let skewed = (even * (even + 0x2_0000) / 3) >> 16;
        spread & !(0xffff << SHARD) | skewed << SHARD
    }
}
