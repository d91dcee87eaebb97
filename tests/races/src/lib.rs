//! The runtime's own flights, topics, memory store and near cache under a scheduler that decides who goes on at each lock,
//! atomic and await: thousands of interleavings a test, each to be repeated by its seed.
//!
//! The sources are the runtime's (`build.rs` fetches them); `shim` is what they stand on. What the checker has to catch
//! is shown by mutants of the same sources.
#![cfg(test)]

/// A source of the runtime as it is, or a mutant of it, with the scenarios.
macro_rules! variant {
    ($name:ident: $scenarios:literal, $($module:ident = $file:literal),+) => {
        mod $name {
            $(
                #[allow(
                    dead_code,
                    unreachable_pub,
                    clippy::all,
                    clippy::pedantic,
                    reason = "the runtime's own, checked there"
                )]
                mod $module {
                    include!(concat!(env!("OUT_DIR"), "/", $file));
                }
            )+
            include!($scenarios);
        }
    };
}

mod flights;
mod memory;
mod near;
mod shim;
mod topics;

// What the runtime's sources ask of their crate.
use idempotent_runtime::{Key, StoreError, StoreErrorKind, fingerprint, record};
mod key {
    pub(crate) use crate::Key;
}

/// How many interleavings each test goes through; `SHUTTLE_ITERATIONS` says otherwise.
fn interleavings() -> usize {
    let given = std::env::var("SHUTTLE_ITERATIONS").ok();
    given.map_or(1_000, |text| text.parse().expect("a number"))
}

/// Runs `scenario` in all of them: at random, and with few switches at the worst places.
fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(scenario, interleavings());
    shuttle::check_pct(scenario, interleavings(), 3);
}

/// The checker has to find an interleaving in which `scenario` fails, and in this way.
#[track_caller]
fn is_caught(scenario: impl Fn() + Send + Sync + Copy + 'static, how: &str) {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(scenario)));
    let panic = caught.expect_err("no interleaving shows what is wrong with the mutant");
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    assert!(
        message.is_some_and(|message| message.contains(how)),
        "{message:?}"
    );
}
