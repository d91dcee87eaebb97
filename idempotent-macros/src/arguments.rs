//! Moves the arguments into the body.
//!
//! A plain `async fn` keeps every argument until it ends, also those that the body does not name: a
//! permit, a guard, the rest of a pattern. An `async move` block captures only the variables that
//! it names, and of a struct only the fields that it names. So the body begins with
//!
//! ```text
//! let (order, mut amount, __argument_0) = (order, amount, __argument_0);
//! ```
//!
//! This moves all arguments in. They are dropped in the order in which a plain `async fn` drops
//! them.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Error, FnArg, Member, Pat, PatIdent, PatParen, ReceiverKind, Result, Signature,
    Token, punctuated::Punctuated, token,
};

const BY_NAME: &str = "take the argument by name, and take it apart in the body";

/// How the signature is written, and the statements at the start of the body.
pub(crate) struct Arguments {
    pub(crate) inputs: Punctuated<FnArg, Token![,]>,
    pub(crate) moved: TokenStream,
}

impl Arguments {
    /// `options` are the attribute's tokens. An argument that they name counts as used, even if the
    /// body does not name it.
    pub(crate) fn of(signature: &Signature, detached: bool, options: &TokenStream) -> Result<Self> {
        let mut inputs = signature.inputs.clone();
        let mut bindings = Bindings {
            detached,
            options,
            unnamed: 0,
            found: Vec::new(),
        };
        let mut used = Vec::new();
        for input in &mut inputs {
            match input {
                // `self` cannot be bound again. Naming it moves it as a whole, and it is dropped
                // last.
                FnArg::Receiver(receiver) => {
                    let is_owned = !matches!(receiver.kind, ReceiverKind::Reference(..));
                    if is_owned && receiver.attrs.is_empty() {
                        used.push(receiver.self_token.to_token_stream());
                    }
                }
                FnArg::Typed(typed) => {
                    let (inner, outer) = typed.attrs.drain(..).partition(is_lint);
                    typed.attrs = outer;
                    let mut attributes: Vec<Attribute> = inner;
                    attributes.extend(typed.attrs.iter().filter(|of| is_cfg(of)).cloned());
                    bindings.argument(&mut typed.pat, &attributes)?;
                }
            }
        }
        let named = bindings.found.iter();
        let named = named.filter(|binding| names(options, &binding.ident));
        let (plain, configured): (Vec<_>, Vec<_>) =
            named.partition(|binding| binding.attributes.is_empty());
        used.extend(plain.iter().map(|binding| binding.ident.to_token_stream()));
        let mut moved = statements(&bindings.found);
        moved.extend(use_of(&[], &used));
        for binding in configured {
            moved.extend(use_of(&binding.attributes, &[&binding.ident]));
        }
        Ok(Self { inputs, moved })
    }
}

/// A variable of the signature that is moved into the body.
struct Binding {
    attributes: Vec<Attribute>,
    mutability: Option<Token![mut]>,
    ident: Ident,
    /// Its name in the signature.
    taken: Ident,
}

struct Bindings<'a> {
    detached: bool,
    options: &'a TokenStream,
    /// How many unnamed parts have been given a name.
    unnamed: usize,
    found: Vec<Binding>,
}

impl Bindings<'_> {
    /// Unnamed parts of the pattern are declared first, in reverse order. So they are dropped after
    /// the named ones, and in the order in which a pattern drops what it leaves in its argument.
    fn argument(&mut self, pattern: &mut Pat, attributes: &[Attribute]) -> Result<()> {
        let mut parts = Parts::default();
        self.pattern(pattern, attributes, &mut parts)?;
        self.found.extend(parts.unnamed.into_iter().rev());
        self.found.extend(parts.named);
        Ok(())
    }

    fn pattern(
        &mut self,
        pattern: &mut Pat,
        attributes: &[Attribute],
        parts: &mut Parts,
    ) -> Result<()> {
        match pattern {
            Pat::Ident(ident) => self.named(ident, attributes, parts)?,
            Pat::Wild(wild) => {
                let name = self.unnamed(wild.underscore_token.span, attributes, parts);
                // In parentheses, so that `#[tracing::instrument]` does not record it as an
                // argument of the user's.
                *pattern = parenthesized(name);
            }
            Pat::Rest(rest) => return self.rest(rest.dot2_token.to_token_stream()),
            Pat::Slice(slice) => {
                for element in &mut slice.elems {
                    if let Pat::Rest(rest) = element {
                        let mut name = self.unnamed(rest.span(), attributes, parts);
                        let at = Token![@](rest.span());
                        name.subpat = Some((at, Box::new(Pat::Rest(rest.clone()))));
                        *element = Pat::Ident(name);
                    } else {
                        self.pattern(element, attributes, parts)?;
                    }
                }
            }
            Pat::Struct(of) => {
                for field in &mut of.fields {
                    let mut attributes = attributes.to_vec();
                    attributes.extend(field.attrs.iter().filter(|of| is_cfg(of)).cloned());
                    self.pattern(&mut field.pat, &attributes, parts)?;
                    // The field keeps its name if the variable has another one.
                    if let (None, Member::Named(name)) = (field.colon_token, &field.member)
                        && self.renames(name)
                    {
                        field.colon_token = Some(Token![:](name.span()));
                    }
                }
                if let Some(rest) = &of.rest {
                    return self.rest(rest.dot2_token.to_token_stream());
                }
            }
            Pat::Tuple(tuple) => {
                for element in &mut tuple.elems {
                    self.pattern(element, attributes, parts)?;
                }
            }
            Pat::TupleStruct(tuple) => {
                for element in &mut tuple.elems {
                    self.pattern(element, attributes, parts)?;
                }
            }
            Pat::Paren(inner) => self.pattern(&mut inner.pat, attributes, parts)?,
            // A pattern behind a reference moves nothing, and the rest of an or-pattern has no
            // name.
            Pat::Reference(_) | Pat::Or(_) => named_only(pattern, attributes, parts),
            _ => {}
        }
        Ok(())
    }

    fn named(
        &self,
        ident: &mut PatIdent,
        attributes: &[Attribute],
        parts: &mut Parts,
    ) -> Result<()> {
        if let (Some(by_ref), true) = (&ident.by_ref, self.detached) {
            let message =
                format!("the body owns its arguments, so none can be borrowed here: {BY_NAME}");
            return Err(Error::new_spanned(by_ref, message));
        }
        let name = ident.ident.clone();
        if self.renames(&name) {
            ident
                .ident
                .set_span(Span::mixed_site().located_at(name.span()));
        }
        parts.named.push(Binding {
            attributes: attributes.to_vec(),
            mutability: ident.mutability.take(),
            taken: ident.ident.clone(),
            ident: name,
        });
        if let Some((_, inner)) = &mut ident.subpat {
            named_only(inner, attributes, parts);
        }
        Ok(())
    }

    /// Taking `_permit` with the user's own tokens would count as using a variable that is marked
    /// unused.
    fn renames(&self, variable: &Ident) -> bool {
        variable.to_string().starts_with('_') && !names(self.options, variable)
    }

    fn unnamed(&mut self, at: Span, attributes: &[Attribute], parts: &mut Parts) -> PatIdent {
        let span = Span::mixed_site().located_at(at);
        let ident = format_ident!("__argument_{}", self.unnamed, span = span);
        self.unnamed += 1;
        parts.unnamed.push(Binding {
            attributes: attributes.to_vec(),
            mutability: None,
            taken: ident.clone(),
            ident: ident.clone(),
        });
        PatIdent {
            attrs: Vec::new(),
            by_ref: None,
            mutability: None,
            ident,
            subpat: None,
        }
    }

    /// `..` covers parts that have no name and cannot be given one.
    fn rest(&self, dots: TokenStream) -> Result<()> {
        if !self.detached {
            return Ok(());
        }
        let message = format!(
            "the body owns its arguments until it ends, and what `..` leaves cannot be moved into it: {BY_NAME}"
        );
        Err(Error::new_spanned(dots, message))
    }
}

#[derive(Default)]
struct Parts {
    unnamed: Vec<Binding>,
    named: Vec<Binding>,
}

/// The variables of a pattern that leaves nothing in its argument.
fn named_only(pattern: &mut Pat, attributes: &[Attribute], parts: &mut Parts) {
    struct Named<'a>(&'a [Attribute], &'a mut Parts);

    impl VisitMut for Named<'_> {
        fn visit_pat_ident_mut(&mut self, ident: &mut PatIdent) {
            let name = &ident.ident;
            let mutability = ident.mutability.take();
            if !self.1.named.iter().any(|binding| binding.ident == *name) {
                self.1.named.push(Binding {
                    attributes: self.0.to_vec(),
                    mutability,
                    taken: name.clone(),
                    ident: name.clone(),
                });
            }
            visit_mut::visit_pat_ident_mut(self, ident);
        }
    }

    Named(attributes, parts).visit_pat_mut(pattern);
}

fn parenthesized(name: PatIdent) -> Pat {
    Pat::Paren(PatParen {
        attrs: Vec::new(),
        paren_token: token::Paren(name.ident.span()),
        pat: Box::new(Pat::Ident(name)),
    })
}

/// `let (a, mut b) = (a, b);`. Variables with attributes get statements of their own.
fn statements(bindings: &[Binding]) -> TokenStream {
    let site = Span::mixed_site();
    let mut statements = TokenStream::new();
    for group in
        bindings.chunk_by(|left, right| left.attributes.is_empty() && right.attributes.is_empty())
    {
        let taken: Vec<_> = group.iter().map(|binding| &binding.taken).collect();
        let bound = group.iter().map(
            |Binding {
                 mutability, ident, ..
             }| quote_spanned!(site=> #mutability #ident),
        );
        // A tuple even for a single variable: clippy objects to `let a = a;`.
        let attributes = &group[0].attributes;
        statements.extend(if group.len() == 1 {
            quote_spanned!(site=> #(#attributes)* let (#(#bound)*,) = (#(#taken)*,);)
        } else {
            quote_spanned!(site=> let (#(#bound),*) = (#(#taken),*);)
        });
    }
    statements
}

/// `let _ = &a;`
fn use_of(attributes: &[Attribute], used: &[impl ToTokens]) -> TokenStream {
    let site = Span::mixed_site();
    let attributes = attributes.iter().filter(|attribute| is_cfg(attribute));
    match used {
        [] => TokenStream::new(),
        [one] => quote_spanned!(site=> #(#attributes)* let _ = &#one;),
        _ => quote_spanned!(site=> #(#attributes)* let _ = (#(&#used),*);),
    }
}

fn is_cfg(attribute: &Attribute) -> bool {
    let path = attribute.path();
    path.is_ident("cfg") || path.is_ident("cfg_attr")
}

/// Whether the attribute sets a lint level. It is put on the statement that moves the argument,
/// where the lint fires.
fn is_lint(attribute: &Attribute) -> bool {
    let lint = |level| attribute.path().is_ident(level);
    ["allow", "expect", "warn", "deny", "forbid"]
        .into_iter()
        .any(lint)
}

/// Whether the tokens name the variable, also inside a format string. Only a warning depends on it:
/// an argument that only the options name is not unused.
pub(crate) fn names(tokens: &TokenStream, variable: &Ident) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *variable,
        TokenTree::Group(group) => names(&group.stream(), variable),
        TokenTree::Literal(literal) => literal
            .to_string()
            .contains(&format!("{{{}", variable.unraw())),
        TokenTree::Punct(_) => false,
    })
}

/// Adds the same uses after `let order = order;`. `#[async_trait]` leaves these statements in the
/// body, one for each argument.
pub(crate) fn use_taken(body: TokenStream, options: &TokenStream) -> TokenStream {
    let site = Span::mixed_site();
    let mut seen: Vec<TokenTree> = Vec::new();
    let mut used = TokenStream::new();
    for token in body {
        let token = match token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), use_taken(group.stream(), options));
                inner.set_span(group.span());
                inner.into()
            }
            token => token,
        };
        used.extend([token.clone()]);
        let is_end = matches!(&token, TokenTree::Punct(end) if end.as_char() == ';');
        if !is_end {
            seen.push(token);
            continue;
        }
        if let [
            TokenTree::Ident(keyword),
            ..,
            TokenTree::Ident(taken),
            TokenTree::Punct(equals),
            TokenTree::Ident(from),
        ] = &*seen
            && keyword == "let"
            && equals.as_char() == '='
            && taken == from
            && names(options, taken)
        {
            used.extend(quote_spanned!(site=> let _ = &#taken;));
        }
        seen.clear();
    }
    used
}
