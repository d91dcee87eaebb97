//! Which operation owns which scope.
//!
//! Two operations with one scope would replay each other's results, so each reserves its scope when
//! it is first run. An operation is a place in the code together with the types it is compiled for:
//! a generic function, a trait's default method or a `macro_rules!` macro makes several operations
//! of one place.

use std::{
    any::{self, TypeId},
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt,
    hash::{Hash, Hasher},
    panic::Location,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use once_cell::sync::Lazy;

use crate::Key;

type Owners = HashMap<&'static str, ScopeOwner>;

/// The owner of each scope that is reserved in this process.
static OWNERS: Lazy<Mutex<Owners>> = Lazy::new(Mutex::default);

/// A cache of `OWNERS`, so that most calls take no lock. Each slot has the [`owner_hash`] of a
/// scope and its owner.
static CHECKED: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// An operation that has reserved a scope.
#[derive(Clone, Copy)]
struct ScopeOwner {
    location: &'static Location<'static>,
    body: BodyType,
}

impl PartialEq for ScopeOwner {
    fn eq(&self, other: &Self) -> bool {
        self.location == other.location && self.body.id == other.body.id
    }
}

/// A body's type. It differs for each function, and for each choice of its type parameters.
#[derive(Clone, Copy)]
pub(crate) struct BodyType {
    id: TypeId,
    /// Its name, for messages only: two types may have one name (closures, and types declared in a
    /// block).
    pub(super) name: fn() -> &'static str,
}

impl BodyType {
    /// For any body. Lifetimes are ignored: they do not tell operations apart.
    #[inline]
    pub(crate) fn of<B>() -> Self {
        Self {
            id: typeid::of::<B>(),
            name: any::type_name::<B>,
        }
    }

    /// As [`of`](Self::of), but cheaper, for a `'static` body.
    #[inline]
    pub(crate) fn of_static<B: 'static>() -> Self {
        Self {
            id: TypeId::of::<B>(),
            name: any::type_name::<B>,
        }
    }
}

/// The path of the function whose body this is: a body's type name without the closures and `async`
/// blocks at its end.
fn function_name(body: &'static str) -> &'static str {
    let mut function = body;
    while let Some(outer) = function.strip_suffix("::{{closure}}") {
        function = outer;
    }
    function
}

impl fmt::Display for ScopeOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(function_name((self.body.name)()))
    }
}

/// Returns the reason if `scope` is a default scope that several functions may have. Their records
/// would be confused in a store that other processes use.
///
/// The default scope is a module and a function's name. So associated functions of two types in one
/// module have the same one, and so do functions inside of two functions. Within a process,
/// [`claim`] tells them apart by their types. A record outlives the process and does not name a
/// type.
pub(crate) fn default_scope_conflict(scope: &str, body: &'static str) -> Option<String> {
    let (module, name) = scope.rsplit_once(':')?;
    let module = module.strip_suffix(':')?;
    let function = function_name(body);
    if function == scope {
        return None;
    }
    let (owner, own_name) = function.rsplit_once("::")?;
    let plain = |name: &'static str| name.strip_prefix("r#").unwrap_or(name);
    let is_within = owner.starts_with('<')
        || owner
            .strip_prefix(module)
            .is_some_and(|rest| rest.starts_with("::"));
    (plain(own_name) == name.trim_start_matches("r#") && is_within && owner != module).then(|| {
        format!(
            "the default scope of `{function}` is `{scope}`, which another `{name}` of that module has too: that one could \
             replay these results from a store that other processes use; write a scope that is its own, as in \
             `scope = \"invoices.{name}\"`"
        )
    })
}

/// Reserves `scope` for the operation at `location` with this type of body. An error if another
/// operation has it.
#[inline]
pub(crate) fn claim(
    scope: &'static str,
    location: &'static Location<'static>,
    body: BodyType,
) -> Result<(), String> {
    let hash = owner_hash(scope, location, body.id);
    let slot = &CHECKED[usize::from(hash.to_le_bytes()[7])];
    if slot.load(Ordering::Relaxed) == hash {
        return Ok(());
    }
    claim_slowly(scope, ScopeOwner { location, body })?;
    slot.store(hash, Ordering::Relaxed);
    Ok(())
}

/// [`claim`], if the cache does not know the owner.
#[cold]
fn claim_slowly(scope: &'static str, owner: ScopeOwner) -> Result<(), String> {
    match OWNERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(scope)
    {
        Entry::Vacant(entry) => {
            entry.insert(owner);
            Ok(())
        }
        Entry::Occupied(entry) if *entry.get() == owner => Ok(()),
        Entry::Occupied(entry) => Err(conflict(*entry.get(), owner)),
    }
}

fn conflict(first: ScopeOwner, second: ScopeOwner) -> String {
    if first.location != second.location {
        return format!(
            "the functions at {} and {} use one scope and would replay each other's results; \
             give one of them a scope of its own",
            first.location, second.location,
        );
    }
    format!(
        "`{first}` and `{second}`, both at {}, use one scope and would replay each other's results; \
         give each a scope of its own, as in `scope = K::SCOPE`, or annotate a function without type parameters and \
         make what differs a part of its key",
        first.location,
    )
}

/// Scopes that were read from keys. They are leaked, because an operation's scope is `&'static`.
/// There are no more of them than there are functions.
static STORED: Lazy<Mutex<HashSet<&'static str>>> = Lazy::new(Mutex::default);

/// The scope of a key that was read from a store.
pub(crate) fn of_stored(key: &Key) -> &'static str {
    let scope = key.plain_scope();
    let mut stored = STORED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&known) = stored.get(&*scope) {
        return known;
    }
    let kept: &'static str = Box::leak(scope.into_boxed_str());
    stored.insert(kept);
    kept
}

/// A hash of a scope and its owner. Scope and location are statics, so their addresses are hashed.
/// (One scope may have several addresses: then each is looked up once.)
#[inline]
fn owner_hash(scope: &'static str, location: &'static Location<'static>, id: TypeId) -> u64 {
    let mix = |value: usize| (value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let location: *const Location<'static> = location;
    let mut body = Bits(0);
    id.hash(&mut body);
    mix(scope.as_ptr().addr()).rotate_left(23)
        ^ mix(scope.len()).rotate_left(7)
        ^ body.finish().rotate_left(41)
        ^ mix(location.addr())
        | 1
}

/// Takes the bits of a `TypeId` as they are: they are a hash already.
struct Bits(u64);

impl Hasher for Bits {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = self.0.rotate_left(29) ^ word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
