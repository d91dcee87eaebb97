use std::fmt::Write;

use proptest::{collection::vec, prelude::*};

use super::{bytes::*, *};
use crate::key::Key;

fn duration() -> impl Strategy<Value = Duration> {
    any::<u32>().prop_map(|millis| Duration::from_millis(millis.into()))
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Running),
        Just(State::Done),
        Just(State::Failed),
        Just(State::Lost)
    ]
}

fn outcome() -> impl Strategy<Value = RecordedBytes> {
    (0..3, vec(any::<u8>(), 0..40)).prop_map(|(kind, bytes)| match kind {
        0 => RecordedBytes::Ok(bytes.into()),
        1 => RecordedBytes::Err(bytes.into()),
        _ => RecordedBytes::NotRecorded(bytes.into()),
    })
}

fn owner() -> impl Strategy<Value = Option<Owner>> {
    "[a-zé:]{0,70}".prop_map(|name| Owner::new(&name))
}

fn record() -> impl Strategy<Value = Record> {
    let attempt = (
        any::<[u8; 16]>(),
        0..=MAX_TOKEN,
        duration(),
        any::<bool>(),
        any::<u32>(),
    );
    let sixteen = || proptest::option::of(any::<[u8; 16]>());
    let people = (any::<u64>(), owner(), sixteen());
    (
        state(),
        attempt,
        sixteen(),
        any::<u32>(),
        0..1_u64 << 48,
        people,
        outcome(),
    )
        .prop_map(
            |(state, attempt, payload, codec, expires, (ttl, owner, trace), outcome)| {
                let (nonce, token, lease, fail, attempts) = attempt;
                let mut record = Record {
                    state,
                    nonce: Nonce::from_bytes(nonce),
                    token,
                    lease,
                    on_crash: if fail { OnCrash::Fail } else { OnCrash::Rerun },
                    attempts,
                    fingerprint: payload.map(Fingerprint::from_bytes),
                    codec,
                    expires,
                    ttl: Duration::from_millis(ttl),
                    check: 0,
                    owner: owner.filter(|_| matches!(state, State::Running | State::Lost)),
                    trace,
                    outcome: (state == State::Done).then_some(outcome),
                };
                record.seal(&key());
                record
            },
        )
}

fn key() -> Key {
    Key::new("payments.charge", &[&"order-42"]).expect("a valid key")
}

fn example() -> Record {
    Record {
        state: State::Done,
        nonce: Nonce::from_bytes([0xaa; 16]),
        token: 0x0001_0203_0405_0607,
        lease: Duration::from_secs(30),
        on_crash: OnCrash::Fail,
        attempts: 2,
        fingerprint: Some(Fingerprint::from_bytes([0xbb; 16])),
        codec: 0x0c0d_0e0f,
        expires: 0x1213_1415_1617,
        ttl: Duration::from_millis(0x1819),
        check: 0x2021_2223_2425_2627,
        owner: None,
        trace: Some([0xcc; 16]),
        outcome: Some(RecordedBytes::Err(b"!".as_slice().into())),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in bytes {
        write!(hex, "{byte:02x}").expect("strings take any text");
    }
    hex
}

/// Frozen: other releases, and the Redis scripts, read these offsets.
#[test]
fn the_layout_of_version_2() {
    let done = [
        "02",                               //  0 version
        "44",                               //  1 state: 'D'
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", //  2 nonce
        "0001020304050607",                 // 18 token
        "00007530",                         // 26 lease
        "17",                               // 30 flags: fail, fingerprint, err, trace
        "00000002",                         // 31 attempts
        "0c0d0e0f",                         // 35 codec
        "2704121314151617",                 // 39 expires: 0x121314151617 % 65521 is 0x2704
        "0000000000001819",                 // 47 ttl
        "2021222324252627",                 // 55 check
        "00",                               // 63 owner length
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", // 64 fingerprint
        "cccccccccccccccccccccccccccccccc", // 80 trace
        "21",                               // 96 result
    ];
    assert_eq!(0x1213_1415_1617_u64 % 65_521, 0x2704);
    assert_eq!(hex(&example().encode()), done.concat());
    let running = Record {
        state: State::Running,
        fingerprint: None,
        trace: None,
        owner: Owner::new("host:1"),
        codec: 0,
        expires: 0,
        outcome: None,
        ..example()
    };
    let running_bytes = [
        "0252aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "0001020304050607",
        "00007530",
        "01", // flags: fail
        "00000002",
        "00000000",         // codec
        "0000000000000000", // expires
        "0000000000001819",
        "0000000000000000", // check: it is of done records
        "06",
        "686f73743a31", // host:1
    ];
    assert_eq!(hex(&running.encode()), running_bytes.concat());
    let lost = Record {
        state: State::Lost,
        ..running.clone()
    };
    assert_eq!(
        hex(&lost.encode()),
        running_bytes.concat().replacen("0252", "024c", 1)
    );
    let failed = Record {
        state: State::Failed,
        ..running
    };
    assert_eq!(
        failed.encode().len(),
        HEADER,
        "a failed record has no owner"
    );
}

/// Frozen: other releases compute it too.
#[test]
fn the_check_of_version_2() {
    let mut record = example();
    record.seal(&key());
    assert_eq!(format!("{:016x}", record.check), "9514ee9e3851e563");
    let without_token = record.check ^ record.token;
    for token in [0, 1, MAX_TOKEN] {
        let other = record.clone().with_token(token);
        assert_eq!((other.token, other.check), (token, without_token ^ token));
        assert!(other.is_sound(&key()));
    }
    for state in [State::Running, State::Failed, State::Lost] {
        let mut record = Record {
            state,
            outcome: None,
            ..example()
        };
        record.seal(&key());
        assert_eq!(record.check, 0);
        assert!(record.is_sound(&key()), "only done records have a check");
    }
}

/// What a `check` is for: every single bit, and every other key, of a thousand records.
#[test]
fn every_flipped_bit_and_every_other_key_is_noticed() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let records = record().prop_filter("done", |record| record.state == State::Done);
    let mut others = Vec::new();
    for number in 0..1000 {
        let mut record =
            proptest::strategy::ValueTree::current(&records.new_tree(&mut runner).unwrap());
        let key = Key::new("payments.charge", &[&number]).expect("a valid key");
        record.seal(&key);
        let bytes = record.encode();
        assert!(Record::decode(&bytes).expect("whole").is_sound(&key));
        let unseen = (0..bytes.len() * 8).find(|bit| {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            Record::decode(&damaged).is_ok_and(|damaged| damaged.is_sound(&key))
        });
        assert_eq!(unseen, None, "the bit of {record:?}");
        assert!(!others.iter().any(|other| record.is_sound(other)));
        others.push(key);
    }
}

#[test]
fn what_is_not_this_versions_record_is_told_apart() {
    let bytes = example().encode();
    assert_eq!(Record::decode(&[]), Err(DecodeError::Truncated(0)));
    for length in 1..HEADER {
        assert_eq!(
            Record::decode(&bytes[..length]),
            Err(DecodeError::Truncated(length))
        );
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        Record::decode(&bytes)
    };
    assert_eq!(with(0, 1), Err(DecodeError::Version(1)));
    assert_eq!(with(0, 3), Err(DecodeError::Version(3)));
    assert_eq!(with(0, 31), Err(DecodeError::Version(31)));
    for version in [0, 32, b'{', 255] {
        assert_eq!(
            with(0, version),
            Err(DecodeError::Foreign),
            "version {version}"
        );
    }
    for state in [0, b'r', b'X', 255] {
        assert_eq!(with(1, state), Err(DecodeError::Foreign), "state {state}");
    }
    for flags in [32, 64, 128, IS_ERR | NOT_RECORDED, 255] {
        assert_eq!(with(30, flags), Err(DecodeError::Foreign), "flags {flags}");
    }
    assert_eq!(
        with(18, 0x20),
        Err(DecodeError::Foreign),
        "a token of 2^53 and more"
    );
    assert_eq!(
        with(1, b'R'),
        Err(DecodeError::Foreign),
        "a running record with a result"
    );
    for (at, what) in [(39, "guard"), (45, "end"), (63, "owner in a done record")] {
        assert_eq!(with(at, 1), Err(DecodeError::Foreign), "{what}");
    }
    for text in ["", "1", "OK", "{\"a\":1}", "\u{1}"] {
        assert!(Record::decode(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn only_done_records_have_an_outcome() {
    let mut bytes = Record {
        state: State::Failed,
        outcome: None,
        ..example()
    }
    .encode();
    assert!(Record::decode(&bytes).is_ok());
    for state in [b'R', b'F', b'L'] {
        let mut checked = bytes.clone();
        (checked[1], checked[55]) = (state, 1);
        assert_eq!(Record::decode(&checked), Err(DecodeError::Foreign));
    }
    for flag in [IS_ERR, NOT_RECORDED] {
        bytes[30] = flag;
        assert_eq!(Record::decode(&bytes), Err(DecodeError::Foreign));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn what_is_encoded_is_decoded(record in record()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
    }

    /// Damage is an error, or another record that can be written and read again; never a panic.
    #[test]
    fn any_damage_is_a_record_or_an_error(record in record(), at: prop::sample::Index, byte: u8) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(damaged) = Record::decode(&bytes) {
            prop_assert_eq!(Record::decode(&damaged.encode()), Ok(damaged));
        }
        prop_assert!(Record::decode(&bytes[..at.min(HEADER - 1)]).is_err());
    }

    /// Every bit of a record means something: no damage goes unseen.
    #[test]
    fn damage_never_reads_as_the_same_record(record in record(), at: prop::sample::Index, flip in 1_u8..) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert_ne!(Record::decode(&bytes), Ok(record));
    }
}
