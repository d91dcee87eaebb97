//! Any attribute on any item: the macro never panics, and always emits the item. `fuzz/` checks the
//! same for longer.

use proc_macro2::TokenStream;
use proptest::{collection::vec, prelude::*, sample::select};

use crate::annotate;

const WORDS: &[&str] = &[
    "key",
    "scope",
    "fingerprint",
    "ttl",
    "lease",
    "wait",
    "on_err",
    "on_crash",
    "detach",
    "store",
    "codec",
    "map_err",
    "crate",
    "in_tx",
    "r#key",
    "Key",
    "keys",
    "r#crate",
    "=",
    "==",
    "=>",
    ",",
    ";",
    ".",
    "..",
    "|",
    "||",
    "&",
    "?",
    "!",
    "#",
    "'a",
    "'",
    "_",
    "-",
    "<",
    ">",
    "::",
    "->",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "id",
    "id.0",
    "self",
    "Self",
    "super",
    "async",
    "await",
    ".await",
    "move",
    "fn",
    "impl",
    "dyn",
    "for",
    "if",
    "let",
    "match",
    "return",
    "unsafe",
    "\"30s\"",
    "\"\"",
    "\"1ms\"",
    "\"0s\"",
    "\"-1s\"",
    "\"99999999999999999999d\"",
    "\"\\u{202e}\"",
    "b\"30s\"",
    "c\"30s\"",
    "30",
    "1.5",
    "0xff",
    "'x'",
    "true",
    "false",
    "rerun",
    "record",
    "fail",
    "OnErr::Record",
    "|e|",
    "|e: &E| OnErr::Fail",
    "Json",
    "Vec<u8>",
    "format!(\"{id}\")",
    "macro_rules!",
    "r\"raw\"",
    "1_000",
    "(id, id)",
    "()",
    "(id,)",
    "(,)",
    "#[cfg(all())]",
    "#![allow(unused)]",
    "/* note */",
    "ø",
    "名",
];

const ITEMS: &[&str] = &[
    "async fn charge(id: u64) -> Result<u64, Error> { marker(); Ok(id) }",
    "pub(crate) async fn charge(&self, id: &str) -> Result<(), Error> { marker(); id. ; }",
    "async fn charge<T: Id, const N: usize>(id: T, [a, b]: [u8; 2]) -> anyhow::Result<T> where T: Copy { marker() }",
    "fn charge(id: u64) -> Pin<Box<dyn Future<Output = Result<u64, Error>> + Send>> { marker() }",
    "fn charge(id: u64) -> u64 { marker() }",
    "const unsafe extern \"C\" fn charge(id: u64) { marker() }",
    "async fn charge(id: u64) -> Result<u64, Error>;",
    "async fn charge(id: u64) -> impl Marker { marker() }",
    "default async fn charge(self: Arc<Self>) -> Result<u64, Error> { #![allow(unused)] marker() }",
    "#[tokio::test] async fn charge() -> Result<u64, Error> { marker() }",
    "async fn charge(#[cfg(any())] id: &u8, ...) -> Result<u64, Error> { marker() }",
    "struct Marker { charge: u64 }",
    "impl Charge for Marker { async fn charge() {} }",
    "macro_rules! marker { () => {} }",
    "async fn charge(",
    "marker",
];

/// Random words. Most do not parse (a bracket is missing); the rest look like an attribute.
fn words() -> impl Strategy<Value = String> {
    vec(select(WORDS), 0..12).prop_map(|words| words.join(" "))
}

/// Plausible options with a mistake here and there.
fn assignments() -> impl Strategy<Value = String> {
    vec((0..14_usize, words()), 0..5).prop_map(|options| {
        let options = options.into_iter();
        let written = options.map(|(name, value)| format!("{} = {value}", WORDS[name]));
        written.collect::<Vec<_>>().join(", ")
    })
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => words(),
        4 => assignments(),
        2 => words().prop_map(|words| format!("key = id, {words}")),
        1 => any::<String>(),
    ]
}

/// What holds for every attribute on every item.
fn check(options: &str, item: &str) -> Result<(), TestCaseError> {
    let (Ok(options), Ok(item)) = (options.parse::<TokenStream>(), item.parse::<TokenStream>())
    else {
        return Ok(());
    };
    let expanded = annotate(options, item.clone()).to_string();
    if expanded.starts_with(":: core :: compile_error !") {
        prop_assert!(expanded.ends_with(&item.to_string()), "{}", expanded);
    } else {
        prop_assert!(
            expanded.contains("marker") && expanded.contains("charge"),
            "{}",
            expanded
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2048) })]

    #[test]
    fn any_attribute_on_any_item(options in any_text(), item in select(ITEMS)) {
        check(&options, item)?;
    }

    /// Items that are cut short, or have random words in them.
    #[test]
    fn any_item(item in select(ITEMS), at: prop::sample::Index, words in words(), cut: bool) {
        let places: Vec<usize> = item.char_indices().map(|(at, _)| at).collect();
        let at = places[at.index(places.len())];
        let rest = if cut { "" } else { &item[at..] };
        let item = format!("{} {words} {rest} /* marker charge */", &item[..at]);
        let (Ok(options), Ok(item)) = ("key = id".parse::<TokenStream>(), item.parse::<TokenStream>()) else {
            return Ok(());
        };
        let expanded = annotate(options, item.clone()).to_string();
        prop_assert!(!expanded.starts_with(":: core :: compile_error !") || expanded.ends_with(&item.to_string()));
    }

    /// Without a mistake the attribute expands to one function. With a mistake it expands to one
    /// error and the item, so there are no errors that follow from the first.
    #[test]
    fn one_mistake_is_one_error(options in any_text()) {
        let Ok(options) = options.parse::<TokenStream>() else { return Ok(()) };
        let expanded = annotate(options, ITEMS[0].parse().expect("a function"));
        let failed = expanded.to_string().starts_with(":: core :: compile_error !");
        let file: syn::File = syn::parse2(expanded).expect("items");
        prop_assert_eq!(file.items.len(), if failed { 2 } else { 1 });
    }
}

#[test]
fn the_words_reach_both_ends() {
    let works = annotate(
        "key = id, ttl = \"30s\"".parse().expect("tokens"),
        ITEMS[0].parse().expect("tokens"),
    );
    assert!(!works.to_string().contains("compile_error"));
    let fails = annotate(
        "kee = id".parse().expect("tokens"),
        ITEMS[0].parse().expect("tokens"),
    );
    assert!(fails.to_string().contains("compile_error"));
}
