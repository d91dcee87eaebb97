//! Any attribute on any item: the macro never panics, and always emits the item.

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
use proc_macro2::{TokenStream, TokenTree};

/// The compiler has a limit of its own for this, and stops before the attribute is asked.
const DEEPEST: usize = 100;

fn depth(tokens: &TokenStream) -> usize {
    let groups = tokens.clone().into_iter().filter_map(|token| match token {
        TokenTree::Group(group) => Some(1 + depth(&group.stream())),
        _ => None,
    });
    groups.max().unwrap_or(0)
}

fuzz_target!(|texts: (String, String)| {
    let (options, item) = texts;
    // What nests by brackets nests by these too.
    let opening = |text: &str| {
        text.matches(['(', '[', '{', '<', '&', '*', '-', '!', '|'])
            .count()
    };
    if opening(&options) > DEEPEST || opening(&item) > DEEPEST {
        return;
    }
    let item = if item.len() < 4 {
        "async fn charge(id: u64) -> Result<u64, Error> { marker() }".to_owned()
    } else {
        item
    };
    let (Ok(options), Ok(item)) = (options.parse::<TokenStream>(), item.parse::<TokenStream>())
    else {
        return;
    };
    if depth(&options) > DEEPEST || depth(&item) > DEEPEST {
        return;
    }
    let body = item.clone().into_iter().last().map(|body| body.to_string());
    let expanded = annotate::annotate(options, item.clone()).to_string();
    if expanded.starts_with(":: core :: compile_error !") {
        assert!(expanded.ends_with(&item.to_string()), "{expanded}");
    } else {
        let body = body.expect("an item that expands has a body");
        let inner = body.trim_start_matches("{ ").trim_end_matches('}').trim();
        // Inner attributes are emitted first, apart from the body.
        assert!(
            inner.starts_with('#') || expanded.contains(inner),
            "{inner}\n{expanded}"
        );
    }
});
