//! Any text as a server's address: a store, or an error that says what to write. Never a panic, and never a password.

use std::fmt::Write;

use idempotent_runtime::{
    Store, StoreError, StoreErrorKind,
    store::redis::{RedisOptions, RedisStore},
};
use proptest::{collection::vec, prelude::*, sample::select};

const SECRET: &str = "wrong-horse-Zq9";

const WORDS: &[&str] = &[
    "redis",
    "rediss",
    "redis+unix",
    "unix",
    "valkey",
    "http",
    "memory",
    ":",
    "//",
    "://",
    "/",
    "@",
    "?",
    "&",
    "#",
    "%",
    "%zz",
    "%00",
    "[",
    "]",
    "[::1]",
    "127.0.0.1",
    "0.0.0.0",
    "localhost",
    "999.1.2.3",
    "ø.example",
    ":6379",
    ":0",
    ":65536",
    ":-1",
    ":port",
    "/0",
    "/-1",
    "/99999999999999999999",
    "?db=1",
    "?protocol=resp3",
    "?protocol=9",
    "?insecure",
    "user",
    "pass=",
    " ",
    "\n",
    "\0",
    "..",
    "名",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(select(WORDS), 0..8).prop_map(|words| words.concat()),
        1 => any::<String>(),
    ]
}

/// What is shown of the outcome.
fn shown(result: Result<RedisStore, StoreError>) -> Result<String, TestCaseError> {
    match result {
        Ok(store) => Ok(format!("{} {store:?}", store.describe())),
        Err(error) => {
            prop_assert_eq!(error.kind(), StoreErrorKind::Config);
            prop_assert!(error.to_string().len() > 20, "{}", error);
            let mut shown = format!("{error} {error:?}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                write!(shown, " {cause} {cause:?}").expect("strings take any text");
                source = cause.source();
            }
            Ok(shown)
        }
    }
}

fn hides(url: &str) -> Result<(), TestCaseError> {
    let opened = [
        RedisStore::new(url),
        RedisOptions::new().open_cluster([url]),
        RedisOptions::new().open_sentinel([url], "main"),
    ];
    for result in opened {
        let shown = shown(result)?;
        prop_assert!(
            !shown.contains(SECRET),
            "{} in {}",
            url.escape_debug(),
            shown
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_text_is_a_store_or_an_error(url in text()) {
        hides(&url)?;
    }

    /// The password stands where passwords stand, whatever is around it.
    #[test]
    fn no_text_around_a_password_shows_it(
        scheme in select(&["redis", "rediss", "valkey", "http", ""][..]), before in text(), after in text(),
    ) {
        hides(&format!("{scheme}://{before}:{SECRET}@{after}"))?;
        hides(&format!("redis+unix:///{after}?user={before}&pass={SECRET}"))?;
    }
}
