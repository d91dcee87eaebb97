//! The annotated function: parses it, and checks that it can be an operation.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, Error, FnArg, GenericParam, ReceiverKind, Result, ReturnType, Safety, Signature,
    Token, Type, Visibility, token,
};

use crate::options::Options;
use crate::policy::{OnErr, Policy};
use crate::types::{
    bare, borrows, boxed_output, has_impl_trait, is_box_without_send, sides, static_reference,
};

/// A function that can be an operation.
pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) defaultness: Option<Token![default]>,
    pub(crate) signature: Signature,
    /// The `#![…]` at the start of the body.
    pub(crate) inner_attributes: Vec<Attribute>,
    /// Not parsed, so that completion works in an editor while the body is being written.
    pub(crate) body: TokenStream,
    pub(crate) braces: Span,
    /// The operation's result type `R`, from `async fn … -> R` or from the boxed future.
    pub(crate) result: Type,
    /// The whole return type, if it is `Pin<Box<dyn Future<Output = R> …>>`. `#[async_trait]`
    /// leaves such functions.
    pub(crate) boxed: Option<Type>,
}

impl Function {
    pub(crate) fn parse(item: TokenStream, options: &Options) -> Result<Self> {
        let function: Self = syn::parse2(item)?;
        function.check_qualifiers()?;
        check_result(&function.result)?;
        check_sides(&function.result, options)?;
        function.check_scope(options)?;
        if options.detached() {
            function.check_owned()?;
        }
        Ok(function)
    }

    fn check_qualifiers(&self) -> Result<()> {
        let signature = &self.signature;
        let refuse = |token: &dyn ToTokens, what| {
            Err(Error::new_spanned(
                token.to_token_stream(),
                format!("an operation cannot be {what}; annotate a plain `async fn`"),
            ))
        };
        match (&signature.constness, &signature.safety, &signature.abi) {
            (Some(token), ..) => refuse(token, "`const`"),
            (_, Safety::Unsafe(token), _) => refuse(token, "`unsafe`"),
            (.., Some(token)) => refuse(token, "`extern`"),
            _ => Ok(()),
        }
    }

    /// Requires a scope where `module::path::function` could name more than one function.
    fn check_scope(&self, options: &Options) -> Result<()> {
        if options.scope.is_some() {
            return Ok(());
        }
        let name = &self.signature.ident;
        let refuse = |token: &dyn ToTokens, why: &str, instead: String| {
            let message = format!("{why}, so `#[idempotent(…)]` needs {instead}");
            Err(Error::new_spanned(token.to_token_stream(), message))
        };
        // A literal does not help here: two types with one scope are refused when the second one is
        // called.
        let for_each = |token: &dyn ToTokens, what: &str, parameter: &str| {
            let why = format!("each {what} is an operation of its own");
            let instead = format!(
                "a scope for each, such as `scope = {parameter}`; or annotate a function without this parameter, and make \
                 what differs a part of its key"
            );
            refuse(token, &why, instead)
        };
        for parameter in &self.signature.generics.params {
            match parameter {
                GenericParam::Type(parameter) => {
                    let of = format!("{}::SCOPE", parameter.ident);
                    return for_each(&parameter.ident, "type", &of);
                }
                GenericParam::Const(parameter) => {
                    let of = format!("scope_of::<{}>()", parameter.ident);
                    return for_each(&parameter.ident, "value", &of);
                }
                GenericParam::Lifetime(_) => {}
            }
        }
        for argument in &self.signature.inputs {
            match argument {
                FnArg::Receiver(receiver) => {
                    let instead = format!(
                        "a name of its own: `scope = \"….{name}\"`, or `scope = Self::SCOPE` for a method of a \
                         trait or of a generic type"
                    );
                    return refuse(
                        receiver,
                        "another type may have a method of this name",
                        instead,
                    );
                }
                FnArg::Typed(typed) if has_impl_trait(&typed.ty) => {
                    return for_each(&typed.ty, "type", "T::SCOPE` with a parameter `T");
                }
                FnArg::Typed(_) => {}
            }
        }
        Ok(())
    }

    /// A body that outlives its caller must own its arguments.
    fn check_owned(&self) -> Result<()> {
        const OR: &str = "or add `detach = false`: the body then stops when its caller goes away";
        let signature = &self.signature;
        for argument in &signature.inputs {
            let (attributes, borrows) = match argument {
                FnArg::Receiver(receiver) => match &receiver.kind {
                    ReceiverKind::Reference(..) => (&receiver.attrs, true),
                    ReceiverKind::Typed(_, ty) => (&receiver.attrs, borrows(ty)),
                    _ => (&receiver.attrs, false),
                },
                FnArg::Typed(typed) => (&typed.attrs, borrows(&typed.ty)),
            };
            // An argument under `cfg` is not checked: whether it exists is decided after this
            // attribute has run.
            if !borrows
                || attributes
                    .iter()
                    .any(|attribute| attribute.path().is_ident("cfg"))
            {
                continue;
            }
            let instead = match argument {
                FnArg::Receiver(_) => "take `self: Arc<Self>`",
                FnArg::Typed(_) => "take an owned type (`String` for `&str`, `Arc<T>` for `&T`)",
            };
            return Err(Error::new_spanned(
                argument,
                format!(
                    "the body is finished even when its caller goes away, so it cannot borrow: {instead}, {OR}"
                ),
            ));
        }
        Ok(())
    }
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let defaultness = input.parse()?;
        let signature: Signature = input.parse().map_err(|error| {
            Error::new(error.span(), "`#[idempotent]` belongs on an `async fn`")
        })?;
        if input.peek(Token![;]) {
            return Err(Error::new_spanned(
                signature.ident,
                "there is no body to run once: annotate the method where it has one, in each `impl` or as a default",
            ));
        }
        if !input.peek(token::Brace) {
            return Err(input.error("expected the function's body"));
        }
        let content;
        let braces = syn::braced!(content in input).span.join();
        let inner_attributes = content.call(Attribute::parse_inner)?;
        let body = content.parse()?;
        let (result, boxed) = result(&signature, &attributes)?;
        Ok(Self {
            attributes,
            visibility,
            defaultness,
            signature,
            inner_attributes,
            body,
            braces,
            result,
            boxed,
        })
    }
}

/// `R`, and the whole return type if that is a boxed future of `R`.
fn result(signature: &Signature, attributes: &[Attribute]) -> Result<(Type, Option<Type>)> {
    let output = match &signature.output {
        ReturnType::Type(_, ty) => Some(&**ty),
        ReturnType::Default => None,
    };
    match (signature.asyncness, output) {
        (Some(_), Some(result)) => Ok((result.clone(), None)),
        (Some(_), None) => Err(Error::new_spanned(&signature.ident, NO_RESULT)),
        (None, output) => match output.and_then(|whole| Some((boxed_output(whole)?, whole))) {
            Some((result, whole)) => Ok((result.clone(), Some(whole.clone()))),
            None => Err(Error::new_spanned(
                signature.fn_token,
                sync_message(attributes),
            )),
        },
    }
}

const NO_RESULT: &str =
    "the result is what a repeated call receives: return a `Result`, such as `Result<(), Error>`";

fn sync_message(attributes: &[Attribute]) -> &'static str {
    let is_test = |attribute: &Attribute| {
        let last = attribute
            .path()
            .segments
            .last()
            .map(|segment| segment.ident.to_string());
        matches!(last.as_deref(), Some("test" | "rustc_test_marker"))
    };
    if attributes.iter().any(is_test) {
        "a test is run, not retried: annotate the function that it tests"
    } else {
        "only an `async fn` can be an operation, or a `fn` that returns `Pin<Box<dyn Future<Output = Result<…>> + Send>>`"
    }
}

/// Refuses return types that cannot work. Whether it is a `Result` is left to the compiler, which
/// sees through aliases.
fn check_result(result: &Type) -> Result<()> {
    let message = match bare(result) {
        Type::Tuple(tuple) if tuple.elems.is_empty() => NO_RESULT,
        _ if has_impl_trait(result) => {
            "a result that is recorded needs a type with a name: write it instead of `impl …`"
        }
        _ if borrows(result) => {
            "a recorded result cannot borrow: return an owned type, such as `String` for `&str`"
        }
        _ => return Ok(()),
    };
    Err(Error::new_spanned(result, message))
}

/// Refuses types that cannot be a side of a `Result`, if it is written out. The compiler would
/// report them at the call, as lifetimes that are not general enough.
fn check_sides(result: &Type, options: &Options) -> Result<()> {
    let Some((value, error)) = sides(result) else {
        return Ok(());
    };
    let records_errors = matches!(&options.on_err, Some(given) if matches!(given.value, OnErr::Always(Policy::Record)));
    let recorded = [
        Some(value).filter(|_| options.codec.is_none()),
        error.filter(|_| records_errors),
    ];
    if let Some(found) = recorded.into_iter().flatten().find_map(static_reference) {
        return Err(Error::new_spanned(
            found,
            "a recorded result is made anew from its bytes, and nothing made anew is `'static`: return an owned type \
             (`String` or `Cow<'static, str>` for `&'static str`, `Vec<T>` for `&'static [T]`)",
        ));
    }
    match error {
        Some(error) if options.detached() && is_box_without_send(error) => Err(Error::new_spanned(
            error,
            "the body is finished even when its caller goes away, maybe on another thread, so its error must be `Send`: write \
             `Box<dyn Error + Send + Sync>`, or add `detach = false`: the body then stops when its caller goes away",
        )),
        _ => Ok(()),
    }
}
