//! Attribute tokens → options → function → tokens.

use proc_macro2::TokenStream;

use crate::{expand::expand, function::Function, options::Options};

/// After a mistake the item is emitted unchanged, so that the mistake is the only error reported.
pub(crate) fn annotate(options: TokenStream, item: TokenStream) -> TokenStream {
    let operation = Options::parse(options).and_then(|options| {
        let function = Function::parse(item.clone(), &options)?;
        expand(&options, &function)
    });
    operation.unwrap_or_else(|error| {
        let mut tokens = error.into_compile_error();
        tokens.extend(item);
        tokens
    })
}
