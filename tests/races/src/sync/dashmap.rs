//! A sharded map with the parts of dashmap that the runtime uses, over locks that the scheduler
//! knows.

use std::{
    borrow::Borrow,
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::PoisonError,
};

use shuttle::sync::{Mutex, MutexGuard};

const SHARDS: usize = 4;

pub(crate) struct DashMap<K, V, S> {
    shards: [Mutex<HashMap<K, V>>; SHARDS],
    /// A map is used by its entries or by its tables, never by both.
    tables: [Table<(K, SharedValue<V>)>; SHARDS],
    hasher: S,
}

type Shard<'a, K, V> = MutexGuard<'a, HashMap<K, V>>;

/// As in `watch`: what was poisoned by a scenario's failure is used by its tasks on their way out.
fn locked<K, V>(shard: &Mutex<HashMap<K, V>>) -> Shard<'_, K, V> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, V, S> DashMap<K, V, S> {
    pub(crate) fn with_hasher(hasher: S) -> Self {
        Self {
            shards: Default::default(),
            tables: Default::default(),
            hasher,
        }
    }

    pub(crate) fn with_hasher_and_shard_amount(hasher: S, _: usize) -> Self {
        Self::with_hasher(hasher)
    }

    pub(crate) fn hasher(&self) -> &S {
        &self.hasher
    }

    pub(crate) fn shards(&self) -> &[Table<(K, SharedValue<V>)>] {
        &self.tables
    }

    #[allow(clippy::unused_self, reason = "as the map has it")]
    pub(crate) fn determine_shard(&self, hash: usize) -> usize {
        hash % SHARDS
    }
}

impl<K: Eq + Hash + Clone, V, S> DashMap<K, V, S> {
    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> Shard<'_, K, V> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let shard = usize::try_from(hasher.finish() % SHARDS as u64).expect("small");
        locked(&self.shards[shard])
    }

    pub(crate) fn entry(&self, key: K) -> Entry<'_, K, V> {
        let shard = self.shard(&key);
        if shard.contains_key(&key) {
            Entry::Occupied(Occupied { shard, key })
        } else {
            Entry::Vacant(Vacant { shard, key })
        }
    }

    pub(crate) fn remove_if<Q>(
        &self,
        key: &Q,
        condition: impl FnOnce(&K, &V) -> bool,
    ) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut shard = self.shard(key);
        let (found, value) = shard.get_key_value(key)?;
        if condition(found, value) {
            shard.remove_entry(key)
        } else {
            None
        }
    }

    pub(crate) fn len(&self) -> usize {
        let locked = self.shards.iter().map(locked);
        locked.map(|shard| shard.len()).sum()
    }
}

impl<K: Eq + Hash + Clone, V, S: Default> Default for DashMap<K, V, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

#[derive(Clone)]
pub(crate) struct SharedValue<V>(#[allow(dead_code, reason = "nobody looks")] V);

impl<V> SharedValue<V> {
    pub(crate) fn new(value: V) -> Self {
        Self(value)
    }
}

pub(crate) struct Table<T>(Mutex<Places<T>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Mutex::new(Places(Vec::new())))
    }
}

impl<T> Table<T> {
    pub(crate) fn read(&self) -> MutexGuard<'_, Places<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> MutexGuard<'_, Places<T>> {
        self.read()
    }
}

/// Values by their hashes.
#[derive(Clone)]
pub(crate) struct Places<T>(Vec<(u64, T)>);

impl<T> IntoIterator for Places<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        let values: Vec<T> = self.0.into_iter().map(|(_, value)| value).collect();
        values.into_iter()
    }
}

impl<T> Places<T> {
    pub(crate) fn get(&self, hash: u64, eq: impl Fn(&T) -> bool) -> Option<&T> {
        let mut places = self.0.iter();
        let found = places.find(|(of, value)| *of == hash && eq(value))?;
        Some(&found.1)
    }

    pub(crate) fn get_mut(&mut self, hash: u64, eq: impl Fn(&T) -> bool) -> Option<&mut T> {
        let mut places = self.0.iter_mut();
        let found = places.find(|(of, value)| *of == hash && eq(value))?;
        Some(&mut found.1)
    }

    pub(crate) fn insert(&mut self, hash: u64, value: T, rehash: impl Fn(&T) -> u64) {
        assert_eq!(rehash(&value), hash, "a table that grows would lose it");
        self.0.push((hash, value));
    }

    pub(crate) fn remove_entry(&mut self, hash: u64, eq: impl Fn(&T) -> bool) -> Option<T> {
        let mut places = self.0.iter();
        let found = places.position(|(of, value)| *of == hash && eq(value))?;
        Some(self.0.swap_remove(found).1)
    }
}

pub(crate) enum Entry<'a, K, V> {
    Occupied(Occupied<'a, K, V>),
    Vacant(Vacant<'a, K, V>),
}

pub(crate) struct Occupied<'a, K, V> {
    shard: Shard<'a, K, V>,
    key: K,
}

impl<K: Eq + Hash + Clone, V> Occupied<'_, K, V> {
    pub(crate) fn get(&self) -> &V {
        &self.shard[&self.key]
    }
}

pub(crate) struct Vacant<'a, K, V> {
    shard: Shard<'a, K, V>,
    key: K,
}

impl<K: Eq + Hash + Clone, V> Vacant<'_, K, V> {
    pub(crate) fn insert(mut self, value: V) {
        self.shard.insert(self.key, value);
    }
}
