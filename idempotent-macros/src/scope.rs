//! Refuses scopes that differ from call to call.

use quote::ToTokens;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, FnArg, Ident, Lit, Pat, Result, Signature, Token, Type};

use crate::literal::placeholders;
use crate::options::{Given, Options, expression};
use crate::types::{bare, borrows};

const ONE_NAME: &str =
    "a scope is one name for all calls, a `&'static str` such as `scope = \"payments.charge\"`";

/// A string literal, or an expression of type `&'static str`. An expression that builds a `String`
/// in each call is refused here: the compiler would suggest to borrow it, which does not work
/// either.
pub(crate) fn scope(input: ParseStream<'_>) -> Result<Expr> {
    let value = expression(input)?;
    if let Expr::Lit(literal) = &value
        && !matches!(literal.lit, Lit::Str(_))
    {
        return Err(Error::new_spanned(literal, ONE_NAME));
    }
    Ok(value)
}

/// Refuses expressions that are visibly not `&'static str`, and literals with placeholders.
pub(crate) fn refuse(options: &Options, signature: &Signature) -> Result<()> {
    let Some(Given { value, .. }) = &options.scope else {
        return Ok(());
    };
    let Some(names) = differs(value, signature) else {
        return Ok(());
    };
    let instead = match &*names {
        [] => {
            "what differs from call to call belongs in the key: `key = (tenant, order)`".to_owned()
        }
        [name] => {
            format!("what differs from call to call belongs in the key: `key = ({name}, …)`")
        }
        names => format!(
            "what differs from call to call belongs in the key: `key = ({}, …)`",
            names.join(", ")
        ),
    };
    Err(Error::new_spanned(value, format!("{ONE_NAME}; {instead}")))
}

/// The names of the arguments that a scope is built from, if it differs from call to call. `None`
/// if nothing suggests that.
fn differs(value: &Expr, signature: &Signature) -> Option<Vec<String>> {
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => {
                let mut names = placeholders(&text.value());
                names.retain(|name| argument(name, signature).is_some());
                (!names.is_empty()).then_some(names)
            }
            _ => None,
        },
        Expr::Macro(of) if of.mac.path.segments.last()?.ident == "format" => {
            let arguments = Punctuated::<Expr, Token![,]>::parse_terminated;
            let arguments = arguments.parse2(of.mac.tokens.clone()).ok()?;
            let inside = arguments.iter().flat_map(|argument| match argument {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => placeholders(&text.value()),
                    _ => Vec::new(),
                },
                other => vec![other.to_token_stream().to_string()],
            });
            Some(
                inside
                    .filter(|name| argument(name, signature).is_some())
                    .collect(),
            )
        }
        Expr::Path(path) => {
            let name = path.path.get_ident()?.to_string();
            let ty = argument(&name, signature)?;
            is_no_static_text(ty).then(|| vec![name])
        }
        Expr::Reference(inner) => differs(&inner.expr, signature),
        Expr::Paren(inner) => differs(&inner.expr, signature),
        Expr::Group(inner) => differs(&inner.expr, signature),
        // A new string, whatever it is made from. `leak` makes it `'static`.
        Expr::MethodCall(call) if is_conversion(&call.method) => {
            let inner = differs(&call.receiver, signature);
            let makes = call.method == "to_string" || call.method == "to_owned";
            inner.or_else(|| makes.then(|| name_of(&call.receiver, signature)))
        }
        Expr::Call(call) => match &*call.func {
            Expr::Path(path) => {
                let mut of = path.path.segments.iter().rev().skip(1);
                let first = call.args.first()?;
                (of.next()?.ident == "String").then(|| name_of(first, signature))
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_conversion(method: &Ident) -> bool {
    [
        "to_string",
        "to_owned",
        "as_str",
        "as_ref",
        "clone",
        "into",
        "deref",
    ]
    .iter()
    .any(|name| method == name)
}

/// The argument that the expression names, if it names one.
fn name_of(value: &Expr, signature: &Signature) -> Vec<String> {
    let name = value.to_token_stream().to_string();
    argument(&name, signature)
        .map(|_| name)
        .into_iter()
        .collect()
}

/// The type of the argument with this name.
fn argument<'a>(name: &str, signature: &'a Signature) -> Option<&'a Type> {
    signature.inputs.iter().find_map(|argument| match argument {
        FnArg::Typed(typed) => match &*typed.pat {
            Pat::Ident(ident) if ident.ident == name => Some(&*typed.ty),
            _ => None,
        },
        FnArg::Receiver(_) => None,
    })
}

/// Whether a value of this type is certainly not a `&'static str`.
fn is_no_static_text(ty: &Type) -> bool {
    const OTHERS: &[&str] = &[
        "String", "Uuid", "bool", "char", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16",
        "i32", "i64", "i128", "isize", "f32", "f64",
    ];
    match bare(ty) {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| OTHERS.iter().any(|name| last.ident == name)),
        Type::Reference(_) => borrows(ty),
        _ => false,
    }
}
