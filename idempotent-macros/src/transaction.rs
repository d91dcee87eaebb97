//! `in_tx`: the body in its caller's own transaction.
//!
//! ```text
//! Input:
//!     #[idempotent(scope = "orders.place", key = order.id, in_tx = tx)]
//!     async fn place(tx: &mut PgConnection, order: Order) -> Result<Placed, PlaceError> { BODY }
//!
//! Output, after `let __operation = …;`:
//!     let __begun = __operation.begin(&mut *tx).await;
//!     match __begun {
//!         ::idempotent_fn::tx::Begun::Answered(__result) => return __result,
//!         ::idempotent_fn::tx::Begun::Running(__running) => {
//!             let __result = __running
//!                 .body(async {
//!                     let tx = &mut *tx;
//!                     …
//!                     { BODY }
//!                 })
//!                 .await;
//!             return __running.finish(&mut *tx, __result).await;
//!         }
//!     }
//! ```
//!
//! `let __begun` stands alone so that what gives the connection, a guard say, is gone before the body.
//! The block is not `move`, so it borrows the connection, and only while it runs. The body has a
//! connection of its own by that name, which it may move.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Expr, FnArg, Ident, Pat, Result, Signature, Type};

use crate::arguments::names;
use crate::function::Function;
use crate::types::bare;

/// The connection that the caller's transaction is on.
pub(crate) struct Transaction {
    /// A `&mut` of it.
    connection: TokenStream,
    site: Span,
    /// Its name, where it is a variable.
    name: Option<Ident>,
}

impl Transaction {
    pub(crate) fn of(value: &Expr, function: &Function) -> Result<Self> {
        if function.boxed.is_some() && starts_with_self(value) {
            return Err(Error::new_spanned(
                value,
                "the body takes `self`, and the connection is needed after it: take the connection as an argument, \
                 `tx: &mut …`, and write `in_tx = tx`",
            ));
        }
        // One span wherever it is written: what is wrong with its type is then one error.
        let site = Span::mixed_site().located_at(value.span());
        if let Expr::Reference(_) = value {
            return Ok(Self {
                connection: located_at(value.to_token_stream(), site),
                site,
                name: None,
            });
        }
        let name = match value {
            Expr::Path(path) => path.path.get_ident(),
            _ => None,
        };
        if let Some(name) = name {
            check_argument(name, &function.signature)?;
        }
        let value = located_at(value.to_token_stream(), site);
        Ok(Self {
            connection: quote_spanned!(site=> &mut *#value),
            site,
            name: name.filter(|name| *name != "self").cloned(),
        })
    }

    /// `let tx = &mut *tx;`, if the body names it.
    pub(crate) fn shadow(&self, body: &TokenStream) -> TokenStream {
        let Self {
            connection, name, ..
        } = self;
        match name {
            Some(name) if names(body, name) => {
                quote_spanned!(Span::mixed_site()=> let #name = #connection;)
            }
            _ => TokenStream::new(),
        }
    }

    /// The call, in which `body` is a block.
    pub(crate) fn call(&self, body: &TokenTree, facade: &TokenStream, site: Span) -> TokenStream {
        let Self { connection, .. } = self;
        // At the connection: so a wrong type of it is one error, and there.
        let begin = quote_spanned!(self.site=> __operation.begin(#connection).await);
        let finish = quote_spanned!(self.site=> __running.finish(#connection, __result).await);
        quote_spanned! {site=>
            let __begun = #begin;
            match __begun {
                #facade::tx::Begun::Answered(__result) => return __result,
                #facade::tx::Begun::Running(__running) => {
                    let __result = __running.body(async #body).await;
                    return #finish;
                }
            }
        }
    }
}

/// The tokens, as if all of them were written at one place; they mean what they meant.
fn located_at(tokens: TokenStream, site: Span) -> TokenStream {
    let relocate = |mut token: TokenTree| {
        if let TokenTree::Group(group) = &token {
            token = Group::new(group.delimiter(), located_at(group.stream(), site)).into();
        }
        // Only names have a meaning that depends on where they come from.
        let at = match &token {
            TokenTree::Ident(name) => name.span().located_at(site),
            _ => site,
        };
        token.set_span(at);
        token
    };
    tokens.into_iter().map(relocate).collect()
}

/// An argument that is named alone must be a `&mut`.
fn check_argument(name: &Ident, signature: &Signature) -> Result<()> {
    let argument = signature.inputs.iter().find_map(|input| match input {
        FnArg::Typed(typed) => match &*typed.pat {
            Pat::Ident(pattern) if pattern.ident == *name => Some(typed),
            _ => None,
        },
        FnArg::Receiver(_) => None,
    });
    let Some(argument) = argument else {
        return Ok(());
    };
    let message = match bare(&argument.ty) {
        Type::Reference(reference) if reference.mutability.is_some() => return Ok(()),
        Type::Reference(_) => format!(
            "the record is written by the connection that has begun the transaction, and by no other: take it as \
             `{name}: &mut …` (a pool or a shared client gives each statement a transaction of its own)"
        ),
        _ => format!(
            "take `{name}: &mut …`: the caller has begun the transaction, and commits it. (Where the type is a name for a \
             `&mut`, write `in_tx = &mut *{name}`)"
        ),
    };
    Err(Error::new_spanned(&argument.ty, message))
}

fn starts_with_self(value: &Expr) -> bool {
    match value {
        Expr::Path(path) => path.path.is_ident("self"),
        Expr::Field(field) => starts_with_self(&field.base),
        Expr::MethodCall(call) => starts_with_self(&call.receiver),
        Expr::Unary(unary) => starts_with_self(&unary.expr),
        Expr::Reference(reference) => starts_with_self(&reference.expr),
        _ => false,
    }
}
