//! Any text as a server's address gives a store, or an error that says what to write. It never
//! panics and never shows a password.

use std::fmt::Write;

use idempotent_runtime::{
    Store, StoreError, StoreErrorKind,
    store::{RedisOptions, RedisStore},
};
use idempotent_test_support::{RedisCluster, Sentinel};
use proptest::{collection::vec, prelude::*, sample::select};

use crate::common::*;

const SECRET: &str = "wrong-horse-Zq9";

const WORDS: &[&str] = &[
    "redis",
    "rediss",
    "redis+unix",
    "redis+cluster",
    "rediss+cluster",
    "valkey+sentinel",
    "+",
    ",",
    "main",
    "sentinel_user=",
    "sentinel_password=",
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
        scheme in select(&["redis", "rediss", "valkey", "redis+cluster", "rediss+sentinel", "valkey+sentinel", "unix", "redis+unix", "un\nix", "http", ""][..]),
        slashes in select(&["", "/", "//", "///", "/a://"][..]), before in text(), after in text(),
    ) {
        hides(&format!("{scheme}:{slashes}{before}:{SECRET}@{after}"))?;
        hides(&format!("redis+unix:///{after}?user={before}&pass={SECRET}"))?;
        hides(&format!("redis+sentinel://host,{after}/main?sentinel_user={before}&sentinel_password={SECRET}"))?;
    }
}

#[test]
fn a_url_names_one_server_a_cluster_or_a_primary_by_sentinels() {
    for (url, described) in [
        (
            "redis://me:pass@cache/2",
            "Redis at cache:6379 (database 2)",
        ),
        ("valkeys://cache:7", "Redis at cache:7 (database 0)"),
        (
            "redis+unix:///run/redis.sock?db=3",
            "Redis at /run/redis.sock (database 3)",
        ),
        (
            "redis+cluster://a,b:7000,[::1]:7001",
            "Redis Cluster at a:6379, b:7000, [::1]:7001",
        ),
        ("rediss+cluster://me:p%40ss@a/", "Redis Cluster at a:6379"),
        ("valkey+cluster://a, b/0", "Redis Cluster at a:6379, b:6379"),
        (
            "redis+sentinel://:pass@a,b:7,[::1]/main?db=2&sentinel_user=u&sentinel_password=p%26",
            "Redis primary `main` by Sentinel at a:26379, b:7, [::1]:26379",
        ),
        (
            "valkeys+sentinel://a/the%20primary",
            "Redis primary `the primary` by Sentinel at a:26379",
        ),
    ] {
        let store = RedisStore::new(url).expect(url);
        assert_eq!(store.describe(), described, "{url}");
    }
}

#[test]
fn a_url_that_names_none_says_what_to_write() {
    for (url, shape) in [
        ("redis+cluster://", "redis://host:6379"),
        ("redis+cluster://a,,b", "redis://host:6379"),
        ("redis+cluster://a/1", "redis+cluster://user:password@host1"),
        (
            "redis+cluster://a?db=1",
            "redis+cluster://user:password@host1",
        ),
        (
            "redis+sentinel://a",
            "redis+sentinel://user:password@host1:26379,host2,host3/primary-name",
        ),
        ("redis+sentinel://a/", "name of the primary is missing"),
        ("redis+sentinel://a/main/0", "redis+sentinel://"),
        ("redis+sentinel://a/main?db=x", "`db` is not a number"),
        (
            "redis+sentinel://a/main?password=x",
            "`sentinel_user` and `sentinel_password`",
        ),
        ("http+cluster://a", "redis, rediss, valkey or valkeys"),
        ("rediss://a/#insecure", "tls_root"),
        ("redis+nonsense://a", "redis://host:6379"),
        ("unix:/s", "does not begin with"),
        ("unix:/s?database=1", "does not begin with"),
        ("localhost:6379", "does not begin with"),
        ("unix:///user:pass@s", "`%40`"),
        ("redis+unix:///user:pass@s?db=1", "`%40`"),
        ("un\nix:///user:pass@s", "does not begin with"),
        ("unix:/a/b://user:pass@s", "does not begin with"),
        ("redis://:pa\tss@a", "control character"),
        ("redis://:pass@a/0\n", "control character"),
        (" redis://a", "does not begin with"),
        ("redis://a ", "blank at one end"),
    ] {
        let error = RedisStore::new(url).expect_err(url);
        assert_eq!(error.kind(), StoreErrorKind::Config, "{url}");
        assert!(error.to_string().contains(shape), "{url}: {error}");
    }
}

/// What is dropped without a word leads to another database, or to a server without the password.
#[test]
fn a_parameter_that_the_url_does_not_take_is_refused_and_not_shown() {
    let path = "the database is its path";
    let socket = "`db`, `user`, `pass` and `protocol`";
    let cluster = "database 0 and no options";
    let sentinel = "`db`, `sentinel_user` and `sentinel_password`";
    for (url, advice) in [
        ("redis://a?db=Zq9", path),
        ("redis://a/?database=Zq9", path),
        ("redis://:x@a:1/2?pasword=Zq9", path),
        ("redis://a?Zq9", path),
        ("redis://a?protocol=resp3&db=Zq9", path),
        ("valkey://a/?DB=Zq9", path),
        ("rediss://a/?db=Zq9", path),
        ("valkeys://a?password=Zq9", path),
        ("redis://u:p?Zq9@a/", "`%3F`"),
        ("redis://a/#Zq9", "`%23`"),
        ("redis://a?protocol=Zq9", "can only be `resp3`"),
        ("redis://a?protocol=resp2", "can only be `resp3`"),
        ("redis+unix:///s?password=Zq9", socket),
        ("valkey+unix:///s?db=1&username=Zq9", socket),
        ("unix:///s?database=Zq9", socket),
        ("unix:///s?pass=p&Zq9", "`%26`"),
        ("redis+unix:///s?pass=p#Zq9", "`%23`"),
        ("redis+unix:///s?db=1&db=Zq9", "twice"),
        ("redis+cluster://a,b?database=Zq9", cluster),
        ("valkey+cluster://a?protocol=Zq9", cluster),
        ("redis+sentinel://a/main?database=Zq9", sentinel),
        ("redis+sentinel://a/main?db=1&db=Zq9", "twice"),
    ] {
        let error = RedisStore::new(url).expect_err(url);
        assert_eq!(error.kind(), StoreErrorKind::Config, "{url}");
        assert!(error.to_string().contains(advice), "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("Zq9"), "{error}");
    }
    // Where several are named, each is such a URL.
    let options = RedisOptions::new;
    for error in [
        options().open_cluster(["redis://a", "redis://b?db=1"]),
        options().open_sentinel(["redis://a", "redis://b?db=1"], "main"),
    ] {
        let error = error.expect_err("a parameter");
        assert!(error.to_string().contains(path), "{error}");
    }
    for url in [
        "redis://a/6?protocol=resp3",
        "redis://a/6?",
        "redis+unix:///s?user=u&pass=p%26&db=6",
    ] {
        let store = RedisStore::new(url).expect(url);
        assert!(store.describe().contains("(database 6)"), "{url}");
    }
}

#[tokio::test]
async fn a_cluster_and_a_primary_are_found_by_their_urls() {
    let cluster = RedisCluster::start();
    let hosts = |urls: Vec<String>| urls.join(",").replace("redis://", "");
    let url = format!("redis+cluster://{}/", hosts(cluster.urls()));
    let store = RedisStore::connect(&url).await.expect("a cluster");
    for part in 0..10 {
        first_call(&store, &key(&part.to_string()), 1, b"42").await;
    }

    let sentinel = Sentinel::start();
    for one in sentinel.sentinels() {
        one.cli(&[
            "ACL", "SETUSER", "watch", "on", ">o@er", "~*", "&*", "+@all",
        ]);
        one.cli(&[
            "ACL", "SETUSER", "default", "-@all", "+auth", "+hello", "+ping", "+publish", "+info",
        ]);
    }
    let url = format!(
        "redis+sentinel://{}/{}?db=3&sentinel_user=watch&sentinel_password=o%40er",
        hosts(sentinel.urls()),
        sentinel.master_name()
    );
    let store = RedisStore::connect(&url).await.expect("a primary");
    first_call(&store, &key("1"), 1, b"42").await;
    assert!(
        sentinel
            .master()
            .cli(&["INFO", "keyspace"])
            .contains("db3:keys=1")
    );
}
