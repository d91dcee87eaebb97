//! Any text as a store's address is a store, or an error that shows no password.

#![no_main]

use idempotent_runtime::{
    Store,
    store::{RedisOptions, RedisStore},
};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "hunter2-Zq9";

fn hides(result: Result<RedisStore, idempotent_runtime::StoreError>) {
    let shown = match result {
        Ok(store) => format!("{} {store:?}", store.describe()),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains(SECRET), "{shown}");
}

fuzz_target!(|texts: (String, String)| {
    let (before, after) = texts;
    let plain = format!("{before}{after}");
    // Where people put a password: before the host's `@`, under each scheme.
    let secret = [
        format!("{before}:{SECRET}@{after}"),
        format!("redis://{before}:{SECRET}@{after}"),
        format!("rediss://:{SECRET}@{after}"),
        format!("redis+unix:///{after}?pass={SECRET}&user={before}"),
    ];
    for url in secret.iter().chain([&plain]) {
        hides(RedisStore::new(url));
        hides(RedisOptions::new().open_cluster([url]));
        hides(RedisOptions::new().open_sentinel([url], "primary"));
    }
});
