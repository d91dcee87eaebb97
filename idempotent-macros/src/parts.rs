//! Evaluates the parts of a key and a fingerprint.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ExprReference, Token};

use crate::options::{Given, Options, Parts};

/// The parts of the key and the fingerprint by reference, with the statements that must come
/// before.
///
/// A part may not be `Sync`, so no reference to one may be held across an await. If a part awaits,
/// it is bound to a variable first, and so is every part that is evaluated before it.
pub(crate) fn evaluate(
    options: &Options,
    key: &Parts,
    facade: &TokenStream,
) -> (TokenStream, TokenStream, TokenStream) {
    let fingerprint = options.fingerprint.as_ref();
    let site = Span::mixed_site();
    let behind = fingerprint.map_or(&[][..], |fingerprint| &fingerprint.value.elements);
    let parts = key.elements.iter().chain(behind).enumerate();
    let last_await = parts
        .filter(|(_, part)| awaits(part))
        .last()
        .map_or(0, |(position, _)| position);
    let mut bindings = TokenStream::new();
    let mut bind = |name: &str, index: usize, position: usize, part: &Expr| {
        let by_reference = by_reference(part);
        if last_await == 0 || position > last_await || is_place(part) {
            return by_reference;
        }
        let name = format_ident!("__{name}_{index}", span = site);
        bindings.extend(quote_spanned!(site=> let #name = #by_reference;));
        name.to_token_stream()
    };
    let parts = key.elements.iter().enumerate();
    let key_parts: Vec<_> = parts
        .map(|(index, part)| bind("key", index, index, part))
        .collect();
    let parts = behind.iter().enumerate();
    let fingerprint_parts: Vec<_> = parts
        .map(|(index, part)| bind("fingerprint", index, key.elements.len() + index, part))
        .collect();
    let fingerprint = fingerprint.map(|Given { name, value }| {
        let method = Ident::new("fingerprint", site.located_at(name.span()));
        let value = if value.is_tuple {
            let parts = quote_spanned!(site=> #(#fingerprint_parts,)*);
            listed(value, Delimiter::Parenthesis, parts)
        } else {
            quote_spanned!(site=> #(#fingerprint_parts)*)
        };
        quote_spanned!(site=> .#method(#value))
    });
    let is_optional = options
        .optional_key
        .as_ref()
        .is_some_and(|given| given.value);
    let key_parts: Vec<_> = if is_optional {
        let optional = |part| quote_spanned!(site=> #facade::key::optional_part(#part));
        key_parts.into_iter().map(optional).collect()
    } else {
        key_parts
    };
    let list = if is_optional || key_parts.len() == 1 {
        Delimiter::Bracket
    } else {
        Delimiter::Parenthesis
    };
    let key = listed(key, list, quote_spanned!(site=> #(#key_parts),*));
    (bindings, key, fingerprint.unwrap_or_default())
}

/// `&[…]` or `&(…)` with a span from the first to the last part, so an error underlines all of
/// them.
fn listed(key: &Parts, delimiter: Delimiter, parts: TokenStream) -> TokenStream {
    let site = |span: Option<Span>| {
        let site = Span::mixed_site();
        span.map_or(site, |span| site.located_at(span))
    };
    let mut list = Group::new(delimiter, parts);
    list.set_span(site(key.elements.last().map(last_span)));
    let first = site(key.elements.first().map(Spanned::span));
    let mut listed = Token![&](first).into_token_stream();
    listed.extend([TokenTree::Group(list)]);
    listed
}

fn last_span(part: &Expr) -> Span {
    let tokens = part.to_token_stream().into_iter();
    tokens
        .last()
        .map_or_else(|| part.span(), |last| last.span())
}

/// `&value`, with parentheses where `value` needs them.
pub(crate) fn by_reference(value: &Expr) -> TokenStream {
    let mut and_token = Token![&](Span::mixed_site());
    and_token.span = Span::mixed_site().located_at(value.span());
    let expr = Box::new(value.clone());
    ExprReference {
        attrs: Vec::new(),
        and_token,
        mutability: None,
        expr,
    }
    .to_token_stream()
}

/// Whether evaluating the part has no effect, so that it may be done early or late.
fn is_place(part: &Expr) -> bool {
    match part {
        Expr::Path(_) | Expr::Lit(_) => true,
        Expr::Field(field) => is_place(&field.base),
        Expr::Reference(reference) => is_place(&reference.expr),
        _ => false,
    }
}

/// Whether the expression itself awaits. An await inside an async block does not count.
fn awaits(part: &Expr) -> bool {
    fn scan(tokens: TokenStream) -> bool {
        let mut after_dot = false;
        let mut in_async = false;
        tokens.into_iter().any(|token| {
            let dot = after_dot;
            after_dot = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '.');
            match token {
                TokenTree::Ident(ident) => {
                    in_async |= ident == "async";
                    dot && ident == "await"
                }
                TokenTree::Group(group) if in_async && group.delimiter() == Delimiter::Brace => {
                    in_async = false;
                    false
                }
                TokenTree::Group(group) => scan(group.stream()),
                _ => false,
            }
        })
    }
    scan(part.to_token_stream())
}
