//! Rules about the smallest and the largest values.

use std::{collections::HashSet, fmt::Display, time::Duration};

use super::{
    Subject,
    trial::{DAY, HOUR, Trial, done, kept, leasing, new_key, request, unique},
};
use crate::{
    StoreErrorKind,
    key::Key,
    record::{MAX_LEASE, MAX_TTL, MIN_LEASE, Record, RecordedBytes},
    store::{DEFAULT_MAX_RESULT, Settled, Store},
};

/// A lease of a millisecond lapses and is taken over. A lease of a day holds for a day.
pub async fn the_shortest_and_longest_leases_work(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let key = new_key();
    let (owned, _) = trial.grant(&key, &leasing(MIN_LEASE), "a free key").await;
    assert_eq!(
        owned.lease, MIN_LEASE,
        "a lease of a millisecond is granted as asked"
    );
    trial.elapse(&key, Duration::from_secs(1)).await;
    let rule = "a lease of a millisecond lapses";
    let (taken, _) = trial.grant(&key, &leasing(MIN_LEASE), rule).await;
    assert_eq!(
        taken.lease,
        2 * MIN_LEASE,
        "a takeover grants twice the lapsed lease"
    );
    trial.finished(&key, &done(&taken, b"")).await;

    let key = new_key();
    let (owned, _) = trial.grant(&key, &leasing(MAX_LEASE), "a free key").await;
    trial.elapse(&key, MAX_LEASE / 24 * 23).await;
    assert_eq!(
        trial
            .held(&key, &request(), "a lease of a day holds for a day")
            .await
            .0,
        owned
    );
    trial.elapse(&key, 2 * HOUR).await;
    trial
        .grant(&key, &request(), "a lease of a day has lapsed after a day")
        .await;
}

/// A retention of zero is over at once and is no error. A retention of a hundred years is kept for
/// that long, and a longer one is cut to it.
pub async fn the_shortest_and_longest_retentions_work(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    for retain in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_millis(1),
    ] {
        let rule = "contract 4: a `ttl` below a millisecond counts as one";
        let key = new_key();
        let target = kept(done(&trial.start(&key).await, b"brief"), retain);
        assert_eq!(
            trial.finish(&key, &target).await,
            Settled::Applied,
            "{rule} ({retain:?})"
        );
        trial.elapse(&key, Duration::from_secs(1)).await;
        assert_eq!(
            trial.record(&key).await,
            None,
            "{rule}, and is then over ({retain:?})"
        );
        trial.start(&key).await;
    }
    for (retain, elapsed) in [
        (MAX_TTL, MAX_TTL / 100 * 99),
        (Duration::from_millis(u64::MAX), 40 * 365 * DAY),
    ] {
        let rule = "contract 4: a `ttl` above MAX_TTL (a century) counts as MAX_TTL";
        let key = new_key();
        let target = kept(done(&trial.start(&key).await, b"lasting"), retain);
        let record = trial.finished(&key, &target).await;
        trial.elapse(&key, elapsed).await;
        trial.stands(&key, &record, rule).await;
    }
}

/// Results of any bytes come back exactly, from none to a mebibyte or the store's own limit. A
/// larger one is refused as too large, and changes nothing.
pub async fn results_come_back_byte_for_byte(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let limit = subject.max_result().min(DEFAULT_MAX_RESULT);
    let mut largest = every_byte.repeat(2 * limit.div_ceil(256));
    if limit < DEFAULT_MAX_RESULT {
        is_too_large(&trial, &largest).await;
    }
    largest.truncate(limit);
    for bytes in [&[][..], &[0], &every_byte, &largest] {
        let key = new_key();
        let outcome = Some(RecordedBytes::Ok(bytes.into()));
        let target = Record {
            outcome,
            ..done(&trial.start(&key).await, b"")
        };
        let record = trial.finished(&key, &target).await;
        let (held, _) = trial.held(&key, &request(), "done is held").await;
        for seen in [record, held] {
            let seen = seen.outcome.expect("a done record has an outcome");
            let same = matches!(&seen, RecordedBytes::Ok(seen) if **seen == *bytes);
            assert!(
                same,
                "a result of {} bytes came back with {} or changed",
                bytes.len(),
                seen.bytes().len()
            );
        }
    }
}

async fn is_too_large<S: Subject>(trial: &Trial<'_, S>, result: &[u8]) {
    let key = new_key();
    let owned = trial.start(&key).await;
    let answer = trial.store.finish(&key, &done(&owned, result)).await;
    let kind = answer.map_err(|error| error.kind());
    let rule = "contract 8: a result above the store's own limit is TooLarge, and nothing changes";
    assert_eq!(kind, Err(StoreErrorKind::TooLarge), "{rule}");
    trial.stands(&key, &owned, rule).await;
    trial.finished(&key, &done(&owned, b"none")).await;
}

/// Keys that look alike, imitate one another, or are long or strange, stay separate.
pub async fn keys_of_every_kind_stay_apart(subject: &impl Subject) {
    let trial = Trial::of(subject).await;
    let run = unique();
    let key = |parts: &[&str]| {
        let parts: Vec<&dyn Display> = parts.iter().map(|part| part as &dyn Display).collect();
        Key::new(&format!("conformance.{run}"), &parts).expect("a valid key")
    };
    let long = "x".repeat(Key::MAX_TEXT);
    let part = |length: usize| &long[..length];
    let mut keys: Vec<Key> = [
        "a",
        "A",
        "a ",
        " a",
        "ａ",
        "á",
        "a\u{301}",
        "ß",
        "ss",
        "İ",
        "ı",
        "a\0",
        "\0",
        "\n",
        "\r\n",
        "\u{7f}",
        "\u{200b}",
        "\u{feff}a",
        "مفتاح",
        "密钥",
        "🗝️",
        "%",
        "%25",
        "_",
        "*",
        "?",
        "a:b",
        "a|b",
        "a%7Cb",
        "{a}",
        "{b}",
        "a@b",
        "~a",
        "'; DROP TABLE keys; --",
        "$1",
        "\\",
        "\"",
        "1",
        "01",
        "1.0",
        "1e0",
    ]
    .iter()
    .map(|text| key(&[text]))
    .collect();
    keys.extend([
        key(&["a", "b"]),
        key(&["a:b", "c"]),
        key(&["a", "b:c"]),
        key(&["b", "a"]),
        key(&["a", "b", "c"]),
    ]);
    keys.extend([255, 256, 380, 400, Key::MAX_TEXT].map(|length| key(&[part(length)])));
    keys.extend([
        key(&[&long, "a"]),
        key(&[&long, "b"]),
        key(&[&"x".repeat(1 << 20)]),
    ]);
    keys.extend(["a", "A", "a|b", "é"].map(|namespace| key(&["a"]).in_namespace(namespace)));
    assert_eq!(
        keys.iter().collect::<HashSet<_>>().len(),
        keys.len(),
        "the suite's own keys differ"
    );

    let rule = "every key is its own record: compare keys byte for byte, whole, and with case";
    let mut granted = Vec::new();
    for key in &keys {
        granted.push(trial.grant(key, &request(), rule).await.0);
    }
    for (key, record) in keys.iter().zip(&granted) {
        trial.stands(key, record, rule).await;
    }
}
