use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;

/// What a key is made of: nothing else may decide which record a call is about.
type Source = (Option<String>, String, Vec<String>);

fn key((namespace, scope, parts): &Source) -> Key {
    let parts: Vec<&dyn Display> = parts.iter().map(|part| part as &dyn Display).collect();
    let key = Key::new(scope, &parts).expect("a valid key");
    match namespace {
        Some(namespace) => key.in_namespace(namespace),
        None => key,
    }
}

fn source(namespace: Option<&str>, scope: &str, parts: &[&str]) -> Source {
    let parts = parts.iter().map(|part| (*part).to_owned()).collect();
    (namespace.map(str::to_owned), scope.to_owned(), parts)
}

#[track_caller]
fn all_differ(sources: &[Source]) {
    let mut seen: HashMap<String, &Source> = HashMap::new();
    for source in sources {
        if let Some(other) = seen.insert(key(source).as_str().to_owned(), source) {
            assert_eq!(source, other, "two calls share a record");
        }
    }
}

/// Frozen: other deploys look for these very texts.
#[test]
fn keys_as_an_operator_sees_them() {
    #[track_caller]
    fn is(source: &Source, text: &str) {
        assert_eq!(key(source).as_str(), text);
    }
    is(
        &source(None, "payments.charge", &["order-42"]),
        "payments.charge|order-42",
    );
    is(
        &source(
            Some("staging"),
            "shop::orders::place",
            &["customer-7", "2026-11-23"],
        ),
        "staging@shop::orders::place|customer-7|2026-11-23",
    );
    is(
        &source(None, "s", &["a|b", "~%{@}", "\0\n\x7f", "ü 🗝"]),
        "s|a%7Cb|%7E%25%7B@}|%00%0A%7F|ü 🗝",
    );
    is(&source(Some("n@|"), "s@|", &["a"]), "n%40%7C@s%40%7C|a");
    let long = "x".repeat(Key::MAX_TEXT);
    is(
        &source(None, "s", &[&long]),
        "s|~477b5ac3f93a0b48b7d44973193a03062c0d09d7b1c90b9d62bbc307826d8f71",
    );
}

#[test]
fn imitations_stay_apart() {
    let long = "x".repeat(Key::MAX_TEXT);
    let digest = key(&source(None, "s", &[&long])).as_str()["s|~".len()..].to_owned();
    let imitations: &[&[&str]] = &[
        &["a:b", "c"],
        &["a", "b:c"],
        &["a|b", "c"],
        &["a", "b|c"],
        &["a%7Cb", "c"],
        &["a", "b", "c"],
        &["a|b|c"],
        &["a%7Cb%7Cc"],
        &["a%257Cb%257Cc"],
        &["|"],
        &["||"],
        &["%"],
        &["%7C"],
        &["%25"],
        &["%257C"],
        &["@"],
        &["s@"],
        &["n@s"],
        &["n@s|a"],
        &["{"],
        &["%7B"],
        &["\0"],
        &["%00"],
        &["~"],
        &[&digest],
        &["~", &digest],
        &["7E", &digest],
        &[&long],
        &[&long, "a"],
        &["a", &long],
        &[&long[1..]],
        &[&long[2..]],
        &[&long[3..], "y"],
        &["a"],
        &["A"],
        &["a "],
        &[" a"],
        &["á"],
        &["a\u{301}"],
    ];
    let mut all = vec![
        source(None, "s", &[&format!("~{digest}")]),
        source(None, "s", &[&format!("%7E{digest}")]),
    ];
    for namespace in [
        None,
        Some(""),
        Some("n"),
        Some("n@s"),
        Some("n|"),
        Some("s|a"),
        Some("n%40s"),
    ] {
        for scope in ["s", "n@s", "s|a", "n%40s", "s|", "%", "s%7Ca"] {
            all.extend(
                imitations
                    .iter()
                    .map(|parts| source(namespace, scope, parts)),
            );
        }
    }
    all_differ(&all);
}

#[test]
fn lengths_around_the_limit_stay_apart() {
    let text = "x".repeat(3 * Key::MAX_TEXT);
    let lengths = (1..=INLINE + 8).chain(Key::MAX_TEXT - 8..=Key::MAX_TEXT + 8);
    let sources = lengths.flat_map(|length| {
        [
            source(None, "s", &[&text[..length]]),
            source(None, "s", &[&text[..length], "x"]),
        ]
    });
    let sources: Vec<_> = sources.collect();
    all_differ(&sources);
    for source in &sources {
        let key = key(source);
        assert!(
            key.as_str().len() <= Key::MAX_TEXT,
            "a long text is kept as a digest"
        );
    }
}

#[test]
fn a_mebibyte_is_kept_as_a_digest() {
    let mut long = "é".repeat(1 << 19);
    let first = key(&source(None, "s", &[&long]));
    assert_eq!(first.as_str().len(), "s|~".len() + 64);
    long.push('x');
    assert_ne!(first, key(&source(None, "s", &[&long])));
}

#[test]
fn a_scope_of_the_greatest_length_is_kept_whole() {
    let scope = "|".repeat(Key::MAX_SCOPE);
    let key = key(&source(None, &scope, &["a"]));
    assert!(key.as_str().starts_with(&"%7C".repeat(Key::MAX_SCOPE)));
    assert_eq!(
        Key::new(&format!("{scope}|"), &[&1]),
        Err(InvalidKeyError::Scope)
    );
}

#[test]
fn refusals_say_which_part() {
    struct Fails;
    impl Display for Fails {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    assert_eq!(Key::new("", &[&1]), Err(InvalidKeyError::Scope));
    assert_eq!(Key::new("s", &[]), Err(InvalidKeyError::NoParts));
    assert_eq!(Key::new("s", &[&""]), Err(InvalidKeyError::EmptyPart(0)));
    assert_eq!(
        Key::new("s", &[&1, &""]),
        Err(InvalidKeyError::EmptyPart(1))
    );
    assert_eq!(
        Key::new("s", &[&1, &Fails]),
        Err(InvalidKeyError::Display(1))
    );
}

#[test]
fn usual_keys_need_no_allocation() {
    let uuid = "0190f3a4-7c1e-7b7a-9c5e-1f2e3d4c5b6a";
    let key = key(&source(Some("staging"), "shop::orders::place", &[uuid]));
    assert!(matches!(key.0, Text::Inline(_)));
    let fits = "x".repeat(INLINE - "s|".len());
    assert!(matches!(
        super::Key::new("s", &[&fits]).expect("a key").0,
        Text::Inline(_)
    ));
}

#[test]
fn logs_show_a_digest_only() {
    let key = key(&source(None, "s", &["ada@example.org"]));
    let shown = format!("{key:?} {} {:?}", key.digest(), key.digest());
    assert!(
        !shown.contains("ada") && !shown.contains("example"),
        "{shown}"
    );
    assert_eq!(key.digest().to_string().len(), 16);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a|%~@{7CE]{1,4}",
        1 => any::<String>().prop_filter("parts are not empty", |text| !text.is_empty()),
        1 => "x{500,520}",
    ]
}

fn any_source() -> impl Strategy<Value = Source> {
    (
        proptest::option::of("[a@|%]{0,2}"),
        "[a@|%~]{1,3}",
        vec(text(), 1..4),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn equal_keys_come_from_equal_calls(sources in vec(any_source(), 2..24)) {
        all_differ(&sources);
    }

    /// The text may go wherever keys go: one line, no cluster tag, no raw control character.
    #[test]
    fn texts_are_plain(source in any_source()) {
        let key = key(&source);
        let plain = |c: char| !c.is_ascii_control() && c != '{';
        prop_assert!(key.as_str().chars().all(plain));
    }

    #[test]
    fn digests_never_contain_the_key(part in "[g-z]{4,30}") {
        let key = key(&source(None, "scope", &[&part]));
        let shown = format!("{key:?}");
        prop_assert!(!shown["Key(".len()..].contains(&part));
    }
}

/// Outermost first, as a store's handle does it.
fn in_namespaces(namespaces: &[&str], scope: &str) -> Key {
    let path = namespaces
        .iter()
        .fold(None, |path: Option<Box<str>>, name| {
            Some(namespace_path(path.as_deref(), name))
        });
    let key = Key::new(scope, &[&"k"]).expect("a valid key");
    path.map_or(key.clone(), |path| key.in_path(&path))
}

#[test]
fn namespaces_nest_and_no_two_lists_of_them_meet() {
    let names = [
        "", "a", "b", "a@b", "a/b", "@", "a@", "@b", "%40", "a%40b", "a|b", "s",
    ];
    let lists = names.iter().flat_map(|&first| {
        let pairs = names.iter().map(move |&second| vec![first, second]);
        let threes = names.iter().map(move |&third| vec![first, "b", third]);
        pairs.chain(threes).chain([vec![first]])
    });
    let lists: Vec<_> = lists.chain([vec![]]).collect();
    let mut seen = HashMap::new();
    for list in &lists {
        for scope in ["s", "b@s", "@s", "%40s"] {
            let key = in_namespaces(list, scope).as_str().to_owned();
            if let Some(other) = seen.insert(key, (list, scope)) {
                assert_eq!(other, (list, scope), "two calls share a record");
            }
        }
    }
    assert_eq!(seen.len(), 4 * lists.len());
}

#[test]
fn a_single_namespace_stands_before_the_key_and_nested_ones_outermost_first() {
    assert_eq!(in_namespaces(&["staging"], "s").as_str(), "staging@s|k");
    assert_eq!(
        in_namespaces(&["tenant-a", "mail"], "s").as_str(),
        "tenant-a@mail@s|k"
    );
    let key = Key::new("s", &[&"k"]).unwrap();
    let nested = key.in_namespace("mail").in_namespace("tenant-a");
    assert_eq!(nested, in_namespaces(&["tenant-a", "mail"], "s"));
}

#[test]
fn long_namespaces_are_bounded_and_stay_apart() {
    let namespaces = [200, 201, 5_000].map(|length| "n".repeat(length));
    let ends_otherwise = format!("{}m", &namespaces[1][1..]);
    // Escaped it has 300 bytes; the cut falls between two characters.
    let escaped = "|".repeat(100);
    let accents = "é".repeat(150);
    let all = [
        &*namespaces[0],
        &namespaces[1],
        &namespaces[2],
        &ends_otherwise,
        &escaped,
        &accents,
    ];
    let keys: Vec<_> = all
        .iter()
        .map(|namespace| in_namespaces(&[namespace], "s").as_str().to_owned())
        .collect();
    assert_eq!(keys[0], format!("{}@s|k", namespaces[0]));
    for key in &keys {
        let (namespace, rest) = key.split_once('@').expect("a namespace");
        assert_eq!(rest, "s|k");
        assert!(namespace.len() <= Key::MAX_NAMESPACE, "{}", namespace.len());
    }
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    // Within others it is the same name.
    let nested = in_namespaces(&["tenant-a", &namespaces[2]], "s");
    assert_eq!(nested.as_str(), format!("tenant-a@{}", keys[2]));
    let key = Key::new("s", &[&"k"]).unwrap();
    let nested_by_hand = key.in_namespace(&namespaces[2]).in_namespace("tenant-a");
    assert_eq!(nested, nested_by_hand);
}
