//! Prints the expansion: the operation that replaces the function's body.
//!
//! ```text
//! Input:
//!     #[idempotent(scope = "payments.charge", key = order_id, ttl = "1h")]
//!     async fn charge(order_id: OrderId, amount: u64) -> Result<Receipt, PaymentError> {
//!         BODY
//!     }
//!
//! Output:
//!     async fn charge(order_id: OrderId, amount: u64) -> Result<Receipt, PaymentError> {
//!         let __operation = ::idempotent_fn::operation::<Result<Receipt, PaymentError>, _>("payments.charge", &[&order_id])
//!             .unique_scope()
//!             .ttl(::core::time::Duration::from_secs(3_600));
//!         return __operation
//!             .run(async move {
//!                 if let Some(__result) = None::<Result<Receipt, PaymentError>> {
//!                     return __result;
//!                 }
//!                 { BODY }
//!             })
//!             .await;
//!     }
//! ```
//!
//! `let __operation` stands alone so that the temporaries of the key are gone before the first
//! `.await`. The `if let` never runs: it tells the compiler the block's type, so that `?`, `return`
//! and coercions mean what they mean in a function. `return` is for crates that deny clippy's
//! `implicit_return`: it looks at the function's last expression, and that is ours.
//!
//! Every name is at `mixed_site`: the user's code does not see `__operation` or `__result`. That
//! hides variables from each other, but not from items: a variable cannot have the name of a
//! `const`, a `static` or a unit struct that is in scope, and no span of stable Rust hides those.
//! So every variable of the expansion begins with `__`.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, ExprUnary, Ident, Result, Type, UnOp};

use crate::arguments::{Arguments, use_taken};
use crate::function::Function;
use crate::literal;
use crate::options::{Given, Options, Parts};
use crate::parts::{by_reference, evaluate};
use crate::policy::{OnErr, Policy};
use crate::scope;
use crate::transaction::Transaction;
use crate::types::within_the_call;

pub(crate) fn expand(options: &Options, function: &Function) -> Result<TokenStream> {
    let site = Span::mixed_site();
    let key = options.key()?;
    literal::refuse(options, &function.signature)?;
    scope::refuse(options, &function.signature)?;
    let mut signature = function.signature.clone();
    let call = if function.boxed.is_some() {
        let body = use_taken(function.body.clone(), &options.tokens);
        let call = call(options, key, function, body, &TokenStream::new())?;
        quote_spanned!(site=> return ::std::boxed::Box::pin(async move { #call });)
    } else if options.in_tx.is_some() {
        // The block borrows: the arguments stay where they are.
        call(
            options,
            key,
            function,
            function.body.clone(),
            &TokenStream::new(),
        )?
    } else {
        let arguments = Arguments::of(&signature, options.detached(), &options.tokens)?;
        signature.inputs = arguments.inputs;
        let body = function.body.clone();
        call(options, key, function, body, &arguments.moved)?
    };
    let Function {
        attributes,
        visibility,
        defaultness,
        inner_attributes,
        braces,
        ..
    } = function;
    // With the user's own braces. Otherwise a function whose body is one macro call would be
    // reported as dead code.
    let mut block = Group::new(
        Delimiter::Brace,
        quote_spanned!(site=> #(#inner_attributes)* #call),
    );
    block.set_span(*braces);
    Ok(quote_spanned! {site=>
        #(#attributes)* #visibility #defaultness #signature #block
    })
}

/// `let __operation = …; return __operation.run(async move { … }).await;`, or what `in_tx` makes
/// of it.
fn call(
    options: &Options,
    key: &Parts,
    function: &Function,
    body: TokenStream,
    moved: &TokenStream,
) -> Result<TokenStream> {
    let site = at_result(function);
    let operation = operation(options, key, function);
    if let Some(in_tx) = &options.in_tx {
        let transaction = Transaction::of(&in_tx.value, function)?;
        let shadow = transaction.shadow(&body);
        let boxed = function.boxed.as_ref().map(within_the_call);
        let body = typed(function, boxed.as_ref(), body, &shadow);
        let call = transaction.call(&body, &facade(options, site), site);
        return Ok(quote_spanned!(site=> let __operation = #operation; #call));
    }
    let body = typed(function, function.boxed.as_ref(), body, moved);
    let run = if options.detached() {
        "run"
    } else {
        "run_attached"
    };
    let run = Ident::new(run, site);
    Ok(quote_spanned! {site=>
        let __operation = #operation;
        return __operation.#run(async move #body).await;
    })
}

/// Where the facade is found.
fn facade(options: &Options, site: Span) -> TokenStream {
    options.facade.as_ref().map_or_else(
        || quote_spanned!(site=> ::idempotent_fn),
        |facade| facade.value.to_token_stream(),
    )
}

/// The user's body, once, in a block that has a known type, after the statements that give it its
/// arguments.
fn typed(
    function: &Function,
    boxed: Option<&Type>,
    body: TokenStream,
    moved: &TokenStream,
) -> TokenTree {
    let site = Span::mixed_site();
    let user = users_block(body, function.braces);
    let result = &function.result;
    let typed = match boxed {
        None => quote_spanned! {site=>
            #moved
            if let ::core::option::Option::Some(__result) = ::core::option::Option::None::<#result> {
                return __result;
            }
            #user
        },
        // In a closure, because the body may `return` its future early.
        Some(boxed) => quote_spanned! {site=>
            #moved
            let __body = move || -> #boxed { #user };
            __body().await
        },
    };
    block(typed, function.braces)
}

/// All tokens of the call get the span of the declared result type. So a missing bound is one
/// error, at that type.
fn at_result(function: &Function) -> Span {
    Span::mixed_site().located_at(function.result.span())
}

/// The user's block, with the user's braces: clippy looks for `println!`, `todo!` or an `assert!`
/// that is always true only in blocks that no macro wrote. On one line those braces would be
/// reported as unused.
fn users_block(body: TokenStream, braces: Span) -> TokenTree {
    if is_on_one_line(braces) {
        return block(body, braces);
    }
    let mut group = Group::new(Delimiter::Brace, body);
    group.set_span(braces);
    group.into()
}

/// Tests of the expansion have no lines.
fn is_on_one_line(span: Span) -> bool {
    proc_macro::is_available() && {
        let span = span.unwrap();
        span.start().line() == span.end().line()
    }
}

/// A block whose braces do not have the user's span, so that no lint is reported for them.
fn block(tokens: TokenStream, braces: Span) -> TokenTree {
    let mut group = Group::new(Delimiter::Brace, tokens);
    group.set_span(Span::mixed_site().located_at(braces));
    group.into()
}

/// The expression that builds the operation: scope, key and one method for each option.
fn operation(options: &Options, key: &Parts, function: &Function) -> TokenStream {
    let site = at_result(function);
    let facade = facade(options, site);
    let result = at_call(function.result.to_token_stream(), site);
    let start = match &options.codec {
        None => quote_spanned!(site=> operation::<#result, _>),
        Some(Given { value: codec, .. }) => {
            quote_spanned!(site=> operation_with_codec::<#result, #codec>)
        }
    };
    let scope = options.scope.as_ref().map_or_else(
        || default_scope(&function.signature.ident),
        |scope| scope.value.to_token_stream(),
    );
    let (bindings, key, fingerprint) = evaluate(options, key, &facade);
    let chain = chain(options, &facade);
    let operation =
        quote_spanned!(site=> #facade::#start(#scope, #key).unique_scope() #fingerprint #chain);
    if bindings.is_empty() {
        operation
    } else {
        quote_spanned!(site=> { #bindings #operation })
    }
}

/// The result type as a type argument, with the span of the call. So a type that is not a `Result`
/// is one error, and not a second one at the call.
fn at_call(result: TokenStream, site: Span) -> TokenStream {
    let relocate = |mut token: TokenTree| {
        match &token {
            TokenTree::Group(group) => {
                token = Group::new(group.delimiter(), at_call(group.stream(), site)).into();
                token.set_span(site);
            }
            // `$crate` is resolved by its own span.
            TokenTree::Ident(ident) if ident == "$crate" => {}
            _ => token.set_span(site),
        }
        token
    };
    result.into_iter().map(relocate).collect()
}

fn default_scope(function: &Ident) -> TokenStream {
    let name = format!("::{}", function.unraw());
    quote_spanned!(Span::mixed_site()=> ::core::concat!(::core::module_path!(), #name))
}

/// One builder method for each option that was given. The method has the span of the option's name,
/// so an editor shows its documentation there.
fn chain(options: &Options, facade: &TokenStream) -> TokenStream {
    let mut chain = TokenStream::new();
    let mut call = |method: &str, at: &Ident, argument: TokenStream| {
        let site = Span::mixed_site();
        let method = Ident::new(method, site.located_at(at.span()));
        chain.extend(quote_spanned!(site=> .#method(#argument)));
    };
    for (method, option) in [
        ("ttl", &options.ttl),
        ("lease", &options.lease),
        ("wait", &options.wait),
        ("timeout", &options.timeout),
    ] {
        if let Some(Given { name, value }) = option {
            let by_result = method == "ttl" && matches!(value, Expr::Closure(_));
            let method = if by_result { "ttl_with" } else { method };
            call(method, name, value.to_token_stream());
        }
    }
    if let Some(Given { name, value }) = &options.on_err {
        match value {
            OnErr::Always(Policy::Record) => call("record_err", name, TokenStream::new()),
            OnErr::Always(policy) => call("on_err", name, variant(facade, "OnErr", *policy)),
            OnErr::Decide(decide) => call("on_err_with", name, decide.to_token_stream()),
        }
    }
    if let Some(Given { name, value }) = &options.on_crash {
        call("on_crash", name, variant(facade, "OnCrash", *value));
    }
    if let Some(Given { name, value }) = &options.store {
        call("store", name, shared(value));
    }
    if let Some(Given { name, value }) = &options.map_err {
        call("map_err", name, value.to_token_stream());
    }
    chain
}

/// A variable, field or `static` is passed by reference. Any other expression is passed by value.
fn shared(store: &Expr) -> TokenStream {
    match store {
        Expr::Path(_)
        | Expr::Field(_)
        | Expr::Index(_)
        | Expr::Unary(ExprUnary {
            op: UnOp::Deref(_), ..
        }) => by_reference(store),
        _ => store.to_token_stream(),
    }
}

fn variant(facade: &TokenStream, of: &str, policy: Policy) -> TokenStream {
    let site = Span::mixed_site();
    let variant = match policy {
        Policy::Rerun => "Rerun",
        Policy::Record => "Record",
        Policy::Fail => "Fail",
    };
    let (of, variant) = (Ident::new(of, site), Ident::new(variant, site));
    quote_spanned!(site=> #facade::#of::#variant)
}
