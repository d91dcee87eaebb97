// Included once for each variant of `records`.

use std::{sync::Arc, time::Duration};

use idempotent_runtime::{
    Key, OnCrash,
    record::{Nonce, Outcome, Record, State},
};
use shuttle::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use self::{
    deadline::Moment,
    records::{Entry, Records},
};

fn key(part: u8) -> Key {
    Key::new("races", &[&part]).expect("a valid key")
}

fn done(token: u64) -> Record {
    Record {
        state: State::Done,
        nonce: Nonce::from_bytes([1; 16]),
        token,
        lease: Duration::from_secs(30),
        on_crash: OnCrash::Rerun,
        attempts: 1,
        fingerprint: None,
        codec: 1,
        expires: 0,
        ttl: Duration::from_secs(3600),
        check: 0,
        owner: None,
        trace: None,
        outcome: Some(Outcome::Ok([1][..].into())),
    }
}

fn entry(token: u64) -> Entry {
    let record = done(token);
    let outcome = record.outcome.as_ref().expect("it is done");
    let until = Moment::now().after(Duration::from_secs(3600)).expect("a clock reaches that far");
    Entry::new(&record, outcome, until)
}

fn is_kept(records: &Records, part: u8) -> bool {
    let mut kept = false;
    records.look(&key(part), Moment::now, &mut |_| kept = true);
    kept
}

/// A call: is shown what the store has, and keeps it when it gets to it. Zero is nothing.
fn ask(records: &Records, store: &AtomicU64) {
    let epoch = records.epoch(&key(1));
    let token = store.load(Ordering::SeqCst);
    thread::yield_now();
    if token > 0 {
        records.put(&key(1), epoch, entry(token), Moment::now);
    }
}

/// Two calls are shown the result that an operator forgets at the same time.
#[allow(dead_code, reason = "not every mutant is asked for this")]
pub(super) fn forgotten() {
    let records = Arc::new(Records::new(1 << 20));
    let store = Arc::new(AtomicU64::new(1));
    let mut threads: Vec<_> = (0..2)
        .map(|_| {
            let (records, store) = (Arc::clone(&records), Arc::clone(&store));
            thread::spawn(move || ask(&records, &store))
        })
        .collect();
    let (kept, holder) = (Arc::clone(&records), Arc::clone(&store));
    threads.push(thread::spawn(move || {
        holder.store(0, Ordering::SeqCst);
        thread::yield_now();
        kept.overrule(&key(1));
        assert!(!is_kept(&kept, 1), "what was forgotten is replayed");
    }));
    for thread in threads {
        thread.join().expect("it ends");
    }
    assert!(!is_kept(&records, 1), "what was forgotten is replayed");
    store.store(2, Ordering::SeqCst);
    ask(&records, &store);
    assert!(is_kept(&records, 1), "a new result is not kept");
}

#[allow(dead_code, reason = "not every mutant is asked for this")]
pub(super) fn bounded() {
    const MAX_BYTES: usize = 600;
    let records = Arc::new(Records::new(MAX_BYTES));
    let threads: Vec<_> = (1..=3)
        .map(|part| {
            let records = Arc::clone(&records);
            thread::spawn(move || {
                let epoch = records.epoch(&key(part));
                records.put(&key(part), epoch, entry(1), Moment::now);
                assert!(records.bytes() <= MAX_BYTES);
                is_kept(&records, part);
                records.remove(&key(part));
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("it ends");
    }
    assert_eq!(records.bytes(), 0);
}
