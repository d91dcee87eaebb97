//! Any text is the sum of its durations, or one error.

#![no_main]

// A proc-macro crate exports nothing else, so its modules are compiled once more in here.
#[path = "../../idempotent-macros/src/annotate.rs"]
mod annotate;
#[path = "../../idempotent-macros/src/arguments.rs"]
mod arguments;
#[path = "../../idempotent-macros/src/duration.rs"]
mod duration;
#[path = "../../idempotent-macros/src/expand.rs"]
mod expand;
#[path = "../../idempotent-macros/src/function.rs"]
mod function;
#[path = "../../idempotent-macros/src/literal.rs"]
mod literal;
#[path = "../../idempotent-macros/src/options.rs"]
mod options;
#[path = "../../idempotent-macros/src/parts.rs"]
mod parts;
#[path = "../../idempotent-macros/src/policy.rs"]
mod policy;
#[path = "../../idempotent-macros/src/scope.rs"]
mod scope;
#[path = "../../idempotent-macros/src/types.rs"]
mod types;

use libfuzzer_sys::fuzz_target;
use quote::quote;

/// The milliseconds, counted in another way than the macro does.
fn counted(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total = 0_u128;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !(c.is_ascii_digit() || c == '_'))?;
        let (count, behind) = rest.split_at(unit_at);
        let next = behind
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(next);
        let size = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total += u128::from(count.replace('_', "").parse::<u64>().ok()?) * size;
        rest = behind;
    }
    (!text.trim().is_empty())
        .then(|| u64::try_from(total).ok())
        .flatten()
}

fuzz_target!(|text: &str| {
    let item = quote!(
        async fn charge(id: u64) -> Result<u64, Error> {
            Ok(id)
        }
    );
    let expanded = annotate::annotate(quote!(key = id, wait = #text), item).to_string();
    let expanded = expanded.replace([' ', '_'], "");
    match counted(text) {
        None => assert!(
            expanded.starts_with("::core::compileerror!"),
            "{text:?}: {expanded}"
        ),
        Some(millis) => {
            let (name, count) = if millis % 1000 == 0 {
                ("fromsecs", millis / 1000)
            } else {
                ("frommillis", millis)
            };
            let duration = format!("Duration::{name}({count})");
            assert!(
                expanded.contains(&duration),
                "{text:?}: {duration}, {expanded}"
            );
        }
    }
});
