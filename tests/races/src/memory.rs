//! The memory store's steps in parallel.

use std::time::Duration;

use shuttle::{future::block_on, thread};

use super::{key, request};
use crate::{
    StoreError, StoreErrorKind,
    record::{Record, RecordedBytesRef, State},
    store::{ClaimReply, LocalStore, ManualClock, MemoryStore, Store},
};

/// As a call claims: of the local face first.
fn claim(store: &MemoryStore, part: u8, number: u8) -> Result<ClaimReply, StoreError> {
    let (key, request) = (key(part), request(number));
    match store.grant(&key, &request) {
        Some(token) => {
            let record = Record {
                token,
                ..request.record()
            };
            Ok(ClaimReply::Granted {
                record,
                takeover: false,
            })
        }
        None => block_on(Store::claim(store, &key, &request)),
    }
}

fn finish(store: &MemoryStore, part: u8, granted: &Record) {
    let completed = store.complete(&key(part), granted, 1, RecordedBytesRef::Ok(&[1]));
    assert!(completed, "the owner completes its own");
}

/// A call as `admit` makes it: true when it ran.
fn call(store: &MemoryStore, number: u8) -> bool {
    let mut subscription = None;
    loop {
        match claim(store, 1, number).expect("it answers") {
            ClaimReply::Granted { record, .. } => {
                thread::yield_now();
                finish(store, 1, &record);
                return true;
            }
            ClaimReply::Held { record, .. } if record.state == State::Done => return false,
            ClaimReply::Held { .. } => {}
        }
        match &mut subscription {
            None => {
                let subscribed = block_on(Store::subscribe(store, &key(1)));
                subscription = Some(subscribed.expect("it answers"));
            }
            Some(subscription) => block_on(subscription.changed()),
        }
    }
}

pub fn duplicates() {
    let store = MemoryStore::new();
    let calls: Vec<_> = (1..=3)
        .map(|number| {
            let store = store.clone();
            thread::spawn(move || call(&store, number))
        })
        .collect();
    let ran = calls.into_iter().map(|call| call.join().expect("it ends"));
    assert_eq!(ran.filter(|ran| *ran).count(), 1);
    assert_eq!(store.len(), 1);
}

pub fn bounded() {
    let store = MemoryStore::bounded(2);
    let claims: Vec<_> = (1..=3)
        .map(|number| {
            let store = store.clone();
            thread::spawn(move || match claim(&store, number, number) {
                Ok(ClaimReply::Granted { .. }) => true,
                Ok(other) => panic!("{other:?}"),
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Refused);
                    false
                }
            })
        })
        .collect();
    let granted = claims
        .into_iter()
        .map(|claim| claim.join().expect("it ends"));
    let granted = granted.filter(|granted| *granted).count();
    assert_eq!(granted, 2, "a store takes as many as it may");
    assert_eq!(store.len(), granted);
}

/// A result that has ended is swept by one while another claims its key again.
pub fn swept() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(&clock);
    let ClaimReply::Granted { record, .. } = claim(&store, 1, 1).expect("it answers") else {
        panic!("it is the first one");
    };
    finish(&store, 1, &record);
    // Past its end, and past what it is kept for after that.
    clock.advance(Duration::from_secs(100));
    let threads: Vec<_> = [(1, 2), (2, 3), (3, 4)]
        .map(|(part, number)| {
            let store = store.clone();
            thread::spawn(move || {
                let reply = claim(&store, part, number).expect("it answers");
                assert!(matches!(reply, ClaimReply::Granted { .. }), "{reply:?}");
            })
        })
        .into();
    for thread in threads {
        thread.join().expect("it ends");
    }
    for (part, number) in [(1, 2), (2, 3), (3, 4)] {
        let mut owner = None;
        LocalStore::peek(&store, &key(part), &mut |record| owner = Some(record.nonce));
        assert_eq!(owner, Some(request(number).nonce), "a live record is gone");
    }
    assert_eq!(store.len(), 3);
}
