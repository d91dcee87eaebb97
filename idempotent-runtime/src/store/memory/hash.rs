//! Which shard a key belongs to, and where in its tables.

use std::hash::{BuildHasher, Hasher as _};

/// Seeded, so that nobody can choose keys that meet.
#[derive(Default)]
pub(super) struct Hasher(foldhash::fast::RandomState);

/// What the tables keep of a key's hash. They compare it before the key, and need no key to grow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash(u32);

impl Hasher {
    pub(super) fn hash(&self, key: &[u8]) -> Hash {
        self.shard_and_hash(key, 1).1
    }

    /// `shards` is a power of two.
    pub(super) fn shard_and_hash(&self, key: &[u8], shards: usize) -> (usize, Hash) {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        let [low, high] = [hash as u32, (hash >> 32) as u32];
        (high as usize & (shards - 1), Hash(low))
    }
}

impl Hash {
    /// For tables, which use a hash's lowest and its topmost bits.
    pub(super) fn wide(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }
}
