use std::fmt::Write;

use proptest::{collection::vec, prelude::*};

use super::*;

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

fn outcome() -> impl Strategy<Value = Outcome> {
    (0..3, vec(any::<u8>(), 0..40)).prop_map(|(kind, bytes)| match kind {
        0 => Outcome::Ok(bytes.into()),
        1 => Outcome::Err(bytes.into()),
        _ => Outcome::NotRecorded(bytes.into()),
    })
}

fn record() -> impl Strategy<Value = Record> {
    let owner = (
        any::<[u8; 16]>(),
        0..=MAX_TOKEN,
        duration(),
        any::<bool>(),
        any::<u32>(),
    );
    let payload = proptest::option::of(any::<[u8; 16]>());
    (
        state(),
        owner,
        payload,
        any::<u32>(),
        any::<u64>(),
        outcome(),
    )
        .prop_map(
            |(state, (nonce, token, lease, fail, attempts), payload, codec, expires, outcome)| {
                Record {
                    state,
                    nonce: Nonce::from_bytes(nonce),
                    token,
                    lease,
                    on_crash: if fail { OnCrash::Fail } else { OnCrash::Rerun },
                    attempts,
                    fingerprint: payload.map(Fingerprint::from_bytes),
                    codec,
                    expires,
                    outcome: (state == State::Done).then_some(outcome),
                }
            },
        )
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
        expires: 0x1011_1213_1415_1617,
        outcome: Some(Outcome::Err(b"!".as_slice().into())),
    }
}

/// Frozen: other releases, and the Redis scripts, read these offsets.
#[test]
fn the_layout_of_version_1() {
    let mut hex = String::new();
    for byte in example().encode() {
        write!(hex, "{byte:02x}").expect("strings take any text");
    }
    let expected = [
        "01",                               //  0 version
        "44",                               //  1 state: 'D'
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", //  2 nonce
        "0001020304050607",                 // 18 token
        "00007530",                         // 26 lease
        "07",                               // 30 flags: fail, fingerprint, err
        "00000002",                         // 31 attempts
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", // 35 fingerprint
        "0c0d0e0f",                         // 51 codec
        "1011121314151617",                 // 55 expires
        "21",                               // 63 result
    ];
    assert_eq!(hex, expected.concat());
}

#[test]
fn what_is_not_this_versions_record_is_told_apart() {
    let bytes = example().encode();
    for length in 0..RESULT_OFFSET {
        assert_eq!(
            Record::decode(&bytes[..length]),
            Err(Unreadable::Truncated(length))
        );
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        Record::decode(&bytes)
    };
    assert_eq!(with(0, 2), Err(Unreadable::Version(2)));
    assert_eq!(with(0, 31), Err(Unreadable::Version(31)));
    for version in [0, 32, b'{', 255] {
        assert_eq!(
            with(0, version),
            Err(Unreadable::Foreign),
            "version {version}"
        );
    }
    for state in [0, b'r', b'X', 255] {
        assert_eq!(with(1, state), Err(Unreadable::Foreign), "state {state}");
    }
    for flags in [16, 64, 128, IS_ERR | NOT_RECORDED, 255] {
        assert_eq!(with(30, flags), Err(Unreadable::Foreign), "flags {flags}");
    }
    assert_eq!(
        with(18, 0x20),
        Err(Unreadable::Foreign),
        "a token of 2^53 and more"
    );
    assert_eq!(
        with(1, b'R'),
        Err(Unreadable::Foreign),
        "a running record with a result"
    );
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
    for flag in [IS_ERR, NOT_RECORDED] {
        bytes[30] = flag;
        assert_eq!(Record::decode(&bytes), Err(Unreadable::Foreign));
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
        prop_assert!(Record::decode(&bytes[..at.min(RESULT_OFFSET - 1)]).is_err());
    }

    /// Every bit of a record means something: where a fingerprint is there, no damage goes unseen.
    #[test]
    fn damage_never_reads_as_the_same_record(record in record(), at: prop::sample::Index, flip in 1_u8..) {
        let record = Record { fingerprint: Some(Fingerprint::from_bytes([7; 16])), ..record };
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert_ne!(Record::decode(&bytes), Ok(record));
    }
}
