//! Every record comes back as it was.

use std::time::Duration;

use super::packed::Packed;
use crate::{
    OnCrash,
    fingerprint::Fingerprint,
    record::{MAX_LEASE, MAX_TOKEN, Nonce, Outcome, Record, State},
};

const GONE: u64 = 1_790_000_000_000_000;
/// What is written where there is nothing to choose: all its numbers fit.
const USUAL: Record = Record {
    state: State::Done,
    nonce: Nonce::from_bytes([0xa5; 16]),
    token: GONE - 86_400_000_000,
    lease: Duration::from_secs(30),
    on_crash: OnCrash::Rerun,
    attempts: 1,
    fingerprint: None,
    codec: 0,
    expires: 0,
    outcome: None,
};

fn outcomes() -> [Option<Outcome>; 5] {
    [
        None,
        Some(Outcome::Ok([][..].into())),
        Some(Outcome::Ok([7; 40][..].into())),
        Some(Outcome::Err([8; 3][..].into())),
        Some(Outcome::NotRecorded([9; 300][..].into())),
    ]
}

fn comes_back(key: &[u8], record: &Record, gone: u64) {
    let packed = Packed::new(key, record, gone);
    let expires = record.outcome.as_ref().map_or(0, |_| gone / 1000);
    let record = &Record {
        expires,
        ..record.clone()
    };
    assert!(packed.key() == key, "another key for {record:?}");
    assert_eq!(packed.gone(), gone);
    assert_eq!(&packed.record(), record);
    assert_eq!(packed.peek(), record.as_ref());
}

/// All numbers with each other: each has its small form and values that have none.
#[test]
fn every_number_comes_back() {
    let month = 1 << 40;
    for gone in [GONE, 0, 1 << 40, u64::MAX] {
        let left = |left: u64| gone.wrapping_sub(left);
        let tokens = [
            left(0),
            left(1),
            left(month - 1),
            left(month),
            gone.wrapping_add(1),
            0,
            MAX_TOKEN,
            u64::MAX,
        ];
        for token in tokens {
            for attempts in [0, 1, 2, 1 << 16, u32::MAX] {
                for codec in [0, 1, 2, 255, 1 << 16, u32::MAX] {
                    for outcome in outcomes() {
                        let record = Record {
                            token,
                            attempts,
                            codec,
                            outcome,
                            ..USUAL
                        };
                        comes_back(b"key", &record, gone);
                    }
                }
            }
        }
    }
}

#[test]
fn every_lease_comes_back_in_whole_milliseconds() {
    let seconds = [0, 1, 30, 255, 256, 65_536].map(Duration::from_secs);
    let millis = [1, 999, 1001, 255_999, 256_001, u64::from(u32::MAX)].map(Duration::from_millis);
    for lease in seconds.into_iter().chain(millis).chain([MAX_LEASE]) {
        comes_back(b"key", &Record { lease, ..USUAL }, GONE);
    }
    let lease = Duration::MAX;
    let packed = Packed::new(b"key", &Record { lease, ..USUAL }, GONE);
    let longest = Duration::from_millis(u32::MAX.into());
    assert_eq!(packed.record().lease, longest);
}

#[test]
fn every_state_key_fingerprint_and_result_comes_back() {
    let fingerprints = [None, Some(Fingerprint::from_bytes([0x5a; 16]))];
    let huge = Some(Outcome::Ok(vec![3; 1 << 20].into()));
    for state in [State::Running, State::Done, State::Failed, State::Lost] {
        for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
            for fingerprint in fingerprints {
                for outcome in outcomes().into_iter().chain([huge.clone()]) {
                    for (key, attempts) in [1, 255, 256, 700].into_iter().zip([1, 1, 2, 1]) {
                        let record = Record {
                            state,
                            on_crash,
                            fingerprint,
                            attempts,
                            codec: u32::from(outcome.is_some()),
                            outcome: outcome.clone(),
                            ..USUAL
                        };
                        comes_back(&vec![b'k'; key], &record, GONE);
                    }
                }
            }
        }
    }
}

/// What the bytes of a record are reckoned by: a usual one has the small header, and one with a long `ttl` the large.
#[test]
fn a_usual_record_has_a_header_of_32_bytes() {
    let usual = Record {
        codec: 1,
        outcome: Some(Outcome::Ok([7; 40][..].into())),
        ..USUAL
    };
    assert_eq!(Packed::new(&[b'k'; 26], &usual, GONE).size(), 32 + 26 + 40);
    let month = GONE + 30 * 86_400_000_000;
    assert_eq!(Packed::new(&[b'k'; 26], &usual, month).size(), 53 + 26 + 40);
}
