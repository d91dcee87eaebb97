use std::sync::Arc;

use super::*;
use crate::record::Nonce;

const TTL: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

fn key(number: u32) -> Key {
    Key::new("near", &[&number]).unwrap()
}

/// A result of so many bytes.
fn done(token: u64, bytes: usize) -> Record {
    Record {
        state: State::Done,
        nonce: Nonce::from_bytes([1; 16]),
        token,
        lease: Duration::from_secs(30),
        on_crash: crate::OnCrash::Rerun,
        attempts: 1,
        fingerprint: None,
        codec: 7,
        expires: 0,
        ttl: TTL,
        check: 0,
        owner: None,
        trace: None,
        outcome: Some(RecordedBytes::Ok(Arc::from(vec![0; bytes]))),
    }
}

fn entry(record: &Record, until: Deadline) -> Entry {
    Entry::new(record, record.outcome.as_ref().unwrap(), until)
}

fn put(records: &Records, number: u32, record: &Record) {
    put_at(records, number, record, Deadline::now());
}

fn put_at(records: &Records, number: u32, record: &Record, now: Deadline) {
    let (key, until) = (key(number), now.after(TTL).unwrap());
    let epoch = records.epoch(&key);
    records.put(&key, epoch, entry(record, until), || now);
}

/// The number of bytes of the result that is shown at `now`.
fn shown(records: &Records, number: u32, now: Deadline) -> Option<usize> {
    let mut bytes = None;
    records.look(&key(number), || now, &mut |record| {
        bytes = record
            .outcome
            .map(|outcome| outcome.to_owned().bytes().len());
    });
    bytes
}

fn has(records: &Records, number: u32) -> bool {
    shown(records, number, Deadline::now()).is_some()
}

#[test]
fn an_answer_from_before_an_operators_decision_is_not_kept() {
    let records = Records::new(1 << 20);
    put(&records, 1, &done(1, 1));
    let (key, until) = (key(1), Deadline::now().after(TTL).unwrap());
    let asked = records.epoch(&key);
    records.overrule(&key);
    assert!(!has(&records, 1));
    records.put(&key, asked, entry(&done(1, 1), until), Deadline::now);
    assert!(!has(&records, 1));
    put(&records, 1, &done(2, 1));
    assert!(has(&records, 1));
}

#[test]
fn an_older_answer_that_comes_later_is_not_kept() {
    let records = Records::new(1 << 20);
    put(&records, 1, &done(2, 20));
    put(&records, 1, &done(1, 10));
    assert_eq!(shown(&records, 1, Deadline::now()), Some(20));
    put(&records, 1, &done(3, 30));
    assert_eq!(shown(&records, 1, Deadline::now()), Some(30));
}

#[test]
fn it_takes_no_more_than_it_may() {
    for max_bytes in [0, 1000, 20_000, 8 << 20] {
        let records = Records::new(max_bytes);
        for number in 0..20_000u32 {
            let bytes = usize::try_from(number * 7919 % 3000).unwrap();
            put(&records, number % 3000, &done(u64::from(number), bytes));
            if number % 7 == 0 {
                records.remove(&key(number / 2));
                records.overrule(&key(number / 3));
            }
            if number % 100 == 0 {
                assert!(records.bytes() <= max_bytes);
            }
        }
        for number in 0..3000 {
            records.remove(&key(number));
        }
        assert_eq!(records.bytes(), 0, "what has gone is still counted");
    }
}

#[test]
fn what_is_looked_at_stays_and_what_has_ended_goes() {
    let records = Records::new(20_000);
    put(&records, 0, &done(1, 100));
    for number in 1..1000 {
        put(&records, number, &done(1, 100));
        assert!(has(&records, 0), "after {number}");
    }
    assert!(!has(&records, 1) && has(&records, 999));

    let now = Deadline::now();
    put_at(&records, 2000, &done(1, 100), now);
    assert_eq!(shown(&records, 2000, now), Some(100));
    let later = now.after(TTL).unwrap();
    for number in 3000..3060 {
        put_at(&records, number, &done(1, 100), later);
    }
    assert_eq!(
        shown(&records, 2000, now),
        None,
        "it was looked at, but it is over"
    );
}

/// Otherwise each removal would take time in proportion to the entries, while all others wait for
/// the lock.
#[test]
fn a_removal_moves_at_most_one_other_entry() {
    let records = Records::new(1 << 20);
    for number in 0..500 {
        put(&records, number, &done(1, 1));
    }
    for number in (0..500).rev().step_by(3).chain(0..500) {
        let before = records.keys();
        let was_there = has(&records, number);
        records.remove(&key(number));
        let after = records.keys();
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert!(moved <= 1, "{moved} entries were moved");
        assert_eq!(after.len() + usize::from(was_there), before.len());
    }
    assert!(records.keys().is_empty());
}

/// A result may be read for long, and by code that comes back here: nothing waits for it.
#[test]
fn while_a_record_is_shown_it_is_removed_replaced_and_shown_again() {
    let records = Records::new(1 << 20);
    put(&records, 1, &done(1, 10));
    let mut seen = Vec::new();
    records.look(&key(1), Deadline::now, &mut |record| {
        assert_eq!(shown(&records, 1, Deadline::now()), Some(10));
        put(&records, 2, &done(1, 20));
        records.overrule(&key(1));
        assert!(!has(&records, 1));
        put(&records, 1, &done(2, 30));
        seen.extend(
            record
                .outcome
                .map(|outcome| outcome.to_owned().bytes().len()),
        );
    });
    assert_eq!(seen, [10], "it is shown as it was when it was looked up");
    assert_eq!(shown(&records, 1, Deadline::now()), Some(30));
}

#[test]
fn a_result_that_does_not_fit_replaces_the_old_one_by_nothing() {
    let records = Records::new(1000);
    put(&records, 1, &done(1, 100));
    put(&records, 1, &done(2, 1000));
    assert!(!has(&records, 1));
    assert_eq!(records.bytes(), 0);
}

#[test]
fn either_clock_ends_it() {
    let now = Deadline::now();
    let (end, later) = (now.after(MINUTE).unwrap(), now.after(TTL).unwrap());
    assert!(!end.has_passed(now));
    assert!(end.has_passed(end) && end.has_passed(later));
    // The machine slept, or its wall clock was set back.
    assert!(end.has_passed(Deadline::by(now, later)));
    assert!(end.has_passed(Deadline::by(later, now)));
}

/// Whichever part of a millisecond the store's clock shows when it writes: a short result, too,
/// ends here before it ends there.
#[test]
fn a_result_recorded_here_ends_before_the_stores_record() {
    for millis in [1, 2, 400, 999, 1000, 5000] {
        let ttl = Duration::from_millis(millis);
        for now in [7_000_000, 7_000_001, 7_000_500, 7_000_999] {
            let written = Duration::from_micros(now);
            let end = Duration::from_millis(protocol::expires(State::Done, ttl, now));
            assert!(written + at_least(ttl) <= end, "{ttl:?}, written at {now}");
        }
    }
}

#[test]
fn what_another_process_recorded_ends_by_the_stores_clock() {
    let second = 1_000_000;
    let record = |token| Record {
        expires: 1_000_000,
        ..done(token, 1)
    };
    let at = |seconds: u64| Some(seconds * second);
    assert_eq!(left(&record(1), at(900)), Duration::from_secs(40));
    assert_eq!(left(&record(1), at(940)), Duration::ZERO);
    assert_eq!(left(&record(1), at(2000)), Duration::ZERO);
    // What is known of the store's clock is behind what the record says.
    assert_eq!(
        left(&record(930 * second), at(900)),
        Duration::from_secs(10)
    );
    // This machine's clock has to do: by it, this ended long ago.
    assert_eq!(left(&record(1), None), Duration::ZERO);
    let later = u64::try_from((deadline::since_1970() + TTL).as_millis()).unwrap();
    let record = Record {
        expires: later,
        ..done(1, 1)
    };
    let left = left(&record, None);
    assert!(left + MINUTE <= TTL && left > TTL / 2, "{left:?}");
}
