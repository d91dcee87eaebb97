//! The table of records.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::layout::Packed;
use crate::sync::{DashMap, SharedValue};

/// Records by key, in shards with a lock each.
///
/// It uses the map's shards directly, for three reasons. A slot in the table is one pointer with
/// its length, because the key is part of the record. A key is hashed once per step. The sweep
/// needs no copy of the key.
pub(super) struct RecordTable {
    map: DashMap<Packed, (), RandomState>,
}

/// Many, so that none is large: a shard that grows, or is copied for a listing, blocks its keys
/// meanwhile. Not more, because each has a lock in a cache line of its own: with 256, replays and
/// first calls take 5 % longer.
const SHARDS: usize = 64;

/// 32 bits of a key's seeded hash. Keys that share them are told apart by their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyHash(pub(super) u32);

impl RecordTable {
    pub(super) fn new() -> Self {
        Self {
            map: DashMap::with_hasher_and_shard_amount(RandomState::default(), SHARDS),
        }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hasher = self.map.hasher().build_hasher();
        hasher.write(key);
        #[expect(clippy::cast_possible_truncation, reason = "32 bits are enough")]
        KeyHash(hasher.finish() as u32)
    }

    /// Shows the record of `key` under its shard's lock. `look` must be this store's own code, and
    /// short.
    #[inline]
    pub(super) fn look(&self, key: &[u8], look: impl FnOnce(&Packed)) {
        let hash = self.hash(key);
        let spread = hash.spread();
        let shard = self.map.shards()[self.shard(spread)].read();
        if let Some((record, _)) = shard.get(spread, |(record, _)| record.is_of(hash, key)) {
            look(record);
        }
    }

    /// Lets `change` see and replace the record of `key` under its shard's lock. If there is none,
    /// it may return one to insert.
    pub(super) fn change(
        &self,
        key: &[u8],
        hash: KeyHash,
        change: impl FnOnce(Option<&mut Packed>) -> Option<Packed>,
    ) {
        let spread = hash.spread();
        let mut shard = self.map.shards()[self.shard(spread)].write();
        let record = shard.get_mut(spread, |(record, _)| record.is_of(hash, key));
        if let Some(new) = change(record.map(|(record, _)| record)) {
            let rehash = |(record, _): &(Packed, _)| record.hash.spread();
            shard.insert(spread, (new, SharedValue::new(())), rehash);
        }
    }

    /// Removes one record with this `hash` for which `condition` holds.
    pub(super) fn remove(
        &self,
        hash: KeyHash,
        condition: impl Fn(&Packed) -> bool,
    ) -> Option<Packed> {
        let spread = hash.spread();
        let mut shard = self.map.shards()[self.shard(spread)].write();
        let is_it = |record: &Packed| record.hash == hash && condition(record);
        let removed = shard.remove_entry(spread, |(record, _)| is_it(record));
        removed.map(|(record, _)| record)
    }

    /// Lets `change` modify one record with this `hash` for which `condition` holds.
    pub(super) fn update(
        &self,
        hash: KeyHash,
        condition: impl Fn(&Packed) -> bool,
        change: impl FnOnce(&mut Packed),
    ) {
        let spread = hash.spread();
        let mut shard = self.map.shards()[self.shard(spread)].write();
        let is_it = |record: &Packed| record.hash == hash && condition(record);
        if let Some((record, _)) = shard.get_mut(spread, |(record, _)| is_it(record)) {
            change(record);
        }
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        self.map.shards().len()
    }

    /// The records of one shard, with their hashes. The lock is held only while the table is
    /// copied, which is one pointer for each record.
    pub(super) fn of_shard(&self, shard: usize) -> Vec<(KeyHash, Packed)> {
        let table = self.map.shards()[shard].read().clone();
        let records = table.into_iter().map(|(record, _)| record);
        records.map(|record| (record.hash, record)).collect()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "on 32 bits, shards are as even as the lower half"
    )]
    fn shard(&self, spread: u64) -> usize {
        self.map.determine_shard(spread as usize)
    }
}

impl KeyHash {
    /// One of `count` lists.
    pub(super) fn list(self, count: usize) -> usize {
        self.0 as usize % count
    }

    /// The hash as the map uses it: the highest 7 bits are the tag, the bits below them choose the
    /// shard, and the lowest choose the slot.
    ///
    /// A table doubles when it is seven eighths full. If all shards had one size, all would double
    /// together: the store would have 1.1 to 2.3 slots a record, and much to copy at once. So the
    /// largest shard gets twice the records of the smallest. At any time some have just doubled and
    /// some are about to, and there are 1.6 to 1.7 slots a record.
    #[inline]
    fn spread(self) -> u64 {
        const SHARD: u32 = 64 - 7 - 16;
        let spread = u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let even = (spread >> SHARD) & 0xffff;
        let skewed = (even * (even + 0x2_0000) / 3) >> 16;
        spread & !(0xffff << SHARD) | skewed << SHARD
    }
}
