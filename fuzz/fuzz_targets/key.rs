//! Two calls that differ in namespace, scope or parts never share a key.

#![no_main]

use std::fmt::Display;

use idempotent_runtime::key::Key;
use libfuzzer_sys::fuzz_target;

type Source<'a> = (Vec<&'a str>, &'a str, Vec<&'a str>);

/// Text of the fuzzer's, cut where it writes a byte that no text has.
fn source(text: &str) -> Source<'_> {
    let mut pieces = text.split('\u{1}');
    let namespaces = pieces.next().filter(|namespaces| *namespaces != "-");
    (
        namespaces.map_or_else(Vec::new, |namespaces| namespaces.split('\u{2}').collect()),
        pieces.next().unwrap_or_default(),
        pieces.collect(),
    )
}

fn key(source: &Source<'_>) -> Option<Key> {
    let parts: Vec<&dyn Display> = source.2.iter().map(|part| part as &dyn Display).collect();
    let key = Key::new(source.1, &parts).ok()?;
    // The outermost first.
    let within = |key: Key, namespace: &&str| key.in_namespace(namespace);
    Some(source.0.iter().rev().fold(key, within))
}

fuzz_target!(|texts: (String, String)| {
    let (left, right) = (source(&texts.0), source(&texts.1));
    let (Some(left_key), Some(right_key)) = (key(&left), key(&right)) else {
        return;
    };
    assert_eq!(
        left_key == right_key,
        left == right,
        "{left:?} and {right:?}"
    );
    for key in [left_key, right_key] {
        assert!(
            key.as_str()
                .chars()
                .all(|c| !c.is_ascii_control() && c != '{')
        );
        assert!(!format!("{key:?}").contains('|'), "the key is not shown");
    }
});
