//! `tests/expand/x.rs` expands to `tests/expand/x.expanded.rs`. To accept changes:
//! `UPDATE_EXPECT=1 cargo test -p idempotent-macros`.

use std::fs;
use std::path::PathBuf;

use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, ImplItemFn, ItemFn, Meta, TraitItemFn};

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/expand"))
}

#[test]
fn expansions() {
    let mut names: Vec<_> = fs::read_dir(directory())
        .expect("tests/expand")
        .filter_map(|entry| {
            Some(
                entry
                    .ok()?
                    .file_name()
                    .to_str()?
                    .strip_suffix(".rs")?
                    .to_owned(),
            )
        })
        .filter(|name| !name.ends_with(".expanded"))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        let source = fs::read_to_string(directory().join(format!("{name}.rs"))).unwrap();
        let expanded = expand(&source);
        assert!(!expanded.contains("compile_error"), "{name}: {expanded}");
        expect_test::expect_file![directory().join(format!("{name}.expanded.rs"))]
            .assert_eq(&expanded);
    }
}

#[test]
fn the_plain_expansion_is_short() {
    let plain = fs::read_to_string(directory().join("plain.rs")).unwrap();
    let added = expand(&plain).lines().count() - normal(&plain).lines().count();
    assert!(added <= 17, "{added} lines beyond the body");
}

#[test]
fn half_written_code_still_completes_in_an_editor() {
    let item = "async fn charge(order: Order) -> Result<(), Error> { let id = order. ; if }";
    let item: proc_macro2::TokenStream = item.parse().unwrap();
    let expanded = crate::annotate("key = order.id".parse().unwrap(), item.clone()).to_string();
    assert!(expanded.contains("{ let id = order . ; if }"), "{expanded}");
    let refused = crate::annotate("key = order.".parse().unwrap(), item.clone()).to_string();
    assert!(
        refused.contains("compile_error") && refused.ends_with(&item.to_string()),
        "{refused}"
    );
}

/// Each block of README below `<!-- golden: x -->` equals `tests/expand/x.rs`, except for line
/// breaks and comments. README has at least `plain.expanded`.
#[test]
fn readme_shows_goldens() {
    let Ok(readme) = fs::read_to_string(directory().join("../../README.md")) else {
        return;
    };
    let mut shown = Vec::new();
    for marked in readme.split("<!-- golden: ").skip(1) {
        let (name, rest) = marked.split_once(" -->").expect("the comment's end");
        let block = rest
            .split("```")
            .nth(1)
            .and_then(|block| block.strip_prefix("rust"));
        let (_, code) = block
            .and_then(|block| block.split_once('\n'))
            .expect("a block of Rust");
        let golden = fs::read_to_string(directory().join(format!("{name}.rs"))).expect(name);
        assert_eq!(normal(code), normal(&golden), "README's `{name}`");
        shown.push(name);
    }
    assert!(shown.contains(&"plain.expanded"), "{shown:?}");
}

fn normal(source: &str) -> String {
    prettyplease::unparse(&syn::parse_file(source).unwrap())
}

/// The source with every annotated function expanded, as `cargo expand` would print it.
fn expand(source: &str) -> String {
    let mut file = syn::parse_file(source).unwrap();
    Expand.visit_file_mut(&mut file);
    prettyplease::unparse(&file)
}

struct Expand;

impl VisitMut for Expand {
    fn visit_item_fn_mut(&mut self, function: &mut ItemFn) {
        while let Some(options) = take_attribute(&mut function.attrs) {
            *function = syn::parse2(crate::annotate(options, function.to_token_stream())).unwrap();
        }
        visit_mut::visit_item_fn_mut(self, function);
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut ImplItemFn) {
        while let Some(options) = take_attribute(&mut function.attrs) {
            *function = syn::parse2(crate::annotate(options, function.to_token_stream())).unwrap();
        }
    }

    fn visit_trait_item_fn_mut(&mut self, function: &mut TraitItemFn) {
        while let Some(options) = take_attribute(&mut function.attrs) {
            *function = syn::parse2(crate::annotate(options, function.to_token_stream())).unwrap();
        }
    }
}

fn take_attribute(attributes: &mut Vec<Attribute>) -> Option<proc_macro2::TokenStream> {
    let position = attributes
        .iter()
        .position(|attribute| attribute.path().is_ident("idempotent"))?;
    match attributes.remove(position).meta {
        Meta::List(list) => Some(list.tokens),
        _ => Some(proc_macro2::TokenStream::new()),
    }
}
