//! Refuses keys and fingerprints that are the same for every call.

use std::collections::HashSet;

use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Error, Expr, FnArg, Ident, Lit, PatIdent, Result, Signature, Stmt, Token, UnOp};

use crate::options::{Given, Options, Parts};

/// Refuses a key or a fingerprint made of literals only.
pub(crate) fn refuse(options: &Options, signature: &Signature) -> Result<()> {
    let why = "so each call would get the first one's result";
    refuse_in(options.key.as_ref(), "key", why, signature)?;
    let why = "so it would tell no call from another";
    refuse_in(options.fingerprint.as_ref(), "fingerprint", why, signature)
}

fn refuse_in(
    option: Option<&Given<Parts>>,
    name: &str,
    why: &str,
    signature: &Signature,
) -> Result<()> {
    let Some(Given { value, .. }) = option else {
        return Ok(());
    };
    if !value.elements.iter().all(is_constant) {
        return Ok(());
    }
    let arguments = Arguments::of(signature);
    let meant = value
        .elements
        .iter()
        .find_map(|part| arguments.meant_by(part));
    let instead = match meant {
        Some(Meant::Argument(argument)) => format!("write `{name} = {argument}`, without quotes"),
        Some(Meant::Braces(parts)) => format!(
            "braces mean nothing in it; write `{name} = {}`",
            as_parts(&parts)
        ),
        None => {
            let example = arguments.first.as_deref().unwrap_or("order_id");
            format!("name an argument, as in `{name} = {example}`")
        }
    };
    let message = format!(
        "this {name} is the same in every call, {why}: {instead}. (If that is meant, name it: `const ONE: &str = …;` and \
         `{name} = ONE`)"
    );
    let at = match &*value.elements {
        [one] => one.to_token_stream(),
        all => all.iter().map(ToTokens::to_token_stream).collect(),
    };
    Err(Error::new_spanned(at, message))
}

fn as_parts(parts: &[String]) -> String {
    match parts {
        [one] => one.clone(),
        parts => format!("({})", parts.join(", ")),
    }
}

/// Whether the expression consists of literals only.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(_) => true,
        Expr::Group(inner) => is_constant(&inner.expr),
        Expr::Paren(inner) => is_constant(&inner.expr),
        Expr::Reference(inner) => is_constant(&inner.expr),
        Expr::Cast(inner) => is_constant(&inner.expr),
        Expr::Unary(inner) => !matches!(inner.op, UnOp::Deref(_)) && is_constant(&inner.expr),
        Expr::Binary(both) => is_constant(&both.left) && is_constant(&both.right),
        Expr::Tuple(tuple) => tuple.elems.iter().all(is_constant),
        Expr::Array(array) => array.elems.iter().all(is_constant),
        Expr::Repeat(repeat) => is_constant(&repeat.expr),
        Expr::Block(block) if block.label.is_none() => {
            matches!(&*block.block.stmts, [Stmt::Expr(tail, None)] if is_constant(tail))
        }
        // `"order".to_string()`
        Expr::MethodCall(call) => {
            let converts = [
                "to_string",
                "to_owned",
                "into",
                "clone",
                "as_str",
                "as_bytes",
            ];
            converts.iter().any(|name| call.method == name) && is_constant(&call.receiver)
        }
        Expr::Macro(of) => is_constant_macro(&of.mac),
        _ => false,
    }
}

/// `concat!("a", 1)`, `stringify!(…)`, and `format!("a")` without arguments.
fn is_constant_macro(of: &syn::Macro) -> bool {
    let Some(name) = of.path.segments.last().map(|last| last.ident.to_string()) else {
        return false;
    };
    let arguments = Punctuated::<Expr, Token![,]>::parse_terminated;
    match name.as_str() {
        "stringify" => true,
        "concat" | "format" | "format_args" => {
            let Ok(arguments) = arguments.parse2(of.tokens.clone()) else {
                return false;
            };
            let puts_in =
                |text: &str| name != "concat" && placeholders(text).iter().any(|of| is_name(of));
            arguments.iter().all(is_constant)
                && !arguments
                    .iter()
                    .any(|argument| text(argument).is_some_and(|text| puts_in(&text)))
        }
        _ => false,
    }
}

/// Whether a placeholder names a variable in scope (`{order}`), and not an argument after the
/// format string (`{}`, `{0}`).
fn is_name(placeholder: &str) -> bool {
    placeholder.starts_with(|first: char| first == '_' || first.is_alphabetic())
}

/// The text of a literal, whatever calls and macros are around it.
fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            Lit::ByteStr(text) => String::from_utf8(text.value()).ok(),
            Lit::CStr(text) => text.value().into_string().ok(),
            _ => None,
        },
        Expr::Group(inner) => text(&inner.expr),
        Expr::Paren(inner) => text(&inner.expr),
        Expr::Reference(inner) => text(&inner.expr),
        Expr::MethodCall(call) => text(&call.receiver),
        Expr::Tuple(tuple) => tuple.elems.iter().find_map(text),
        Expr::Block(block) => block
            .block
            .stmts
            .iter()
            .find_map(|statement| match statement {
                Stmt::Expr(tail, None) => text(tail),
                _ => None,
            }),
        Expr::Macro(of) if of.mac.path.is_ident("stringify") => Some(of.mac.tokens.to_string()),
        Expr::Macro(of) => {
            let arguments = Punctuated::<Expr, Token![,]>::parse_terminated;
            arguments
                .parse2(of.mac.tokens.clone())
                .ok()?
                .iter()
                .find_map(text)
        }
        _ => None,
    }
}

/// The contents of the braces in a format string, up to a `:`. `{{` is an escaped brace.
pub(crate) fn placeholders(text: &str) -> Vec<String> {
    let text = text.replace("{{", "").replace("}}", "");
    let behind_braces = text.split('{').skip(1);
    let inside = behind_braces.filter_map(|rest| Some(rest.split_once('}')?.0));
    inside
        .map(|inside| {
            inside
                .split(':')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .collect()
}

/// What the user probably meant by a literal.
enum Meant {
    /// `"order"`, `"order.id"`, `"#order"`.
    Argument(String),
    /// `"{user}:{id}"`.
    Braces(Vec<String>),
}

/// The names that a key can be made of.
struct Arguments {
    names: HashSet<String>,
    /// One name to show in the error.
    first: Option<String>,
}

impl Arguments {
    fn of(signature: &Signature) -> Self {
        struct Named(Vec<String>);

        impl<'ast> Visit<'ast> for Named {
            fn visit_pat_ident(&mut self, ident: &'ast PatIdent) {
                self.0.push(ident.ident.unraw().to_string());
                visit::visit_pat_ident(self, ident);
            }
        }

        let mut named = Named(Vec::new());
        for argument in &signature.inputs {
            match argument {
                FnArg::Receiver(_) => named.0.push("self".to_owned()),
                FnArg::Typed(typed) => named.visit_pat(&typed.pat),
            }
        }
        let mut named = named.0;
        let first = named.iter().find(|name| *name != "self").cloned();
        Self {
            names: named.drain(..).collect(),
            first,
        }
    }

    fn meant_by(&self, part: &Expr) -> Option<Meant> {
        let text = text(part)?;
        let placeholders = placeholders(&text);
        if !placeholders.is_empty() {
            let named = placeholders
                .iter()
                .filter(|of| self.names_argument(of))
                .cloned();
            let named: Vec<_> = named.collect();
            return Some(Meant::Braces(if named.is_empty() {
                vec!["…".to_owned()]
            } else {
                named
            }));
        }
        // Other languages mark an expression with one of these.
        let bare = text.trim().trim_start_matches(['#', '$', ':', '@']);
        self.names_argument(bare)
            .then(|| Meant::Argument(bare.to_owned()))
    }

    /// Whether `text` is an argument, or a field or method of one.
    fn names_argument(&self, text: &str) -> bool {
        fn root(expr: &Expr) -> Option<&Ident> {
            match expr {
                Expr::Path(path) => path.path.get_ident(),
                Expr::Field(field) => root(&field.base),
                Expr::MethodCall(call) => root(&call.receiver),
                Expr::Index(index) => root(&index.expr),
                _ => None,
            }
        }

        let expr = syn::parse_str::<Expr>(text).ok();
        expr.as_ref()
            .and_then(root)
            .is_some_and(|root| self.names.contains(&root.unraw().to_string()))
    }
}

#[cfg(test)]
mod tests {
    fn is_refused(options: &str) -> bool {
        let item = "async fn charge(order: String, id: u64) -> Result<(), Error> { Ok(()) }";
        let expanded = crate::annotate(options.parse().unwrap(), item.parse().unwrap());
        expanded.to_string().contains("is the same in every call")
    }

    #[test]
    fn what_only_contains_a_literal_is_no_literal() {
        for key in [
            "ORDER",
            "order",
            "(\"charge\", order)",
            "format!(\"{order}\")",
            "format!(\"{order:?} {{}}\")",
            "format!(\"{}\", order)",
            "&order",
            "id + 1",
            "-(id as i64)",
            "lookup(\"order\")",
            "order.strip_prefix(\"o\").unwrap_or(\"o\")",
            "\"order\".tenant(id)",
            "{ let order = 1; order }",
            "if id > 1 { \"many\" } else { \"one\" }",
            "const { \"order\" }",
            "my_key!(\"order\")",
        ] {
            assert!(!is_refused(&format!("key = {key}")), "{key}");
            assert!(
                !is_refused(&format!("key = id, fingerprint = {key}")),
                "{key}"
            );
        }
        assert!(!is_refused("scope = \"order\", key = id"));
    }

    #[test]
    fn nothing_but_literals_is_refused_in_any_dress() {
        for key in [
            "\"order\"",
            "1",
            "-1",
            "1.5",
            "true",
            "!true",
            "'o'",
            "b\"o\"",
            "c\"o\"",
            "b'o'",
            "r#\"o\"#",
            "&\"o\"",
            "&&1",
            "(\"o\")",
            "{ \"o\" }",
            "1 + 2",
            "1 as u8",
            "(\"a\", 1)",
            "((\"a\", 1), 2)",
            "concat!(\"a\", 1)",
            "stringify!(order)",
            "std::stringify!(order)",
            "format!(\"order\")",
            "format!(\"{}\", \"order\")",
            "format!(\"{{order}}\")",
            "\"o\".to_string()",
            "\"o\".to_owned()",
        ] {
            assert!(is_refused(&format!("key = {key}")), "{key}");
            assert!(
                is_refused(&format!("key = id, fingerprint = {key}")),
                "{key}"
            );
        }
    }
}
