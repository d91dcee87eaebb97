//! What the store's parts promise each other: counts, on a clock that tests move.

use std::{
    collections::HashMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    MemoryClock, MemoryStore,
    protocol::{self, Step},
    table::KeyHash,
};
use crate::{
    OnCrash, StoreErrorKind,
    key::Key,
    record::{HOLD, Nonce, Record, RecordedBytesRef, State},
    store::{ClaimReply, ClaimRequest, LocalStore, ManualClock, Settled, Store},
};

const SECOND: Duration = Duration::from_secs(1);
/// How much longer than until their end these records are kept.
const GRACE: Duration = Duration::from_secs(60);

fn key(number: u32) -> Key {
    Key::new("memory", &[&number]).unwrap()
}

fn bounded(clock: &ManualClock, max_records: usize) -> MemoryStore {
    MemoryStore::build(MemoryClock::Manual(clock.clone()), max_records)
}

fn claim(store: &MemoryStore, key: &Key, nonce: u128) -> Result<ClaimReply, StoreErrorKind> {
    let request = ClaimRequest {
        nonce: Nonce::from_bytes(nonce.to_be_bytes()),
        lease: Duration::from_secs(30),
        on_crash: OnCrash::Rerun,
        fingerprint: None,
        ttl: SECOND,
        owner: None,
        trace: None,
    };
    if let Some(token) = store.grant(key, &request) {
        return Ok(ClaimReply::Granted {
            record: request.granted(token, 1, request.lease),
            takeover: false,
        });
    }
    at_once(Store::claim(store, key, &request)).map_err(|error| error.kind())
}

/// The answer of a future that does not wait.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

fn granted(store: &MemoryStore, key: &Key, nonce: u128) -> Record {
    match claim(store, key, nonce) {
        Ok(ClaimReply::Granted { record, .. }) => record,
        other => panic!("{other:?}"),
    }
}

/// Ends an attempt: with a result, or released.
fn finish(store: &MemoryStore, key: &Key, granted: &Record, state: State, retain: Duration) {
    let target = Record {
        state,
        ttl: retain,
        ..granted.clone()
    };
    if state == State::Done {
        let result = RecordedBytesRef::Ok(&[1]);
        assert!(store.complete(key, &target, 1, result));
        return;
    }
    let settled = at_once(Store::finish(store, key, &target)).unwrap();
    assert!(matches!(settled, Settled::Applied), "{settled:?}");
}

fn done(store: &MemoryStore, key: &Key, nonce: u128, ttl: Duration) {
    let record = granted(store, key, nonce);
    finish(store, key, &record, State::Done, ttl);
}

/// A call that writes nothing, and sweeps as every call does.
fn pass(store: &MemoryStore) {
    assert_eq!(at_once(store.read(&key(u32::MAX))).unwrap(), None);
}

/// Whether there is a record in the table, past its end or not.
fn is_kept(store: &MemoryStore, key: &Key) -> bool {
    let mut kept = false;
    let look = |_: &_| kept = true;
    store.shared.records.look(key.as_str().as_bytes(), look);
    kept
}

fn owner(store: &MemoryStore, key: &Key) -> Option<Nonce> {
    let mut owner = None;
    store.peek(key, &mut |record| owner = Some(record.nonce));
    owner
}

fn hash(store: &MemoryStore, key: &Key) -> KeyHash {
    store.shared.records.hash(key.as_str().as_bytes())
}

fn entries(store: &MemoryStore) -> usize {
    store.shared.expiry.len()
}

/// Keys that share their hash with another one: of so many, some always do.
fn twins(store: &MemoryStore, pairs: usize) -> Vec<(Key, Key)> {
    let mut seen: HashMap<u32, u32> = HashMap::new();
    let mut found = Vec::new();
    for number in 0.. {
        if found.len() == pairs {
            break;
        }
        if let Some(twin) = seen.insert(hash(store, &key(number)).0, number) {
            found.push((key(twin), key(number)));
        }
    }
    found
}

#[test]
fn keys_that_share_a_mark_have_a_record_each() {
    let store = MemoryStore::with_clock(&ManualClock::new());
    let (a, b) = &twins(&store, 1)[0];
    assert!(a != b && hash(&store, a) == hash(&store, b));
    done(&store, a, 1, SECOND);
    assert_eq!(owner(&store, b), None);
    done(&store, b, 2, SECOND);
    assert_eq!(
        owner(&store, a),
        Some(Nonce::from_bytes(1u128.to_be_bytes()))
    );
    assert_eq!(
        owner(&store, b),
        Some(Nonce::from_bytes(2u128.to_be_bytes()))
    );
    assert_eq!(store.len(), 2);
}

#[test]
fn of_two_that_share_a_mark_only_the_one_past_its_end_goes() {
    for order in [false, true] {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(&clock);
        let (a, b) = &twins(&store, 1)[0];
        let (short, long) = if order { (a, b) } else { (b, a) };
        // Written in either order, the table finds one of them first.
        done(&store, a, 1, SECOND * if order { 10 } else { 1000 });
        done(&store, b, 2, SECOND * if order { 1000 } else { 10 });
        clock.advance(SECOND * 60 + GRACE);
        pass(&store);
        assert!(!is_kept(&store, short) && is_kept(&store, long));
        assert_eq!(store.len(), 1);
        clock.advance(SECOND * 2000);
        pass(&store);
        assert!(!is_kept(&store, long));
        assert_eq!(store.len(), 0);
    }
}

#[test]
fn two_that_share_a_mark_and_an_end_both_go() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    let (a, b) = &twins(&store, 1)[0];
    done(&store, a, 1, SECOND);
    done(&store, b, 2, SECOND);
    clock.advance(SECOND * 60 + GRACE);
    pass(&store);
    assert!(!is_kept(&store, a) && !is_kept(&store, b));
    assert_eq!(store.len(), 0);
}

#[test]
fn a_record_that_is_written_again_stays_until_its_new_end() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    done(&store, &key(1), 1, SECOND);
    clock.advance(SECOND);
    done(&store, &key(1), 2, SECOND * 1000);
    clock.advance(SECOND * 60 + GRACE);
    (0..3).for_each(|_| pass(&store));
    assert!(owner(&store, &key(1)).is_some());
    clock.advance(SECOND * 1000 + GRACE);
    pass(&store);
    assert_eq!(store.len(), 0);
}

#[test]
fn one_call_removes_two_at_most_and_none_is_left() {
    // More than one batch in each list.
    const MANY: u32 = 12_000;
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    for number in 0..MANY {
        done(&store, &key(number), 1, SECOND);
    }
    clock.advance(SECOND * 60 + GRACE);
    let mut before = store.len();
    assert_eq!(before, MANY as usize);
    let mut calls = 0;
    while before > 0 {
        pass(&store);
        let after = store.len();
        assert!((1..=2).contains(&(before - after)), "{before} to {after}");
        before = after;
        calls += 1;
    }
    // Fewer only at the end of an uneven batch, of which each list has one.
    assert!(calls <= MANY / 2 + 16, "{calls}");
}

#[test]
fn only_a_record_of_the_very_mark_is_taken_out() {
    let store = MemoryStore::with_clock(&ManualClock::new());
    for number in 0..5000 {
        done(&store, &key(number), 1, SECOND);
    }
    let hashes: Vec<KeyHash> = (0..5000).map(|number| hash(&store, &key(number))).collect();
    let others = (5000..10_000).map(|number| hash(&store, &key(number)));
    for other in others.filter(|other| !hashes.contains(other)) {
        assert!(store.shared.records.remove(other, |_| true).is_none());
    }
}

#[test]
fn a_full_store_refuses_counts_nothing_and_has_room_again() {
    let clock = ManualClock::new();
    let store = bounded(&clock, 3);
    for number in 0..3 {
        done(&store, &key(number), 1, SECOND * 10);
    }
    for _ in 0..2 {
        assert_eq!(claim(&store, &key(3), 2), Err(StoreErrorKind::Refused));
        assert_eq!(store.len(), 3);
        assert!(!is_kept(&store, &key(3)));
    }
    clock.advance(SECOND * 10);
    // The key it has may be claimed again: it takes no room.
    let again = granted(&store, &key(0), 3);
    assert!(store.len() <= 3);
    finish(&store, &key(0), &again, State::Done, SECOND * 1000);
    clock.advance(SECOND * 60 + GRACE);
    (0..3).for_each(|_| pass(&store));
    assert_eq!(store.len(), 1);
    done(&store, &key(4), 4, SECOND);
    done(&store, &key(5), 5, SECOND);
    assert_eq!(claim(&store, &key(6), 6), Err(StoreErrorKind::Refused));
}

/// Nobody else's code runs under a lock; should ours panic there, the others go on.
#[test]
fn a_panic_under_a_lock_leaves_the_store_as_it_was() {
    let store = MemoryStore::with_clock(&ManualClock::new());
    done(&store, &key(1), 1, SECOND);
    let mut look = |_: &crate::record::RecordRef<'_>| panic!("a decoder's");
    let looked = catch_unwind(AssertUnwindSafe(|| store.peek(&key(1), &mut look)));
    assert!(looked.is_err());
    let stepped = catch_unwind(AssertUnwindSafe(|| {
        store
            .shared
            .step(&key(1), |_, _| -> Step<Settled> { panic!("nobody's") })
    }));
    assert!(stepped.is_err());
    assert!(owner(&store, &key(1)).is_some());
    assert!(matches!(
        claim(&store, &key(1), 2),
        Ok(ClaimReply::Held { .. })
    ));
    assert_eq!(store.len(), 1);
}

/// Claims, ends and time in a seeded order, with keys that share hashes among them, beside what
/// should be kept.
#[test]
fn nothing_goes_early_and_everything_goes() {
    let mut random = 88_172_645_463_325_252_u64;
    let mut below = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    let pairs = twins(&store, 5).into_iter().flat_map(|(a, b)| [a, b]);
    let keys: Vec<Key> = (u32::MAX - 20..u32::MAX).map(key).chain(pairs).collect();
    let mut ends = vec![0; keys.len()];
    let now = || MemoryClock::Manual(clock.clone()).now();
    for turn in 1..20_000 {
        let at = usize::try_from(below(keys.len() as u64)).unwrap();
        if let Ok(ClaimReply::Granted { record, .. }) = claim(&store, &keys[at], turn) {
            assert!(ends[at] <= now(), "its record has gone early");
            let (state, retain) = match below(3) {
                0 => (State::Failed, SECOND * u32::try_from(below(5)).unwrap()),
                1 => (State::Done, SECOND * u32::try_from(below(5)).unwrap()),
                _ => (State::Done, SECOND * u32::try_from(below(4000)).unwrap()),
            };
            let is_done = state == State::Done;
            let end = protocol::expires(state, retain, now()) * 1000;
            finish(&store, &keys[at], &record, state, retain);
            // A released key may be claimed at any time.
            ends[at] = if is_done { end } else { 0 };
        }
        clock.advance(Duration::from_millis(below(3000)));
        let kept = keys.iter().filter(|key| is_kept(&store, key)).count();
        assert_eq!(store.len(), kept);
        let early = ends
            .iter()
            .zip(&keys)
            .find(|(end, key)| **end > now() && !is_kept(&store, key));
        assert!(early.is_none(), "{early:?} has gone early");
    }
    assert!(entries(&store) <= 3 * keys.len(), "{}", entries(&store));
    clock.advance(HOLD + GRACE);
    (0..4 * keys.len()).for_each(|_| pass(&store));
    assert_eq!(store.len(), 0);
}

/// A key that fails over and over is one record with one entry, in a bounded store too.
#[test]
fn a_key_that_fails_a_hundred_thousand_times_grows_nothing() {
    let clock = ManualClock::new();
    for store in [MemoryStore::with_clock(&clock), bounded(&clock, 10)] {
        for nonce in 0..100_000 {
            let record = granted(&store, &key(1), nonce);
            finish(&store, &key(1), &record, State::Failed, SECOND * 3600);
            if nonce % 10_000 == 0 {
                clock.advance(SECOND * 60);
            }
        }
        assert_eq!((store.len(), entries(&store)), (1, 1));
    }
}

/// Its entry is due while it is there for longer: it is looked at, and entered anew.
#[test]
fn a_record_that_was_written_again_is_removed_in_the_end() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    let record = granted(&store, &key(1), 1);
    finish(&store, &key(1), &record, State::Failed, SECOND);
    let record = granted(&store, &key(1), 2);
    clock.advance(SECOND * 60 + GRACE);
    pass(&store);
    assert_eq!((store.len(), entries(&store)), (1, 0), "it runs");
    finish(&store, &key(1), &record, State::Done, SECOND);
    assert_eq!(entries(&store), 1);
    let shorter = granted_after(&store, &clock, 3);
    finish(&store, &key(1), &shorter, State::Done, SECOND * 1000);
    clock.advance(SECOND * 60 + GRACE);
    pass(&store);
    assert_eq!(
        (store.len(), entries(&store)),
        (1, 1),
        "it is kept for longer"
    );
    clock.advance(SECOND * 2000 + GRACE);
    pass(&store);
    assert_eq!((store.len(), entries(&store)), (0, 0));
}

/// A claim that takes the record once it is past its end, before it is gone.
fn granted_after(store: &MemoryStore, clock: &ManualClock, nonce: u128) -> Record {
    clock.advance(SECOND * 2);
    granted(store, &key(1), nonce)
}

/// One whose end comes earlier than that of the record before does not wait for that one's entry.
#[test]
fn a_record_with_an_earlier_end_goes_earlier() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    let record = granted(&store, &key(1), 1);
    finish(&store, &key(1), &record, State::Failed, HOLD);
    let record = granted(&store, &key(1), 2);
    finish(&store, &key(1), &record, State::Done, SECOND);
    clock.advance(SECOND * 60 + GRACE);
    pass(&store);
    assert_eq!(store.len(), 0);
    clock.advance(2 * HOLD);
    pass(&store);
    assert_eq!(entries(&store), 0);
}

/// Past its end a record is there for late messages and the next claim only.
#[test]
fn past_its_end_a_record_is_not_shown_but_its_token_counts() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    let first = granted(&store, &key(1), 1);
    finish(&store, &key(1), &first, State::Done, SECOND);
    clock.advance(SECOND);
    assert!(is_kept(&store, &key(1)));
    assert_eq!(owner(&store, &key(1)), None);
    let late = Record {
        outcome: None,
        ..first.clone()
    };
    let renewed = at_once(Store::renew(&store, &key(1), &late)).unwrap();
    assert!(matches!(renewed, Settled::Stale { .. }));
    // By the clock alone, a token would shrink.
    let behind = ManualClock::new();
    let clock_of_another = MemoryClock::Manual(behind);
    assert!(clock_of_another.now() < clock_now(&clock));
    let second = granted(&store, &key(1), 2);
    assert!(second.token > first.token);
    assert_eq!(second.attempts, 2);
}

fn clock_now(clock: &ManualClock) -> u64 {
    MemoryClock::Manual(clock.clone()).now()
}

/// Whoever is woken may do anything: also move the clock, or make another store go by it.
#[test]
fn the_clock_calls_nobody_under_its_lock() {
    let clock = ManualClock::new();
    let (again, calls) = (
        clock.clone(),
        std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0)),
    );
    let counted = calls.clone();
    clock.on_advance(move || {
        let _ = MemoryStore::with_clock(&again);
        if counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            again.advance(SECOND);
        }
    });
    clock.advance(SECOND);
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn a_clock_that_went_as_far_as_it_can_turns_nothing_off() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    done(&store, &key(1), 1, SECOND);
    for _ in 0..2 {
        clock.advance(Duration::MAX);
    }
    assert_eq!(owner(&store, &key(1)), None);
    let mut last = 0;
    for nonce in 2..100 {
        let record = granted(&store, &key(1), nonce);
        assert!(record.token > last, "tokens still grow");
        last = record.token;
        finish(&store, &key(1), &record, State::Failed, SECOND);
    }
    done(&store, &key(2), 1, SECOND);
    assert!(
        owner(&store, &key(2)).is_some(),
        "results are still replayed"
    );
}
