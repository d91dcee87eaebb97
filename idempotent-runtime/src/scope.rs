//! Which place in the code owns which scope.

use std::{
    collections::{HashMap, hash_map::Entry},
    panic::Location,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use once_cell::sync::Lazy;

type Owners = HashMap<&'static str, &'static Location<'static>>;

static OWNERS: Lazy<Mutex<Owners>> = Lazy::new(Mutex::default);

/// Pairs that were found good before: each slot holds one pair's 64-bit name, so that a call asks no lock.
static CHECKED: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// Lets `place` use `scope`, if no other place does.
#[inline]
pub(crate) fn claim(scope: &'static str, place: &'static Location<'static>) -> Result<(), String> {
    let name = name(scope, place);
    let slot = &CHECKED[usize::from(name.to_le_bytes()[7])];
    if slot.load(Ordering::Relaxed) == name {
        return Ok(());
    }
    look_up(scope, place)?;
    slot.store(name, Ordering::Relaxed);
    Ok(())
}

#[cold]
fn look_up(scope: &'static str, place: &'static Location<'static>) -> Result<(), String> {
    match OWNERS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(scope)
    {
        Entry::Vacant(entry) => {
            entry.insert(place);
        }
        Entry::Occupied(entry) if *entry.get() == place => {}
        Entry::Occupied(entry) => {
            return Err(format!(
                "the functions at {} and {place} use one scope and would replay each other's results; \
                 give one of them a scope of its own",
                entry.get(),
            ));
        }
    }
    Ok(())
}

/// A pair's name: both live for ever, so their addresses name them. (One place may have several addresses; each is
/// looked up once.)
fn name(scope: &'static str, place: &'static Location<'static>) -> u64 {
    let mix = |value: usize| (value as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let address = |place: *const Location<'static>| place.addr();
    mix(scope.as_ptr().addr()).rotate_left(23)
        ^ mix(scope.len()).rotate_left(7)
        ^ mix(address(place))
        | 1
}
