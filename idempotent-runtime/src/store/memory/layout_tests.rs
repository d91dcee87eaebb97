//! Every record comes back as it was.

use std::time::Duration;

use super::layout::Packed;
use crate::{
    OnCrash,
    fingerprint::Fingerprint,
    record::{MAX_LEASE, MAX_TOKEN, Nonce, Owner, Parts, Record, RecordedBytes, State, View},
    store::protocol::grace,
};

const DELETE_AT: u64 = 1_790_000_000_000_000;
const USUAL: Record = Record {
    state: State::Done,
    nonce: Nonce::from_bytes([0xa5; 16]),
    token: DELETE_AT - 86_400_000_000,
    lease: Duration::from_secs(30),
    on_crash: OnCrash::Rerun,
    attempts: 1,
    fingerprint: None,
    codec: 1,
    expires: DELETE_AT / 1000,
    ttl: Duration::from_secs(24 * 60 * 60),
    check: 0x0102_0304_0506_0708,
    owner: None,
    trace: None,
    outcome: None,
};

fn outcomes() -> [RecordedBytes; 4] {
    [
        RecordedBytes::Ok([][..].into()),
        RecordedBytes::Ok([7; 40][..].into()),
        RecordedBytes::Err([8; 3][..].into()),
        RecordedBytes::NotRecorded([9; 300][..].into()),
    ]
}

fn pack(key: &[u8], record: &Record, delete_at: u64) -> Packed {
    Packed::new(key, &Parts::of(record), record.check, delete_at)
}

fn comes_back(key: &[u8], record: &Record, delete_at: u64) {
    let packed = pack(key, record, delete_at);
    assert!(packed.key() == key, "another key for {record:?}");
    let grace = u64::try_from(grace(record.lease).as_micros()).unwrap();
    match record.state {
        State::Done | State::Failed => {
            assert_eq!(packed.delete_at(), record.expires * 1000 + grace);
        }
        State::Running | State::Lost => assert_eq!(packed.delete_at(), delete_at),
    }
    assert_eq!(&packed.record(), record);
    let view = View::of(packed.bytes());
    assert_eq!((view.token(), view.lease()), (record.token, record.lease));
    assert_eq!(view.peek(), record.as_ref());
    for now in [0, record.expires * 1000, u64::MAX] {
        assert_eq!(view.has_ended(now), record.has_ended(now));
    }
}

#[test]
fn every_number_comes_back() {
    for delete_at in [DELETE_AT, 0, u64::MAX] {
        for token in [0, 1, DELETE_AT, MAX_TOKEN] {
            for lease in [Duration::from_millis(1), Duration::from_secs(30), MAX_LEASE] {
                for outcome in outcomes() {
                    let record = Record {
                        token,
                        lease,
                        attempts: u32::MAX,
                        outcome: Some(outcome),
                        ..USUAL
                    };
                    comes_back(b"key", &record, delete_at);
                }
            }
        }
    }
}

#[test]
fn every_state_key_fingerprint_and_result_comes_back() {
    let sixteen = [None, Some([0x5a; 16])];
    let huge = RecordedBytes::Ok(vec![3; 1 << 20].into());
    for state in [State::Running, State::Done, State::Failed, State::Lost] {
        for on_crash in [OnCrash::Rerun, OnCrash::Fail] {
            for (fingerprint, trace) in sixteen.into_iter().zip([sixteen[1], None]) {
                for outcome in outcomes().into_iter().chain([huge.clone()]) {
                    for key in [1, 254, 255, 256, 700, 70_000] {
                        let (is_done, is_finished) = match state {
                            State::Done => (true, true),
                            State::Failed => (false, true),
                            _ => (false, false),
                        };
                        let record = Record {
                            state,
                            on_crash,
                            fingerprint: fingerprint.map(Fingerprint::from_bytes),
                            trace,
                            owner: Owner::new("host:1").filter(|_| !is_finished),
                            check: if is_done { USUAL.check } else { 0 },
                            expires: if is_finished { USUAL.expires } else { 0 },
                            outcome: Some(outcome.clone()).filter(|_| is_done),
                            ..USUAL
                        };
                        comes_back(&vec![b'k'; key], &record, DELETE_AT);
                    }
                }
            }
        }
    }
}

/// What the bytes of a record are reckoned by.
#[test]
fn a_usual_record_takes_65_bytes_beside_key_and_result() {
    let usual = Record {
        outcome: Some(RecordedBytes::Ok([7; 40][..].into())),
        ..USUAL
    };
    assert_eq!(pack(&[b'k'; 26], &usual, 0).size(), 65 + 26 + 40);
}
